"""Adam for a mixture of operators: for weights in rows of which a step may concern one, and for the architecture.

What a step does not concern keeps its value and its moments, and its bias correction counts its own steps only: the
momentum of an operator that is not drawn does not move it (Kingma & Ba 2015, arXiv:1412.6980; decoupled weight decay:
Loshchilov & Hutter 2019, arXiv:1711.05101).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from core.keras_env import tf

BETA_1, BETA_2 = 0.9, 0.999
EPSILON = 1e-7  # as tf_keras


@dataclass(frozen=True)
class Step:
    """One step of Adam for some values: their new moments, and what is to be subtracted from them for a rate of 1.

    `slope` is how `direction` changes with the gradient if the second moment stays.
    """

    first: tf.Tensor
    second: tf.Tensor
    direction: tf.Tensor
    slope: tf.Tensor


def adam_step(
    gradient: tf.Tensor, first: tf.Tensor, second: tf.Tensor, count: tf.Tensor, beta_1: float = BETA_1
) -> Step:
    """The step number `count` (1 is the first one), of any shapes that fit."""
    first = beta_1 * first + (1 - beta_1) * gradient
    second = BETA_2 * second + (1 - BETA_2) * tf.square(gradient)
    scale = 1 / ((1 - tf.pow(beta_1, count)) * (tf.sqrt(second / (1 - tf.pow(BETA_2, count))) + EPSILON))
    return Step(first, second, first * scale, (1 - beta_1) * scale)


class RowAdamW:
    """AdamW for matrices of weights [candidates, values], all of which decay, as they do in a network trained alone.

    `update_all` concerns all rows, `update_rows` one of each matrix. Its methods are graph code.
    """

    def __init__(self, weights: Sequence[tf.Variable], weight_decay: float) -> None:
        self._weights = tuple(weights)
        self._weight_decay = weight_decay
        self._first = [tf.Variable(tf.zeros_like(matrix)) for matrix in weights]
        self._second = [tf.Variable(tf.zeros_like(matrix)) for matrix in weights]
        self._counts = [tf.Variable(tf.zeros([matrix.shape[0], 1])) for matrix in weights]

    def variables(self) -> dict[str, tf.Variable]:
        """The state of the optimizer, by name."""
        slots = (("first", self._first), ("second", self._second), ("count", self._counts))
        return {f"{name}_{number}": slot for name, of in slots for number, slot in enumerate(of)}

    def update_all(self, gradients: Sequence[tf.Tensor], rate: tf.Tensor) -> None:
        """One step of every row; gradients [candidates, values]."""
        for number, gradient in enumerate(gradients):
            step = self._step(number, gradient)
            matrix = self._weights[number]
            matrix.assign_sub(rate * (step.direction + self._weight_decay * matrix))
            self._first[number].assign(step.first)
            self._second[number].assign(step.second)
            self._counts[number].assign_add(tf.ones_like(self._counts[number]))

    def update_rows(self, indices: Sequence[tf.Tensor], gradients: Sequence[tf.Tensor], rate: tf.Tensor) -> None:
        """One step of one row of each matrix, the one that `indices` names; gradients [values]."""
        for number, (index, gradient) in enumerate(zip(indices, gradients, strict=True)):
            slots = (self._weights[number], self._first[number], self._second[number], self._counts[number])
            row, first, second, count = (tf.gather(slot, index) for slot in slots)
            step = adam_step(gradient, first, second, count + 1)
            new = row - rate * (step.direction + self._weight_decay * row)
            for slot, value in zip(slots, (new, step.first, step.second, count + 1), strict=True):
                slot.scatter_update(tf.IndexedSlices(value[None], index[None]))

    def ahead(self, gradients: Sequence[tf.Tensor], rate: tf.Tensor) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        """The weights after `update_all`, which is not done, and minus how each changes with its own gradient."""
        steps = [self._step(number, gradient) for number, gradient in enumerate(gradients)]
        weights = [
            matrix - rate * (step.direction + self._weight_decay * matrix)
            for matrix, step in zip(self._weights, steps, strict=True)
        ]
        return weights, [rate * step.slope for step in steps]

    def _step(self, number: int, gradient: tf.Tensor) -> Step:
        return adam_step(gradient, self._first[number], self._second[number], self._counts[number] + 1)


class ArchitectureAdam:
    """Adam for the logits of a mixture [searched places, candidates], of which a step may concern some."""

    def __init__(self, alpha: tf.Variable, beta_1: float) -> None:
        self._alpha, self._beta_1 = alpha, beta_1
        self._first, self._second, self._counts = (tf.Variable(tf.zeros_like(alpha)) for _ in range(3))

    def variables(self) -> dict[str, tf.Variable]:
        """The state of the optimizer, by name."""
        return {"alpha_first": self._first, "alpha_second": self._second, "alpha_count": self._counts}

    def updated(self, gradient: tf.Tensor, taken: tf.Tensor, rate: tf.Tensor) -> tf.Tensor:
        """The logits after a step of those that are `taken` (bool); its moments are kept, the logits not assigned."""
        step = adam_step(gradient, self._first, self._second, self._counts + 1, self._beta_1)
        alpha = tf.where(taken, self._alpha - rate * step.direction, self._alpha)
        self._first.assign(tf.where(taken, step.first, self._first))
        self._second.assign(tf.where(taken, step.second, self._second))
        self._counts.assign_add(tf.cast(taken, tf.float32))
        return alpha

"""A recurrent policy over architectures and its REINFORCE training: numpy alone, neither Keras Tuner nor TensorFlow.

Zoph & Le 2017, Neural Architecture Search with Reinforcement Learning, https://arxiv.org/abs/1611.01578;
Williams 1992, Simple statistical gradient-following algorithms, https://doi.org/10.1007/BF00992696.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search.oracles.choice_space import ChoiceSpace
from search.space import Genotype

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

ADAM_DECAYS = (0.9, 0.999)  # Kingma & Ba 2015, https://arxiv.org/abs/1412.6980
EPSILON = 1e-8


@dataclass(frozen=True, slots=True)
class _Cell:
    """What the backward pass needs of one layer at one step; `c` and `h` are the state before it. [batch, hidden]."""

    x: Array
    h: Array
    c: Array
    gates: tuple[Array, Array, Array, Array]  # input, forget, output, candidate
    new_c: Array


@dataclass(frozen=True, slots=True)
class _Step:
    """One decision of a batch: `active` says for which of its members; the others keep their state."""

    axis: int
    active: NDArray[np.bool_]
    tokens: Indices
    cells: tuple[_Cell, ...]
    top: Array  # the highest layer's output [batch, hidden]
    probabilities: Array  # [batch, choices]
    chosen: Indices

    @property
    def entropies(self) -> Array:
        """[batch], in nats; 0 where the decision is not taken."""
        return np.where(self.active, -(self.probabilities * np.log(self.probabilities)).sum(axis=1), 0.0)

    @property
    def log_probabilities(self) -> Array:
        """[batch], of what was chosen; 0 where the decision is not taken."""
        taken = self.probabilities[np.arange(len(self.chosen)), self.chosen]
        return np.where(self.active, np.log(taken), 0.0)


class LstmPolicy:
    """A distribution over genotypes: an LSTM decides axis after axis, and reads what it decided last.

    Inactive axes and those with one value are no decisions: they are skipped, and the state goes by them. Sampling,
    probabilities and gradients take whole batches.

    Args:
      space: what is decided.
      random: for the initial parameters, uniform in +-`initial_scale`.
      hidden_size, num_layers: the paper's 35 units in two layers.
    """

    def __init__(
        self,
        space: ChoiceSpace,
        random: np.random.Generator,
        *,
        hidden_size: int = 35,
        num_layers: int = 2,
        initial_scale: float = 0.08,
    ) -> None:
        self._space, self._hidden, self._layers = space, hidden_size, num_layers
        self._first = np.concatenate([[0], np.cumsum(space.lengths)]).astype(np.int64)  # row of each axis in `output`
        choices = int(self._first[-1])
        shapes = {"embedding": (1 + choices, hidden_size), "output": (choices, hidden_size), "bias": (choices,)}
        for layer in range(num_layers):
            shapes[f"kernel{layer}"] = (2 * hidden_size, 4 * hidden_size)  # of input and state
            shapes[f"gate_bias{layer}"] = (4 * hidden_size,)
        self._shapes = shapes
        size = sum(int(np.prod(shape)) for shape in shapes.values())
        self.parameters: Array = random.uniform(-initial_scale, initial_scale, size)
        """All parameters in one vector; to be changed in place."""

    def sample(self, count: int, random: np.random.Generator) -> list[Genotype]:
        """Independent draws, canonical genotypes."""
        draws = random.random((count, len(self._space.axes)))
        genotypes = np.zeros((count, len(self._space.axes)), dtype=np.int64)
        for step in self._steps(count, draws=draws):
            genotypes[step.active, step.axis] = step.chosen[step.active]
        return [tuple(map(int, row)) for row in genotypes]

    def log_probability(self, genotypes: Sequence[Genotype]) -> Array:
        """Natural logarithm of the probability of each."""
        return self._total([step.log_probabilities for step in self._given(genotypes)], len(genotypes))

    def entropy(self, genotypes: Sequence[Genotype]) -> Array:
        """For each the sum of the entropies (nats) of the decisions on the way to it.

        Over samples of the policy its mean is the entropy of the policy.
        """
        return self._total([step.entropies for step in self._given(genotypes)], len(genotypes))

    def gradient(self, genotypes: Sequence[Genotype], rewards: Sequence[float] | Array, entropy_weight: float) -> Array:
        """The gradient, in `parameters`, of sum(rewards * log_probability) + entropy_weight * sum(entropy)."""
        factors = np.asarray(rewards, dtype=float)
        gradient = np.zeros_like(self.parameters)
        slopes, weights = self._views(gradient), self._views(self.parameters)
        zeros = np.zeros((self._layers, len(genotypes), self._hidden))
        dh, dc = zeros, zeros.copy()
        for step in reversed(self._given(genotypes)):
            dlogits = _logit_gradient(step, factors, entropy_weight)
            rows = self._rows(step.axis)
            slopes["output"][rows] += dlogits.T @ step.top
            slopes["bias"][rows] += dlogits.sum(axis=0)
            dx, dh, dc = self._step_backward(step, dlogits @ weights["output"][rows], dh, dc, weights, slopes)
            np.add.at(slopes["embedding"], step.tokens, dx)
        return gradient

    def _given(self, genotypes: Sequence[Genotype]) -> list[_Step]:
        return self._steps(len(genotypes), given=np.array(genotypes, dtype=np.int64).reshape(len(genotypes), -1))

    def _steps(self, count: int, *, given: Indices | None = None, draws: Array | None = None) -> list[_Step]:
        """The decisions of a batch: those of `given` genotypes [batch, axes], or made from uniform `draws` as many."""
        weights, states = self._views(self.parameters), np.zeros((2, self._layers, count, self._hidden))
        tokens, walks = np.zeros(count, dtype=np.int64), _Walks(self._space, count)
        steps = []
        for axis, length in enumerate(self._space.lengths):
            active = walks.active(axis)
            chosen = np.zeros(count, dtype=np.int64)
            if length > 1 and active.any():
                cells, states = self._step_forward(weights, tokens, states, active)
                logits = states[0, -1] @ weights["output"][self._rows(axis)].T + weights["bias"][self._rows(axis)]
                probabilities = _softmax(logits)
                if given is not None:
                    chosen = given[:, axis]
                elif draws is not None:
                    passed = np.cumsum(probabilities, axis=1) <= draws[:, axis : axis + 1]
                    chosen = np.minimum(passed.sum(axis=1), length - 1)
                steps.append(_Step(axis, active, tokens, cells, states[0, -1], probabilities, chosen))
                tokens = np.where(active, 1 + self._first[axis] + chosen, tokens)
            walks.take(axis, active, chosen)
        return steps

    def _step_forward(
        self, weights: Mapping[str, Array], tokens: Indices, states: Array, active: NDArray[np.bool_]
    ) -> tuple[tuple[_Cell, ...], Array]:
        """The cells of all layers and the new states [h or c, layer, batch, hidden]."""
        x, cells, after = weights["embedding"][tokens], [], states.copy()
        for layer in range(self._layers):
            h, c = states[:, layer]
            joint = np.concatenate([x, h], axis=1) @ weights[f"kernel{layer}"] + weights[f"gate_bias{layer}"]
            sigmoids = 0.5 * (1 + np.tanh(0.5 * joint[:, : 3 * self._hidden]))  # no overflow
            enter, keep, out = np.split(sigmoids, 3, axis=1)
            candidate = np.tanh(joint[:, 3 * self._hidden :])
            new_c = keep * c + enter * candidate
            cells.append(_Cell(x, h, c, (enter, keep, out, candidate), new_c))
            x = out * np.tanh(new_c)
            after[:, layer] = np.where(active[:, None], (x, new_c), states[:, layer])
        return tuple(cells), after

    def _step_backward(
        self,
        step: _Step,
        dtop: Array,
        dh: Array,
        dc: Array,
        weights: Mapping[str, Array],
        slopes: Mapping[str, Array],
    ) -> tuple[Array, Array, Array]:
        """Gradients in the step's input and in the states before it, from those in its output and the states after it.

        Adds the gradients in the parameters to `slopes`.
        """
        active = step.active[:, None]
        before_h, before_c = np.where(active, 0.0, dh), np.where(active, 0.0, dc)  # where nothing was decided
        dx = dtop
        for layer in reversed(range(self._layers)):
            cell = step.cells[layer]
            enter, keep, out, candidate = cell.gates
            dout = np.where(active, dh[layer], 0.0) + np.where(active, dx, 0.0)
            squashed = np.tanh(cell.new_c)
            dnew_c = np.where(active, dc[layer], 0.0) + dout * out * (1 - squashed**2)
            djoint = np.concatenate(
                [
                    dnew_c * candidate * enter * (1 - enter),
                    dnew_c * cell.c * keep * (1 - keep),
                    dout * squashed * out * (1 - out),
                    dnew_c * enter * (1 - candidate**2),
                ],
                axis=1,
            )
            slopes[f"kernel{layer}"][...] += np.concatenate([cell.x, cell.h], axis=1).T @ djoint
            slopes[f"gate_bias{layer}"][...] += djoint.sum(axis=0)
            dx, dlast_h = np.split(djoint @ weights[f"kernel{layer}"].T, 2, axis=1)
            before_h[layer] += dlast_h
            before_c[layer] += dnew_c * keep
        return dx, before_h, before_c

    def _views(self, vector: Array) -> dict[str, Array]:
        """The parts of a parameter vector by name, sharing its memory."""
        views, start = {}, 0
        for name, shape in self._shapes.items():
            size = int(np.prod(shape))
            views[name] = vector[start : start + size].reshape(shape)
            start += size
        return views

    def _rows(self, axis: int) -> slice:
        return slice(int(self._first[axis]), int(self._first[axis + 1]))

    @staticmethod
    def _total(parts: list[Array], count: int) -> Array:
        return np.sum(parts, axis=0) if parts else np.zeros(count)


class Reinforce:
    """REINFORCE with a moving-average baseline, an entropy bonus and Adam (the paper's optimizer).

    Rewards of any unit will do: the advantage (reward minus baseline) is divided by its own moving average size.

    Args:
      policy: what is trained, in place.
      learning_rate: of Adam; the paper's 0.0006 is for 12,800 samples, the default for some hundreds.
      baseline_decay: of the moving averages.
      entropy_weight: of the bonus, relative to a typical advantage.
    """

    def __init__(
        self,
        policy: LstmPolicy,
        *,
        learning_rate: float = 0.01,
        baseline_decay: float = 0.95,
        entropy_weight: float = 0.1,
    ) -> None:
        self.policy = policy
        self._rate, self._decay, self._entropy_weight = learning_rate, baseline_decay, entropy_weight
        self._moments = np.zeros((2, len(policy.parameters)))
        self._updates = 0
        self._baseline, self._scale = 0.0, 0.0

    def update(self, genotypes: Sequence[Genotype], rewards: Sequence[float]) -> None:
        """One step towards larger rewards from a batch of samples, whatever their order."""
        received = np.asarray(rewards, dtype=float)
        if not self._updates:
            self._baseline = float(received.mean())
        advantages = received - self._baseline
        size = float(np.abs(advantages).mean())
        kept = self._decay if self._scale else 0.0
        self._scale = kept * self._scale + (1 - kept) * size
        self._baseline += (1 - self._decay) * float(advantages.mean())
        weights = advantages / (self._scale or 1.0)
        self._ascend(self.policy.gradient(genotypes, weights, self._entropy_weight) / len(genotypes))

    def state(self) -> dict[str, Array]:
        """Everything that was learned, as arrays; `load` takes it up again."""
        numbers = np.array([self._updates, self._baseline, self._scale])
        return {"parameters": self.policy.parameters.copy(), "moments": self._moments.copy(), "numbers": numbers}

    def load(self, state: Mapping[str, Array]) -> None:
        """Goes on where `state` was taken, of a policy of the same space and size."""
        self.policy.parameters[...] = state["parameters"]
        self._moments[...] = state["moments"]
        self._updates = int(state["numbers"][0])
        self._baseline, self._scale = map(float, state["numbers"][1:])

    def _ascend(self, gradient: Array) -> None:
        self._updates += 1
        corrected = []
        for moment, decay, value in zip(self._moments, ADAM_DECAYS, (gradient, gradient**2), strict=True):
            moment *= decay
            moment += (1 - decay) * value
            corrected.append(moment / (1 - decay**self._updates))
        self.policy.parameters += self._rate * corrected[0] / (np.sqrt(corrected[1]) + EPSILON)


class _Walks:
    """Which axes count for each member of a batch, found on the way: conditions look at earlier axes alone."""

    def __init__(self, space: ChoiceSpace, count: int) -> None:
        names = [axis.name for axis in space.axes]
        self._axes, self._count = space.axes, count
        self._flat = len(set(names)) == len(names) and not any(axis.conditions for axis in space.axes)
        self._values: list[dict[str, object]] = [{} for _ in range(count)]

    def active(self, axis: int) -> NDArray[np.bool_]:
        """[batch]."""
        if self._flat:
            return np.ones(self._count, dtype=bool)
        here = self._axes[axis]
        return np.array(
            [here.name not in values and all(holds(values) for holds in here.conditions) for values in self._values]
        )

    def take(self, axis: int, active: NDArray[np.bool_], chosen: Indices) -> None:
        """Notes what was decided."""
        if self._flat:
            return
        here = self._axes[axis]
        for values, on, index in zip(self._values, active, chosen, strict=True):
            if on:
                values[here.name] = here.values[index]


def _softmax(logits: Array) -> Array:
    """Never 0, so that its logarithm is finite."""
    exponentials = np.exp(np.maximum(logits - logits.max(axis=1, keepdims=True), -500))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def _logit_gradient(step: _Step, weights: Array, entropy_weight: float) -> Array:
    """[batch, choices]: of weight * log probability + entropy_weight * entropy, at one step."""
    chosen = np.eye(step.probabilities.shape[1])[step.chosen]
    surprise = np.log(step.probabilities) + step.entropies[:, None]
    towards = weights[:, None] * (chosen - step.probabilities) - entropy_weight * step.probabilities * surprise
    return step.active[:, None] * towards

"""A network of candidates side by side, as graph code: one path through it, two at each place, or the whole mixture.

Everything here is a pure function to be called inside a tf.function, of weights that the caller passes in: so a
gradient can be taken at others than the current ones.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from core.keras_env import tf

from search.supernet.places import Place
from search.supernet.segments import Segment, packed

Tensors = Sequence[tf.Tensor]  # one for each place


@dataclass(frozen=True)
class MixtureGraph:
    """The places of a network in the order of execution, and what each candidate of each place computes.

    Images are float32 [b, R, R, 3] in 0..1. Of a path, `rows` are weights [size] of each place's chosen candidate and
    `statistics` its [2, channels]; of the mixture they are those of all candidates. Without statistics the batch's own
    normalize.
    """

    places: tuple[Place, ...]
    segments: tuple[tuple[Segment, ...], ...]

    def indices(self, choices: tf.Tensor) -> list[tf.Tensor]:
        """For each place, searched or not, the number of its candidate; `choices` int32 [searched places]."""
        chosen = iter(tf.unstack(choices))
        return [next(chosen) if place.is_searched else tf.constant(0) for place in self.places]

    def path(
        self, images: tf.Tensor, choices: tf.Tensor, rows: Tensors, statistics: Tensors | None = None
    ) -> tf.Tensor:
        """Logits [b, classes]; only the chosen candidates are computed."""
        x = images
        for number, index in enumerate(self.indices(choices)):
            (x,) = self._chosen(number, index, x, rows[number], None if statistics is None else statistics[number])
        return x

    def path_moments(self, images: tf.Tensor, choices: tf.Tensor, rows: Tensors) -> list[tf.Tensor]:
        """For each place means and variances [2, channels] of the batch in the chosen candidate."""
        x, found = images, []
        for number, index in enumerate(self.indices(choices)):
            x, moments = self._chosen(number, index, x, rows[number], None, with_moments=True)
            found.append(moments)
        return found

    def pairs(
        self, images: tf.Tensor, pairs: tf.Tensor, gates: tf.Tensor, rows: Tensors, other_rows: Tensors
    ) -> tf.Tensor:
        """Logits of the path `pairs[:, 0]`, with gates [searched places, 2] for it and for `pairs[:, 1]`.

        The gates must be (1, 0): their gradients tell how the loss would change with less of the first and more of the
        second (ProxylessNAS, arXiv:1812.00332, section 3.2). No other gradient goes through the second.
        """
        x, place = images, 0
        seconds = self.indices(pairs[:, 1])
        for number, index in enumerate(self.indices(pairs[:, 0])):
            (y,) = self._chosen(number, index, x, rows[number], None)
            if self.places[number].is_searched:
                other = tf.stop_gradient(other_rows[number])
                (z,) = self._chosen(number, seconds[number], tf.stop_gradient(x), other, None)
                y = gates[place, 0] * y + gates[place, 1] * tf.stop_gradient(z)
                place += 1
            x = y
        return x

    def mixture(
        self, images: tf.Tensor, probabilities: tf.Tensor, rows: Tensors, statistics: Tensors | None = None
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Logits, and for each place the moments [candidates, 2, channels]; probabilities [searched, candidates]."""
        x, found = images, []
        shares = iter(tf.unstack(probabilities))
        for number, segments in enumerate(self.segments):
            outputs, moments = [], []
            inputs = _copies(x, len(segments))
            for k, (segment, row) in enumerate(zip(segments, tf.unstack(rows[number]), strict=True)):
                y, own = segment.run(inputs[k], row, None if statistics is None else statistics[number][k])
                outputs.append(y)
                moments.append(packed(own, self.channels(number)))
            found.append(tf.stack(moments))
            x = _weighted(outputs, next(shares)) if self.places[number].is_searched else outputs[0]
        return x, found

    def channels(self, number: int) -> int:
        """How many channels of statistics a place's rows have."""
        return max(1, *(segment.channels for segment in self.segments[number]))

    def _chosen(
        self,
        number: int,
        index: tf.Tensor,
        x: tf.Tensor,
        row: tf.Tensor,
        statistics: tf.Tensor | None,
        *,
        with_moments: bool = False,
    ) -> list[tf.Tensor]:
        channels = self.channels(number) if with_moments else None
        runs = [functools.partial(_run, segment, x, row, statistics, channels) for segment in self.segments[number]]
        outputs: list[tf.Tensor] = tf.switch_case(index, runs) if len(runs) > 1 else runs[0]()
        return outputs


def _run(
    segment: Segment, x: tf.Tensor, row: tf.Tensor, statistics: tf.Tensor | None, channels: int | None
) -> list[tf.Tensor]:
    """The output, and with `channels` the packed moments."""
    y, moments = segment.run(x, row, statistics)
    return [y] if channels is None else [y, packed(moments, channels)]


def _copies(x: tf.Tensor, count: int) -> list[tf.Tensor]:
    """The same tensor several times, whose gradients `_sum` adds up."""

    @tf.custom_gradient
    def copied(value: tf.Tensor) -> tuple[list[tf.Tensor], Any]:
        return [tf.identity(value) for _ in range(count)], lambda *gradients: _sum(gradients)

    return list(copied(x))


def _weighted(outputs: list[tf.Tensor], shares: tf.Tensor) -> tf.Tensor:
    return _sum([shares[k] * output for k, output in enumerate(outputs)])


def _sum(terms: Sequence[tf.Tensor]) -> tf.Tensor:
    """The sum in the order of the terms.

    AddN, which gradients and rewritten additions use, begins with whichever of three or more terms is not needed any
    more: the last bits of the sum, and then a resumed search, would depend on which thread was the first.
    """
    return tf.reduce_sum(tf.stack(terms), axis=0)

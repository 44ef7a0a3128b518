"""All candidate operators of a space side by side, each with weights of its own: what DARTS and ProxylessNAS train.

A place's candidates are the rows of one matrix of weights, padded to the largest: so a step may run, and change, one
row of each place, or all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from core.keras_env import keras, reset, tf

import numpy as np
from numpy.typing import NDArray

from core.errors import LitesmithError, bad_value
from search.arch import ArchSpec
from search.build import build
from search.dataset import ImageSet
from search.space import Genotype, SearchSpace
from search.supernet.mixture_graph import MixtureGraph
from search.supernet.places import Place, choices_of, kept_blocks, places_of, searched, variants
from search.supernet.segments import Segment
from search.supernet.shared import load_arrays, save_arrays

BATCH = 250  # images at once where nothing is trained
NEVER = -1e9  # the logit of a candidate that a place does not have: its probability is exactly 0
SMALLEST = 1e-30  # a probability whose logarithm is taken
MIXTURE = "the mixture"


class MixedNetwork:
    """A search.supernet.shared.SharedWeights in which networks share stem, head, and equal blocks at the same place.

    Attributes:
      graph: what it computes, as functions of its weights.
      weights: for each place of `graph.places` a variable [candidates, values].
      statistics: likewise means and variances of the batch normalizations [candidates, 2, channels].
      alpha: a variable [searched places, most candidates]: the logits of the mixture's weights.
      legal: bool, of the same shape: whether there is such a candidate.
      traces: how often its own functions were traced.
    """

    def __init__(self, space: SearchSpace, seed: int) -> None:
        """Weights as search.build's, from `seed`; all candidates of a place alike in the mixture.

        Raises UsageError for a space whose operators cannot be mixed (search.supernet.places).
        """
        self.space = space
        places = places_of(space)
        reset(seed)
        networks = [build(arch) for arch in variants(space)]
        self.graph = MixtureGraph(places, tuple(_segments(place, networks) for place in places))
        counts = np.array([len(place.branches) for place in searched(places)])
        self.legal = np.arange(counts.max()) < counts[:, None]
        self.alpha = tf.Variable(tf.zeros(self.legal.shape))
        pairs = list(zip(places, self.graph.segments, strict=True))
        self.weights = tuple(tf.Variable(_rows(place, segments, networks)) for place, segments in pairs)
        self.statistics = tuple(tf.Variable(_statistics(segments)) for segments in self.graph.segments)
        self.traces = 0
        self._calibrated: Genotype | str | None = None  # what `statistics` are of
        pixels = tf.TensorSpec([None, *places[0].input_shape], tf.uint8)
        chosen = tf.TensorSpec([len(counts)], tf.int32)
        self._path = tf.function(self._path_logits, [pixels, chosen], autograph=False)
        self._path_moments = tf.function(self._moments_of_path, [pixels, chosen], autograph=False)
        self._mixture = tf.function(self._mixture_logits, [pixels], autograph=False)
        self._mixture_moments = tf.function(self._moments_of_mixture, [pixels], autograph=False)

    def probabilities(self, alpha: tf.Tensor | None = None) -> tf.Tensor:
        """The mixture's weights [searched places, most candidates]: softmax of the logits, 0 where none is legal."""
        logits = tf.convert_to_tensor(self.alpha) if alpha is None else alpha
        return tf.nn.softmax(tf.where(self.legal, logits, NEVER))

    def rows(self, choices: tf.Tensor) -> list[tf.Tensor]:
        """For each place the row [values] of the weights that the path `choices` [searched places] has."""
        return [
            tf.gather(matrix, index) for matrix, index in zip(self.weights, self.graph.indices(choices), strict=True)
        ]

    def genotype_of(self, arch: ArchSpec) -> Genotype:
        """The likeliest genotype that decodes to `arch`; of equally likely ones the one that leaves out late blocks.

        Raises UsageError if the space has no such network.
        """
        scores = np.log(np.maximum(self.probabilities().numpy(), SMALLEST))
        return choices_of(self.space, self.graph.places, arch, scores)

    def discretized(self) -> Genotype:
        """The likeliest candidate of each place, the first of equal ones."""
        return tuple(int(index) for index in np.argmax(self.probabilities().numpy(), axis=1))

    def recalibrate(self, arch: ArchSpec, images: ImageSet) -> None:
        """Batch-norm statistics of a network from all of `images`; they hold until the next recalibration or change."""
        self.recalibrate_path(self.genotype_of(arch), images)

    def logits(self, arch: ArchSpec, images: ImageSet) -> NDArray[np.float32]:
        """float32 [n, classes], in inference mode.

        Raises LitesmithError unless `arch` was recalibrated last, and with the weights as they are.
        """
        return self.path_logits(self.genotype_of(arch), images)

    def recalibrate_path(self, genotype: Genotype, images: ImageSet) -> None:
        """As `recalibrate`, for the blocks at the very places of a genotype."""
        self.space.check(genotype)
        self.forget_statistics()
        chosen = tf.constant(genotype, tf.int32)
        averages = _averages(lambda pixels: self._path_moments(pixels, chosen), self._batches(images))
        for variable, index, value in zip(self.statistics, self.graph.indices(chosen), averages, strict=True):
            variable.scatter_nd_update([[int(index)]], value[None])
        self._calibrated = genotype

    def path_logits(self, genotype: Genotype, images: ImageSet) -> NDArray[np.float32]:
        """As `logits`, for the blocks at the very places of a genotype."""
        self.space.check(genotype)
        self._check_calibrated(genotype)
        chosen = tf.constant(genotype, tf.int32)
        return np.concatenate([self._path(pixels, chosen).numpy() for pixels in self._batches(images)])

    def recalibrate_mixture(self, images: ImageSet) -> None:
        """As `recalibrate`, for the mixture of all candidates."""
        self.forget_statistics()
        averages = _averages(self._mixture_moments, self._batches(images))
        for variable, value in zip(self.statistics, averages, strict=True):
            variable.assign(value)
        self._calibrated = MIXTURE

    def mixture_logits(self, images: ImageSet) -> NDArray[np.float32]:
        """As `logits`, for the mixture of all candidates."""
        self._check_calibrated(MIXTURE)
        return np.concatenate([self._mixture(pixels).numpy() for pixels in self._batches(images)])

    def forget_statistics(self) -> None:
        """To be called by all that changes `weights` or `alpha`: nothing is judged before it is recalibrated again."""
        self._calibrated = None

    def extract(self, arch: ArchSpec) -> keras.Model:
        """search.build.build(arch) with its weights and statistics in place; outputs equal `logits` to 1e-5.

        Raises as `logits`.
        """
        genotype = self.genotype_of(arch)
        self._check_calibrated(genotype)
        model = build(self.space.decode(genotype))
        for number, k, prefix in kept_blocks(self.graph.places, genotype):
            row, statistics = self.weights[number][k].numpy(), self.statistics[number][k].numpy()
            for name, values in self.graph.segments[number][k].layer_weights(row, statistics).items():
                model.get_layer(f"{prefix}_{name}" if prefix else name).set_weights(values)
        return model

    def variables(self) -> dict[str, tf.Variable]:
        """Everything that is trained or computed from images, by name."""
        found = {"alpha": self.alpha}
        found |= {f"weights_{number}": variable for number, variable in enumerate(self.weights)}
        return found | {f"statistics_{number}": variable for number, variable in enumerate(self.statistics)}

    def save(self, path: Path) -> None:
        """Writes `variables` to one .npz, whole or not at all."""
        save_arrays(path, {name: variable.numpy() for name, variable in self.variables().items()})

    def load(self, path: Path) -> None:
        """Reads what `save` wrote. Raises UsageError if the file is none, or is of another space."""
        variables = self.variables()
        arrays = load_arrays(path, {name: tuple(variable.shape) for name, variable in variables.items()})
        for name, variable in variables.items():
            variable.assign(arrays[name])
        self.forget_statistics()

    def _check_calibrated(self, what: Genotype | str) -> None:
        if what != self._calibrated:
            raise LitesmithError(f"{what}: the batch-norm statistics are not its own; recalibrate it first")

    def _path_logits(self, pixels: tf.Tensor, choices: tf.Tensor) -> tf.Tensor:
        indices = self.graph.indices(choices)
        statistics = [tf.gather(known, index) for known, index in zip(self.statistics, indices, strict=True)]
        return self.graph.path(self._floats(pixels), choices, self.rows(choices), statistics)

    def _moments_of_path(self, pixels: tf.Tensor, choices: tf.Tensor) -> list[tf.Tensor]:
        return self.graph.path_moments(self._floats(pixels), choices, self.rows(choices))

    def _mixture_logits(self, pixels: tf.Tensor) -> tf.Tensor:
        return self.graph.mixture(self._floats(pixels), self.probabilities(), self.weights, self.statistics)[0]

    def _moments_of_mixture(self, pixels: tf.Tensor) -> list[tf.Tensor]:
        return self.graph.mixture(self._floats(pixels), self.probabilities(), self.weights)[1]

    def _floats(self, pixels: tf.Tensor) -> tf.Tensor:
        self.traces += 1
        return tf.cast(pixels, tf.float32) / 255.0

    def _batches(self, images: ImageSet) -> Iterator[tf.Tensor]:
        """The images in parts of nearly the same size."""
        side = self.space.template.resolution
        if not len(images) or images.images.shape[1] != side:
            found = f"{len(images)} of {images.images.shape[1]} pixels"
            raise bad_value(f"space {self.space.name}: images", found, f"one or more of {side} pixels a side")
        for positions in np.array_split(np.arange(len(images)), -(-len(images) // BATCH)):
            yield tf.constant(images.rgb(positions))


def _segments(place: Place, networks: Sequence[keras.Model]) -> tuple[Segment, ...]:
    return tuple(Segment(place, branch, networks[k]) for k, branch in enumerate(place.branches))


def _rows(place: Place, segments: Sequence[Segment], networks: Sequence[keras.Model]) -> NDArray[np.float32]:
    """The initial weights of a place [candidates, values], filled up with zeros; never empty, as TensorFlow cannot
    write into an empty row."""
    rows = np.zeros((len(segments), max(1, *(segment.size for segment in segments))), np.float32)
    for k, segment in enumerate(segments):
        rows[k, : segment.size] = segment.row(place, networks[k])
    return rows


def _statistics(segments: Sequence[Segment]) -> NDArray[np.float32]:
    """Means 0 and variances 1, [candidates, 2, channels]."""
    shape = (len(segments), max(1, *(segment.channels for segment in segments)))
    return np.stack([np.zeros(shape, np.float32), np.ones(shape, np.float32)], axis=1)


def _averages(
    moments: Callable[[tf.Tensor], list[tf.Tensor]], batches: Iterator[tf.Tensor]
) -> list[NDArray[np.float32]]:
    """For each place means and variances over all images, [..., 2, channels], from those of the batches.

    The variance over all is the mean of the batches' variances plus the variance of their means.
    """
    totals: list[NDArray[np.float64]] = []
    count = 0
    for pixels in batches:
        sums = [_sums(np.asarray(found, np.float64)) * len(pixels) for found in moments(pixels)]
        totals = [total + found for total, found in zip(totals, sums, strict=True)] if totals else sums
        count += len(pixels)
    return [_moments(total / count) for total in totals]


def _moments(sums: NDArray[np.float64]) -> NDArray[np.float32]:
    """Means and variances [..., 2, channels], from means and mean squares. The inverse of `_sums`."""
    means, squares = sums[..., 0, :], sums[..., 1, :]
    return np.stack([means, np.maximum(squares - means**2, 0)], -2).astype(np.float32)


def _sums(moments: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean and mean square of one image's share, from means and variances [..., 2, channels]."""
    means, variances = moments[..., 0, :], moments[..., 1, :]
    return np.stack([means, variances + means**2], -2)

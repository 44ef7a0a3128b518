"""Weight clustering with tfmot: each kernel gets a few distinct values, so that the file compresses well.

Weights keep their pruned zeros: one cluster is fixed at zero (Han et al. 2015, "Deep Compression").
"""

from __future__ import annotations

from collections.abc import Sequence

from core.keras_env import keras

import numpy as np
import numpy.typing as npt
import tensorflow_model_optimization as tfmot
from tensorflow_model_optimization.python.core.clustering.keras.experimental import cluster as experimental

from compress.finetune import FineTune
from compress.invariants import Invariants, kernel_variable, plain_name
from compress.passes.contract import compressible
from compress.patterns import LAYER_CLUSTERS, LayerNames
from compress.settings import ClusterSettings
from core.errors import CandidateError

LLOYD_ROUNDS = 20


class Cluster:
    """Every Conv2D and Dense kernel, and depthwise ones if the settings say so, gets a few distinct values."""

    def __init__(self, settings: ClusterSettings) -> None:
        self._settings = settings
        self._numbers: dict[str, int] = {}
        self._frozen: tuple[str, ...] = ()

    def wrap(self, model: keras.Model, earlier: Invariants, fine_tune: FineTune) -> keras.Model:
        """The model with its kernels in tfmot's clustering wrappers, centroids placed by k-means.

        A kernel that has too few weights to share values is not wrapped; it is not trained either, to keep its zeros.
        Raises CandidateError if there is nothing to cluster, or naming a pattern that matches nothing.
        """
        pruned = dict(earlier.sparsity)
        names, settings = LayerNames(model, earlier), self._settings
        chosen = compressible(model, names.excluded(settings.exclude), depthwise=settings.depthwise)
        if not chosen:
            raise CandidateError(f"{model.name}: there is nothing to cluster (no layer is left of those that may be)")
        layers = [layer.name for layer in chosen]
        numbers = names.values(layers, settings.layers, settings.number_of_clusters, LAYER_CLUSTERS)
        self._numbers = {name: int(number) for name, number in numbers.items()}
        wrapping = {layer.name for layer in chosen if _has_enough_values(layer, self._numbers[layer.name])}
        self._frozen = tuple(sorted((self._numbers.keys() | pruned.keys()) - wrapping))

        def wrapped(layer: keras.layers.Layer) -> keras.layers.Layer:
            if layer.name not in wrapping:
                layer.trainable = layer.trainable and layer.name not in self._frozen
                return layer
            return _wrapped(layer, self._numbers[layer.name], preserve_sparsity=layer.name in pruned)

        clustered = keras.models.clone_model(model, clone_function=wrapped)
        for layer in clustered.layers:
            if plain_name(layer) in wrapping:
                _place_centroids(layer)
        return clustered

    def callbacks(self) -> Sequence[keras.callbacks.Callback]:
        """None needed: the wrappers assign weights to clusters at every step."""
        return ()

    def strip(self, wrapped: keras.Model) -> keras.Model:
        """The plain network with shared values in its kernels."""
        stripped = tfmot.clustering.keras.strip_clustering(wrapped)
        for name in self._frozen:
            stripped.get_layer(name).trainable = True
        return stripped

    def promises(self) -> Invariants:
        """The most distinct values of each layer."""
        return Invariants(clusters=tuple(self._numbers.items()))


def _has_enough_values(layer: keras.layers.Layer, number_of_clusters: int) -> bool:
    """Whether there is something to cluster (tfmot's initialization fails for fewer weights than clusters)."""
    return bool(np.count_nonzero(kernel_variable(layer).numpy()) >= number_of_clusters)


def _wrapped(layer: keras.layers.Layer, number_of_clusters: int, preserve_sparsity: bool) -> keras.layers.Layer:
    wrapper = experimental.cluster_weights(
        layer,
        number_of_clusters,
        tfmot.clustering.keras.CentroidInitialization.KMEANS_PLUS_PLUS,
        preserve_sparsity=preserve_sparsity,
    )
    if type(layer) is keras.layers.DepthwiseConv2D:  # tfmot knows it as a layer without weights to cluster
        layer.get_clusterable_weights = lambda: [("depthwise_kernel", layer.depthwise_kernel)]
    return wrapper


def _place_centroids(wrapper: keras.layers.Wrapper) -> None:
    """Moves tfmot's initial centroids (samples of the weights) to a k-means optimum; the zero cluster stays."""
    ((name, centroids),) = wrapper.cluster_centroids.items()
    weights = wrapper.original_clusterable_weights[name].numpy().reshape(-1)
    fixed_zero = int(wrapper.zero_idx[name]) if wrapper.preserve_sparsity else None
    centroids.assign(k_means(weights, centroids.numpy(), fixed_zero))


def k_means(
    weights: npt.NDArray[np.float32], centroids: npt.NDArray[np.float32], fixed_zero: int | None
) -> npt.NDArray[np.float32]:
    """Lloyd's k-means of float32 [n] in one dimension, from `centroids` [k] on, keeping their order.

    The centroid `fixed_zero` stays at zero, and weights that are zero belong to it whatever the others do. On sorted
    weights clusters are intervals: a round takes time in proportion to k log n, and no memory for n times k distances.
    """
    order = np.argsort(centroids, kind="stable")
    ordered = centroids[order].astype(np.float64)
    values = np.sort(weights if fixed_zero is None else weights[weights != 0.0]).astype(np.float64)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    zero = None if fixed_zero is None else int(np.flatnonzero(order == fixed_zero)[0])
    for _ in range(LLOYD_ROUNDS):
        edges = np.searchsorted(values, (ordered[1:] + ordered[:-1]) / 2)
        bounds = np.concatenate([[0], edges, [values.size]])
        counts = np.diff(bounds)
        means = np.diff(sums[bounds]) / np.maximum(counts, 1)
        ordered = np.where(counts > 0, means, ordered)
        if zero is not None:
            ordered[zero] = 0.0
    placed = np.empty_like(centroids)
    placed[order] = ordered
    return placed

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
from compress.recipe import ClusterSettings

LLOYD_ROUNDS = 20


class Cluster:
    """Every Conv2D and Dense kernel (depthwise and excluded ones not) gets at most `number_of_clusters` values."""

    def __init__(self, settings: ClusterSettings) -> None:
        self._settings = settings
        self._clustered: tuple[str, ...] = ()
        self._frozen: tuple[str, ...] = ()

    def wrap(self, model: keras.Model, earlier: Invariants, fine_tune: FineTune) -> keras.Model:
        """The model with its kernels in tfmot's clustering wrappers, centroids placed by k-means.

        A kernel that has too few weights to share values is not wrapped; it is not trained either, to keep its zeros.
        """
        pruned = dict(earlier.sparsity)
        chosen = compressible(model, self._settings.exclude)
        self._clustered = tuple(layer.name for layer in chosen)
        few = {layer.name for layer in chosen if not self._enough_values(layer)}
        wrapping = set(self._clustered) - few
        self._frozen = tuple(sorted(few | (set(pruned) - wrapping)))

        def wrapped(layer: keras.layers.Layer) -> keras.layers.Layer:
            if layer.name not in wrapping:
                layer.trainable = layer.trainable and layer.name not in self._frozen
                return layer
            return experimental.cluster_weights(
                layer,
                self._settings.number_of_clusters,
                tfmot.clustering.keras.CentroidInitialization.KMEANS_PLUS_PLUS,
                preserve_sparsity=layer.name in pruned,
            )

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
        """At most `number_of_clusters` distinct values in each layer."""
        return Invariants(clusters=tuple((name, self._settings.number_of_clusters) for name in self._clustered))

    def _enough_values(self, layer: keras.layers.Layer) -> bool:
        """Whether there is something to cluster (tfmot's initialization fails for fewer weights than clusters)."""
        kernel = kernel_variable(layer).numpy()
        return bool(np.count_nonzero(kernel) >= self._settings.number_of_clusters)


def _place_centroids(wrapper: keras.layers.Wrapper) -> None:
    """Moves tfmot's initial centroids (samples of the weights) to a k-means optimum; the zero cluster stays."""
    centroids = wrapper.cluster_centroids["kernel"]
    weights = wrapper.original_clusterable_weights["kernel"].numpy().reshape(-1)
    fixed_zero = int(wrapper.zero_idx["kernel"]) if wrapper.preserve_sparsity else None
    centroids.assign(_lloyd(weights, centroids.numpy(), fixed_zero))


def _lloyd(
    weights: npt.NDArray[np.float32], centroids: npt.NDArray[np.float32], fixed_zero: int | None
) -> npt.NDArray[np.float32]:
    """Lloyd's k-means in one dimension, keeping the order of the centroids."""
    if fixed_zero is not None:
        weights = weights[weights != 0.0]
    for _ in range(LLOYD_ROUNDS):
        members = np.abs(weights[:, None] - centroids).argmin(axis=1)
        counts = np.bincount(members, minlength=centroids.size)
        sums = np.bincount(members, weights, minlength=centroids.size)
        centroids = np.where(counts > 0, sums / np.maximum(counts, 1), centroids).astype(np.float32)
        if fixed_zero is not None:
            centroids[fixed_zero] = 0.0
    return centroids

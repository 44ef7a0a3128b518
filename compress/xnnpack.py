"""Which networks XNNPACK runs with sparse convolutions: the check before pruning for latency.

The rules are tfmot's (`PruneForLatencyOnXNNPack`, after Elsen et al. 2020, "Fast Sparse ConvNets", arXiv:1911.09723):
a 3x3 convolution of stride 2 on the image, padded by a layer of its own; then nothing but 1x1 convolutions, depthwise
3x3 and 5x5 ones (those of stride 2 padded likewise), ReLUs, sigmoids, sums and products; then a global average pooling
that keeps its dimensions. Of our networks that is what `ArchSpec.form` "xnnpack" builds.
"""

from __future__ import annotations

from core.keras_env import keras

import tensorflow_model_optimization as tfmot

from core.errors import CandidateError


class _NamingPolicy(tfmot.sparsity.keras.PruneForLatencyOnXNNPack):
    """tfmot's policy, which collects the layers that it refuses instead of stopping at any one of them."""

    def __init__(self) -> None:
        self.refused: set[str] = set()

    def _check_layer_support(self, layer: keras.layers.Layer) -> bool:
        if not super()._check_layer_support(layer):
            self.refused.add(layer.name)
        return True


def sparse_layers(model: keras.Model) -> frozenset[str]:
    """The names of the layers that XNNPACK can run sparse: the 1x1 convolutions.

    Raises CandidateError naming the first layer that keeps it from that.
    """
    policy = _NamingPolicy()
    try:
        policy.ensure_model_supports_pruning(model)
    except ValueError as error:
        raise _refused(model, str(error)) from error
    for layer in model.layers:
        if layer.name in policy.refused:
            raise _refused(model, f"layer {layer.name!r} ({type(layer).__name__}) has no sparse form")
    return frozenset(layer.name for layer in model.layers if policy.allow_pruning(layer))


def _refused(model: keras.Model, reason: str) -> CandidateError:
    return CandidateError(
        f"{model.name}: XNNPACK cannot run it sparse: {reason}; it takes networks of the form 'xnnpack' whose blocks "
        "are 1x1 and depthwise convolutions of 3 or 5 pixels with relu or relu6"
    )

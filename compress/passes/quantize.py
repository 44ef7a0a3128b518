"""Int8 quantization-aware training with tfmot; keeps the zeros and shared values of the passes before it.

Scheme: Jacob et al. 2017, "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference". With pruned and clustered layers this is what tfmot calls PQAT, CQAT and PCQAT.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from core.keras_env import keras, tf

import numpy as np
import tensorflow_model_optimization as tfmot
from tensorflow_model_optimization.python.core.quantization.keras.default_8bit.default_8bit_quantize_configs import (
    NoOpQuantizeConfig,
)
from tensorflow_model_optimization.python.core.quantization.keras.default_8bit.default_8bit_quantize_layout_transform import (  # noqa: E501
    Default8BitQuantizeLayoutTransform,
)
from tensorflow_model_optimization.python.core.quantization.keras.default_8bit.default_8bit_quantize_registry import (
    Default8BitQuantizeConfig,
)

from compress.finetune import FineTune
from compress.invariants import Invariants, kernel_variable, plain_name, short_name
from compress.passes.tie import Tie
from compress.recipe import QuantizeSettings
from core.errors import CandidateError
from search.dataset import ImageSet

CALIBRATION_IMAGES = 256
CALIBRATION_BATCH = 64
# Layers missing in tfmot's registry whose output simply gets a range of its own.
OUTPUT_QUANTIZED = (keras.layers.Multiply, keras.layers.Rescaling)
WITH_KERNEL = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Dense)
# Not in the registry but fused into the convolution before them.
FUSED = (keras.layers.BatchNormalization, keras.layers.InputLayer)


class Quantize:
    """Fake quantization of every kernel (per output channel) and activation."""

    def __init__(self, settings: QuantizeSettings) -> None:  # nothing to set
        self._ties: dict[str, Tie] = {}

    def wrap(self, model: keras.Model, earlier: Invariants, fine_tune: FineTune) -> keras.Model:
        """The model with tfmot's quantization wrappers, their ranges calibrated on training images.

        Raises CandidateError naming a layer that has no integer form.
        """
        self._ties = _ties(model, earlier)
        scheme = _Scheme(self._ties)
        _refuse_unsupported(model, scheme.get_quantize_registry())
        ranges = _activation_ranges(model, fine_tune.train)
        annotated = tfmot.quantization.keras.quantize_annotate_model(model)
        with tfmot.quantization.keras.quantize_scope():
            wrapped = tfmot.quantization.keras.quantize_apply(annotated, scheme)
        _set_ranges(wrapped, ranges)
        return wrapped

    def callbacks(self) -> Sequence[keras.callbacks.Callback]:
        """None needed."""
        return ()

    def strip(self, wrapped: keras.Model) -> keras.Model:
        """The quantization-aware model: conversion needs its ranges. It is not meant to be trained further."""
        for layer in wrapped.layers:
            if (tie := self._ties.get(plain_name(layer))) is not None:
                kernel = kernel_variable(layer)
                kernel.assign(tie.exact(kernel.numpy()))
        return wrapped

    def promises(self) -> Invariants:
        """Nothing new: the float kernels need no property for int8."""
        return Invariants()


class _Scheme(tfmot.quantization.keras.default_8bit.Default8BitQuantizeScheme):
    """tfmot's default 8-bit scheme with our registry."""

    def __init__(self, ties: Mapping[str, Tie]) -> None:
        self._ties = ties

    def get_quantize_registry(self) -> _Registry:
        return _Registry(self._ties)

    def get_layout_transformer(self) -> _Layout:
        return _Layout(self.get_quantize_registry())


class _Layout(Default8BitQuantizeLayoutTransform):
    """tfmot's default transforms, with the kernels quantized that they forget.

    To keep the range between a layer and its ReLU free, tfmot switches off everything of the layer, its kernel too.
    Where a batch norm stands between them it does not; squeeze-excite has none.
    """

    def __init__(self, registry: _Registry) -> None:
        self._registry = registry

    def apply(self, model: keras.Model, layer_quantize_map: dict[str, Any]) -> tuple[keras.Model, dict[str, Any]]:
        model, layer_quantize_map = super().apply(model, layer_quantize_map)
        for layer in model.layers:
            entry = layer_quantize_map.get(layer.name, {})
            if isinstance(entry.get("quantize_config"), NoOpQuantizeConfig) and isinstance(layer, WITH_KERNEL):
                config = self._registry.get_quantize_config(layer)
                config.activation_attrs, config.quantize_output = [], False
                entry["quantize_config"] = config
        return model, layer_quantize_map


class _Registry(tfmot.quantization.keras.default_8bit.Default8BitQuantizeRegistry):
    """Gives every layer a configuration of its own (tfmot shares one among all convolutions)."""

    def __init__(self, ties: Mapping[str, Tie]) -> None:
        super().__init__()
        self._ties = ties
        for layer_class in OUTPUT_QUANTIZED:
            self._layer_quantize_map[layer_class] = Default8BitQuantizeConfig([], [], True)

    def get_quantize_config(self, layer: keras.layers.Layer) -> tfmot.quantization.keras.QuantizeConfig:
        shared = super().get_quantize_config(layer)
        config = type(shared).from_config(shared.get_config())
        if layer.name in self._ties:
            config.weight_quantizer = _TiedQuantizer(config.weight_quantizer, self._ties[layer.name])
        return config


class _TiedQuantizer:
    """A weight quantizer that keeps a tie. It adds no variables, so the trained model is an ordinary QAT model."""

    def __init__(self, quantizer: tfmot.quantization.keras.quantizers.Quantizer, tie: Tie) -> None:
        self._quantizer, self._tie = quantizer, tie
        self.build = quantizer.build

    def __call__(self, inputs: tf.Tensor, training: bool, weights: Mapping[str, tf.Variable]) -> tf.Tensor:
        return self._quantizer(self._tie.apply(inputs), training, weights)


def _ties(model: keras.Model, earlier: Invariants) -> dict[str, Tie]:
    pruned, clustered = dict(earlier.sparsity), dict(earlier.clusters)
    return {
        layer.name: Tie.of(
            kernel_variable(layer).numpy(), keep_zeros=layer.name in pruned, keep_shared=layer.name in clustered
        )
        for layer in model.layers
        if layer.name in pruned or layer.name in clustered
    }


def _refuse_unsupported(model: keras.Model, registry: _Registry) -> None:
    for layer in model.layers:
        if not isinstance(layer, FUSED) and not registry.supports(layer):
            raise CandidateError(
                f"layer {layer.name!r} ({type(layer).__name__}) cannot be trained quantization-aware; use ptq instead"
            )


def _activation_ranges(model: keras.Model, images: ImageSet) -> dict[str, tuple[float, float]]:
    """The range of each layer's output in the float network: mean of the batches' minima and of their maxima.

    tfmot starts every range at -6..6 and moves it by a thousandth a step: a short training would end with ranges that
    still have little to do with the activations.
    """
    outputs = keras.Model(model.inputs, [layer.output for layer in model.layers])
    extremes = []
    for start in range(0, min(len(images), CALIBRATION_IMAGES), CALIBRATION_BATCH):
        pixels = images.rgb(slice(start, start + CALIBRATION_BATCH))
        values = outputs(tf.cast(pixels, tf.float32) / 255.0, training=False)
        extremes.append([(float(tf.reduce_min(value)), float(tf.reduce_max(value))) for value in values])
    means = np.mean(extremes, axis=0)
    return {layer.name: (float(low), float(high)) for layer, (low, high) in zip(model.layers, means, strict=True)}


def _set_ranges(wrapped: keras.Model, ranges: Mapping[str, tuple[float, float]]) -> None:
    for layer in wrapped.layers:
        variables = {short_name(variable): variable for variable in layer.weights}
        for kind in ("output", "post_activation"):
            if f"{kind}_min" in variables:
                low, high = ranges[plain_name(layer)]
                variables[f"{kind}_min"].assign(min(low, 0.0))  # int8 must hold zero exactly
                variables[f"{kind}_max"].assign(max(high, 0.0))

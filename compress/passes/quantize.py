"""Int8 quantization-aware training with tfmot; keeps the zeros and shared values of the passes before it.

Scheme: Jacob et al. 2017, "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference". With pruned and clustered layers this is what tfmot calls PQAT, CQAT and PCQAT. The wrappers are tfmot's;
where they stand is our own plan (compress.passes.quantize_plan): tfmot's knows neither gates, hard swish and channel
shuffles, nor the ranges that concatenations share, and it forgets kernels that a ReLU follows directly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from core.keras_env import keras, tf

import numpy as np
import tensorflow_model_optimization as tfmot
from tensorflow_model_optimization.python.core.quantization.keras.default_8bit.default_8bit_quantize_configs import (
    Default8BitOutputQuantizeConfig,
)
from tensorflow_model_optimization.python.core.quantization.keras.default_8bit.default_8bit_quantize_registry import (
    Default8BitConvQuantizeConfig,
    Default8BitQuantizeConfig,
)
from tensorflow_model_optimization.python.core.quantization.keras.quantize_layer import QuantizeLayer
from tensorflow_model_optimization.python.core.quantization.keras.quantize_wrapper import QuantizeWrapperV2

from compress.finetune import FineTune
from compress.invariants import KERNEL_NAMES, Invariants, kernel_variable, plain_name, short_name
from compress.passes.quantize_layers import (
    DepthwiseBatchNormalization,
    DepthwiseQuantizeConfig,
    QuantizedHardSigmoid,
    QuantizedSigmoid,
    QuantizedSwish,
)
from compress.passes.quantize_plan import QuantizePlan, plan_of
from compress.passes.tie import Tie
from compress.settings import QuantizeSettings
from search.dataset import ImageSet
from search.keras_layers import HardSigmoid, Swish

CALIBRATION_IMAGES = 256
CALIBRATION_BATCH = 64
KERNEL_CONFIGS: dict[Any, tuple[Any, str]] = {
    keras.layers.Conv2D: (Default8BitConvQuantizeConfig, "kernel"),
    keras.layers.DepthwiseConv2D: (DepthwiseQuantizeConfig, "depthwise_kernel"),
    keras.layers.Dense: (Default8BitQuantizeConfig, "kernel"),
}
REPLACED: dict[Any, Any] = {HardSigmoid: QuantizedHardSigmoid, Swish: QuantizedSwish}


class Quantize:
    """Fake quantization of every kernel (per output channel) and activation."""

    def __init__(self, settings: QuantizeSettings) -> None:  # nothing to set
        self._ties: dict[str, Tie] = {}
        self._shared: tuple[tuple[str, ...], ...] = ()

    def wrap(self, model: keras.Model, earlier: Invariants, fine_tune: FineTune) -> keras.Model:
        """The model with tfmot's quantization wrappers, their ranges calibrated on training images.

        Raises CandidateError naming a layer that has no integer form.
        """
        plan = plan_of(model)
        self._ties, self._shared = _ties(model, earlier), plan.shared
        ranges = _activation_ranges(model, plan, fine_tune.train)
        wrapped = _wrapped(model, plan, self._ties)
        variables = _range_variables(wrapped)
        for name, values in ranges.items():
            _assign_range(variables[name], *values)
        _equalize(variables, self._shared)
        _set_kernel_ranges(wrapped)
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
        _equalize(_range_variables(wrapped), self._shared)
        _set_kernel_ranges(wrapped)
        return wrapped

    def promises(self) -> Invariants:
        """Nothing new: the float kernels need no property for int8."""
        return Invariants()


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


def _wrapped(model: keras.Model, plan: QuantizePlan, ties: Mapping[str, Tie]) -> keras.Model:
    """The same graph of copied layers in quantization wrappers, after a quantization of the input."""
    image = keras.Input(model.input_shape[1:], name=model.input_names[0])
    quantizer = tfmot.quantization.keras.quantizers.AllValuesQuantizer(
        num_bits=8, per_axis=False, symmetric=False, narrow_range=False
    )
    tensors = {id(model.input): QuantizeLayer(quantizer, name="quantize_layer")(image)}
    for layer in model.layers[1:]:
        config = _config(layer, plan)
        if layer.name in ties:
            config.weight_quantizer = _TiedQuantizer(config.weight_quantizer, ties[layer.name])
        inputs = tf.nest.map_structure(lambda x: tensors[id(x)], layer.input)
        tensors[id(layer.output)] = QuantizeWrapperV2(_copied(layer, plan), config)(inputs)
    return keras.Model(image, tensors[id(model.output)], name=model.name)


def _config(layer: keras.layers.Layer, plan: QuantizePlan) -> Any:
    has_range = layer.name in plan.ranges
    if type(layer) in KERNEL_CONFIGS:
        config_class, kernel = KERNEL_CONFIGS[type(layer)]
        return config_class([kernel], [], has_range)
    return Default8BitOutputQuantizeConfig(has_range)


def _copied(layer: keras.layers.Layer, plan: QuantizePlan) -> keras.layers.Layer:
    """A layer of the same values, of the class that is meant for quantization."""
    layer_class: Any = REPLACED.get(type(layer), type(layer))
    if layer.name in plan.lone_norms:
        layer_class = DepthwiseBatchNormalization
    elif type(layer) is keras.layers.Activation and layer.activation is keras.activations.sigmoid:
        layer_class = QuantizedSigmoid
    copy = layer_class.from_config(layer.get_config())
    if layer.weights:
        with keras.backend.name_scope(layer.name):
            copy.build(layer.input_shape)
        copy.set_weights(layer.get_weights())
    return copy


class _Extremes(keras.layers.Layer):
    """Minimum and maximum of a tensor. A layer, so that the model that computes them keeps no other outputs."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """A tensor of any shape -> [2]."""
        return tf.stack([tf.reduce_min(inputs), tf.reduce_max(inputs)])


def _activation_ranges(model: keras.Model, plan: QuantizePlan, images: ImageSet) -> dict[str, tuple[float, float]]:
    """The range of outputs in the float network: mean of the batches' minima and of their maxima.

    tfmot starts every range at -6..6 and moves it by a thousandth a step: a short training would end with ranges that
    still have little to do with the activations.
    """
    names = sorted(plan.ranges)
    outputs = keras.Model(model.inputs, [_Extremes()(model.get_layer(name).output) for name in names])
    extremes = []
    for start in range(0, min(len(images), CALIBRATION_IMAGES), CALIBRATION_BATCH):
        pixels = images.rgb(slice(start, start + CALIBRATION_BATCH))
        found = outputs(tf.cast(pixels, tf.float32) / 255.0, training=False)
        extremes.append([value.numpy() for value in tf.nest.flatten(found)])  # one output is not a list
    return {name: (float(low), float(high)) for name, (low, high) in zip(names, np.mean(extremes, axis=0), strict=True)}


def _range_variables(wrapped: keras.Model) -> dict[str, tuple[tf.Variable, tf.Variable]]:
    """(minimum, maximum) of each output that has a range, by the layer's name in the plain network."""
    found = {}
    for layer in wrapped.layers:
        variables = {short_name(variable): variable for variable in layer.weights}
        if "output_min" in variables:
            found[plain_name(layer)] = (variables["output_min"], variables["output_max"])
    return found


def _set_kernel_ranges(wrapped: keras.Model) -> None:
    """Sets what the weight quantizers only do in a training step, for the kernels before it: symmetric ranges."""
    for layer in wrapped.layers:
        variables = {short_name(variable): variable for variable in layer.weights}
        for name in KERNEL_NAMES:
            if f"{name}_max" in variables:
                largest = variables[f"{name}_max"]
                channels = variables[name].numpy().reshape(-1, largest.shape.num_elements())
                largest.assign(np.abs(channels).max(axis=0).reshape(largest.shape))
                variables[f"{name}_min"].assign(-largest)


def _assign_range(variables: tuple[tf.Variable, tf.Variable], low: float, high: float) -> None:
    variables[0].assign(min(low, 0.0))  # int8 must hold zero exactly
    variables[1].assign(max(high, 0.0))


def _equalize(variables: Mapping[str, tuple[tf.Variable, tf.Variable]], groups: Sequence[Sequence[str]]) -> None:
    """Widens the ranges of each group to one. In the training between, each follows its own values a little."""
    for group in groups:
        low = min(float(variables[name][0]) for name in group)
        high = max(float(variables[name][1]) for name in group)
        for name in group:
            _assign_range(variables[name], low, high)

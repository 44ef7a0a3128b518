"""A loaded network as one flat graph of plain layers, so that every pass sees every layer. Outputs stay what they were.

Nested models are dissolved; activations inside convolutions become layers of their own and separable convolutions two
(quantization-aware training knows no other form); arithmetic is recognised as hard sigmoid and hard swish; what only
rescales the input of a convolution goes into its kernel; a final softmax goes (networks here give logits; conversion
puts it back).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

from core.keras_env import keras, tf

import numpy as np
import numpy.typing as npt

from compress.importing.weights import hard_sigmoid, hard_swish
from compress.structured.graph import calls_of, filled
from core.errors import UsageError
from search.keras_layers import HardSigmoid, HardSwish, Swish

Layers = keras.layers
Floats = npt.NDArray[np.float32]
WITH_ACTIVATION = (Layers.Conv1D, Layers.Conv2D, Layers.Conv2DTranspose, Layers.Dense, Layers.DepthwiseConv2D)
# What may stand between a grey image and the first kernel when the image gets three channels: linear, by channel.
KEEPS_MEAN = (Layers.Rescaling, Layers.Normalization, Layers.ZeroPadding2D, Layers.Cropping2D, Layers.Flatten)
IMAGE = "image"
GREY = "grey"
RGB = 3
INPUT_SCALES = {"0..1": (1.0, 0.0), "0..255": (255.0, 0.0), "-1..1": (2.0, -1.0)}
# relu6(1.2 x + 3) / 6 is Keras 2's hard sigmoid, 0.2 x + 0.5 between 0 and 1.
KERAS2_HARD_SIGMOID_SLOPE = 1.2
RTOL = 1e-5  # of constants in files: 1/6 as a float32 and as a decimal


def rewritten(model: keras.Model, resolution: int, input_range: str, where: str) -> keras.Model:
    """The flat network: images [n, R, R, 3] in 0..1 -> logits [n, classes]. Its layers are new and all trainable.

    Args:
      model: one image [side, side, 1 or 3] -> one row of scores.
      input_range: the values that `model` takes, a key of INPUT_SCALES.

    A network for grey images gets kernels that take the mean of three channels; where that cannot be, a 1x1 convolution
    before it does. Raises UsageError if its scores are independent of each other.
    """
    rewriter = _Rewriter(model)
    image = keras.Input((resolution, resolution, RGB), name=IMAGE)
    scale, offset = INPUT_SCALES[input_range]
    x = image if rewriter.takes_rgb else rewriter.mean_of_channels(image)
    (output,) = rewriter.graph(model, [rewriter.rescaled(x, scale, offset, "input_range")], "")
    last = _producer(output)
    if type(last) is Layers.Softmax:
        output = last.input
    elif _is_sigmoid(last) or type(last) is HardSigmoid:
        raise UsageError(
            f"{where} ends in a sigmoid: independent scores; expected logits or a softmax over the classes"
        )
    rewriter.give_names_back({layer.name for layer in keras.Model(image, output).layers})
    return keras.Model(image, output, name=model.name)


class _Rewriter:
    """Calls new layers on new tensors in the order of the old graph.

    Attributes:
      takes_rgb: whether the network takes images of three channels, or is for grey ones and its first kernels can be
        made to.
    """

    def __init__(self, model: keras.Model) -> None:
        self._calls: Counter[int] = Counter()
        _count_calls(model, self._calls)
        self._names: set[str] = {IMAGE}
        self._own_names = {_legal_name(layer.name) for layer in model.layers if not isinstance(layer, keras.Model)}
        self._copies: dict[tuple[int, str], _Weighted] = {}
        self._unscaled: dict[str, tuple[Any, keras.layers.Layer]] = {}
        self.takes_rgb = model.inputs[0].shape[-1] == RGB or _can_be_widened(model, self._calls)

    def mean_of_channels(self, image: Any) -> Any:
        """A grey image as a 1x1 convolution."""
        grey = Layers.Conv2D(1, 1, use_bias=False, name=self._name(GREY))
        return _Weighted(grey, [np.full((1, 1, RGB, 1), 1 / RGB, np.float32)])(image)

    def give_names_back(self, left: Collection[str]) -> None:
        """A padding that is in the place of one that is not `left` in the flat network gets that one's name."""
        for name, (_, layer) in self._unscaled.items():
            if name not in left:
                layer._name = name

    def graph(self, model: keras.Model, inputs: Sequence[Any], prefix: str) -> list[Any]:
        """The outputs of `model` on new inputs; `prefix` is put before names that are taken."""
        values = {id(old): new for old, new in zip(model.inputs, inputs, strict=True)}
        for call in calls_of(model):
            node = call.node
            if node.is_input:
                continue
            args, kwargs = filled((node.call_args, node.call_kwargs), values)
            kwargs = {key: value for key, value in kwargs.items() if key not in ("training", "mask")}
            outputs = self._layer(call.layer, args, kwargs, prefix)
            values |= {id(old): new for old, new in zip(call.outputs, tf.nest.flatten(outputs), strict=True)}
        return [values[id(output)] for output in model.outputs]

    def rescaled(self, x: Any, scale: Any, offset: Any, name: str) -> Any:
        """scale * x + offset, in one with a rescaling before it, or as part of a hard sigmoid."""
        scale, offset = np.asarray(scale, np.float64), np.asarray(offset, np.float64)
        before = _producer(x)
        if type(before) is Layers.Rescaling:
            inner_scale, inner_offset = _affine(before)
            return self.rescaled(before.input, scale * inner_scale, scale * inner_offset + offset, name)
        if _is_relu6(before) and np.allclose(scale, 1 / 6, rtol=RTOL) and not np.any(offset):
            shift = _producer(before.input)
            if type(shift) is Layers.Rescaling and _equals(shift, 1.0, 3.0):
                return HardSigmoid(name=self._name(name))(shift.input)
        # Two layers: in int8 the product and the sum each need a range of their own.
        if np.any(scale != 1.0):
            x = Layers.Rescaling(_plain(scale), name=self._name(f"{name}_scale" if np.any(offset) else name))(x)
        return Layers.Rescaling(1.0, _plain(offset), name=self._name(name))(x) if np.any(offset) else x

    def _layer(self, layer: keras.layers.Layer, args: Any, kwargs: dict[str, Any], prefix: str) -> Any:
        name, x = layer.name, args[0]
        if isinstance(layer, keras.Model):
            return self.graph(layer, tf.nest.flatten(x), f"{prefix}{layer.name}_")
        if type(layer) is Layers.Activation:
            return self._activation(layer.activation, x, name, prefix)
        if type(layer) is Layers.Rescaling:
            return self.rescaled(x, *_affine(layer), self._name(name, prefix, take=False))
        if type(layer) is Layers.Normalization:
            scale, offset = _normalization(layer)
            return self.rescaled(x, scale, offset, self._name(name, prefix, take=False))
        if type(layer) is Layers.SeparableConv2D:
            x = self._separable(layer, x, prefix)
            return self._activation(layer.activation, x, f"{name}_{_function_name(layer.activation)}", prefix)
        if type(layer) is Layers.Multiply and (gated := self._gated(x, name, prefix)) is not None:
            return gated
        if type(layer) in WITH_ACTIVATION:
            x = self._with_kernel(layer, x, prefix)
            return self._activation(layer.activation, x, f"{name}_{_function_name(layer.activation)}", prefix)
        return self._copied(layer, prefix)(*args, **kwargs)

    def _copied(self, layer: keras.layers.Layer, prefix: str) -> Any:
        """A new layer of the same weights; one that has some stays one layer in all its calls."""
        if getattr(Layers, type(layer).__name__, None) is not type(layer) or type(layer) is Layers.Lambda:
            return (
                layer  # a user's own class, or what a SavedModel has in its place: it need not be able to copy itself
            )
        if layer.weights:
            return self._weighted(layer, "", type(layer), {}, layer.get_weights(), prefix)
        return type(layer).from_config({**layer.get_config(), "name": self._name(layer.name, prefix)})

    def _with_kernel(self, layer: keras.layers.Layer, x: Any, prefix: str) -> Any:
        """A convolution or dense layer without its activation, wide enough for x."""
        weights = layer.get_weights()
        axis = weights[0].ndim - 2  # of the input channels in kernels; depthwise kernels have them there too
        if self._calls[id(layer)] == 1 and type(layer) is not Layers.Conv2DTranspose:
            x, scale = self._without_scale(x)
            weights[0] = _scaled(weights[0], scale, axis, getattr(layer, "groups", 1))
        if _is_plain(layer) and int(x.shape[-1]) == RGB * weights[0].shape[axis]:  # made for grey images
            weights[0] = np.repeat(weights[0] / RGB, RGB, axis=axis)
        return self._weighted(layer, "", type(layer), {"activation": "linear"}, weights, prefix)(x)

    def _separable(self, layer: keras.layers.Layer, x: Any, prefix: str) -> Any:
        config, (depthwise, pointwise, *bias) = layer.get_config(), layer.get_weights()
        shared = ("kernel_size", "strides", "padding", "dilation_rate", "depth_multiplier")
        first = {**{key: config[key] for key in shared}, "use_bias": False}
        second = {"filters": config["filters"], "kernel_size": 1, "use_bias": config["use_bias"]}
        x = self._weighted(layer, "_depthwise", Layers.DepthwiseConv2D, first, [depthwise], prefix)(x)
        return self._weighted(layer, "_pointwise", Layers.Conv2D, second, [pointwise, *bias], prefix)(x)

    def _weighted(
        self,
        layer: keras.layers.Layer,
        role: str,
        layer_class: Any,
        changes: dict[str, Any],
        weights: list[Floats],
        prefix: str,
    ) -> keras.layers.Layer:
        key = (id(layer), role)
        if key not in self._copies:
            config = layer.get_config() if layer_class is type(layer) else {}
            config = {**config, **changes, "name": self._name(layer.name + role, prefix), "trainable": True}
            self._copies[key] = _Weighted(layer_class.from_config(config), weights)
        return self._copies[key]

    def _activation(self, function: Any, x: Any, name: str, prefix: str) -> Any:
        activations = keras.activations
        if function is None or function is activations.linear:
            return x
        if function is activations.hard_sigmoid:
            x = self.rescaled(x, KERAS2_HARD_SIGMOID_SLOPE, 0.0, self._name(f"{name}_slope", prefix, take=False))
            return HardSigmoid(name=self._name(name, prefix))(x)
        name = self._name(name, prefix)
        layers = {
            activations.relu: lambda: Layers.ReLU(name=name),
            activations.get("relu6"): lambda: Layers.ReLU(6.0, name=name),
            activations.get("leaky_relu"): lambda: Layers.LeakyReLU(0.2, name=name),
            activations.swish: lambda: Swish(name=name),
            activations.softmax: lambda: Layers.Softmax(name=name),
            hard_sigmoid: lambda: HardSigmoid(name=name),
            hard_swish: lambda: HardSwish(name=name),
        }
        make = layers.get(function, lambda: Layers.Activation(function, name=name))
        return make()(x)

    def _gated(self, inputs: Any, name: str, prefix: str) -> Any:
        """x times a hard sigmoid (or sigmoid) of the same x is a hard swish (or swish); None for another product."""
        for x, gate in (inputs, inputs[::-1]) if len(inputs) == 2 else ():
            layer = _producer(gate)
            if (type(layer) is HardSigmoid or _is_sigmoid(layer)) and layer.input is x:
                return (HardSwish if type(layer) is HardSigmoid else Swish)(name=self._name(name, prefix))(x)
        return None

    def _without_scale(self, x: Any) -> tuple[Any, Any]:
        """(x before a rescaling by factors alone, the factors): zeros of a padding stay zeros."""
        layer = _producer(x)
        if type(layer) is Layers.Rescaling and not np.any(_affine(layer)[1]):
            return layer.input, _affine(layer)[0]
        if type(layer) is Layers.ZeroPadding2D:
            inner, scale = self._without_scale(layer.input)
            if inner is not layer.input:
                if layer.name not in self._unscaled:  # one for all that read the padded image
                    padding = Layers.ZeroPadding2D.from_config({**layer.get_config(), "name": self._name(layer.name)})
                    self._unscaled[layer.name] = padding(inner), padding
                return self._unscaled[layer.name][0], scale
        return x, np.ones(())

    def _name(self, name: str, prefix: str = "", take: bool = True) -> str:
        """A name that no other layer has: the old one if that is free and not one of the outer model's."""
        name, full = _legal_name(name), _legal_name(f"{prefix}{name}")
        plain = () if prefix and name in self._own_names else (name,)
        candidates = (*plain, full, *(f"{full}_{i}" for i in range(1, len(self._names) + 2)))
        free = next(candidate for candidate in candidates if candidate not in self._names)
        if take:
            self._names.add(free)
        return free


class _Weighted:
    """A new layer that gets its weights with its first call, which makes its variables."""

    def __init__(self, layer: keras.layers.Layer, weights: list[Floats]) -> None:
        self._layer = layer
        self._weights: list[Floats] | None = weights

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        outputs = self._layer(*args, **kwargs)
        if self._weights is not None:
            self._layer.set_weights(self._weights)
            self._weights = None
        return outputs


def _can_be_widened(model: keras.Model, calls: Counter[int]) -> bool:
    """Whether all kernels that read a grey image may read three channels instead, each with a third of its weights.

    Between them and the image there may be layers of KEEPS_MEAN. `calls` is how often each layer is called.
    """
    grey = {id(model.inputs[0])}
    for call in calls_of(model):
        if grey.isdisjoint(map(id, call.inputs)):
            continue
        if isinstance(call.layer, keras.Model):
            fits = calls[id(call.layer)] == 1 and _can_be_widened(call.layer, calls)
        elif type(call.layer) in KEEPS_MEAN:
            fits = True
            grey.update(map(id, call.outputs))
        else:
            fits = _is_plain(call.layer) and calls[id(call.layer)] == 1
        if not fits:
            return False
    return grey.isdisjoint(map(id, model.outputs))


def _is_plain(layer: keras.layers.Layer) -> bool:
    return type(layer) is Layers.Dense or (type(layer) is Layers.Conv2D and layer.groups == 1)


def _count_calls(model: keras.Model, calls: Counter[int]) -> None:
    """How often each layer is called, by its id; those of a nested model at each of its calls."""
    for call in calls_of(model):
        if isinstance(call.layer, keras.Model):
            _count_calls(call.layer, calls)
        calls[id(call.layer)] += 1


def _legal_name(name: str) -> str:
    """Without slashes, which Keras 2 takes for scopes."""
    return re.sub(r"[^\w.\-]", "_", name)


def _producer(x: Any) -> keras.layers.Layer:
    return x._keras_history.layer


def _affine(layer: keras.layers.Layer) -> tuple[Any, Any]:
    return np.asarray(layer.scale, np.float64), np.asarray(layer.offset, np.float64)


def _equals(layer: keras.layers.Layer, scale: float, offset: float) -> bool:
    return all(
        np.allclose(found, wanted, rtol=RTOL) for found, wanted in zip(_affine(layer), (scale, offset), strict=True)
    )


def _normalization(layer: keras.layers.Layer) -> tuple[Any, Any]:
    """(scale, offset) of a layer that has seen its data."""
    mean, variance = (np.asarray(value, np.float64).reshape(-1) for value in (layer.mean, layer.variance))
    deviation = np.maximum(np.sqrt(variance), keras.backend.epsilon())
    return _single(1.0 / deviation), _single(-mean / deviation)


def _single(values: Any) -> Any:
    return values[0] if len(values) == 1 else values


def _plain(value: Any) -> Any:
    """A number, or a list of one for each channel."""
    return float(value.flat[0]) if np.all(value == value.flat[0]) else [float(item) for item in value]


def _scaled(kernel: Floats, scale: Any, axis: int, groups: int) -> Floats:
    """A kernel for inputs that are not multiplied by `scale` (a number or one per input channel) any more."""
    if np.ndim(scale) == 0:
        return np.asarray(kernel * scale, np.float32)
    if groups > 1:  # each group has its own part of the factors
        per_group = np.asarray(scale).reshape(groups, -1)
        parts = np.split(kernel, groups, axis=-1)
        return np.concatenate(
            [_scaled(part, own, axis, 1) for part, own in zip(parts, per_group, strict=True)], axis=-1
        )
    shape = [1] * kernel.ndim
    shape[axis] = -1
    return np.asarray(kernel * np.reshape(scale, shape), np.float32)


def _is_relu6(layer: keras.layers.Layer) -> bool:
    if type(layer) is not Layers.ReLU or layer.max_value is None:
        return False
    return float(layer.max_value) == 6.0 and not float(layer.negative_slope) and not float(layer.threshold)


def _is_sigmoid(layer: keras.layers.Layer) -> bool:
    return type(layer) is Layers.Activation and layer.activation is keras.activations.sigmoid


def _function_name(function: Any) -> str:
    name = str(getattr(function, "__name__", function))
    return "act" if name.startswith("<") else name

"""Which weight tensor of a .tflite belongs to which layer of the Keras model it was converted from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from core.keras_env import keras

from deploy.flatbuffer import WeightTensor
from deploy.names import bare_name, layers_in

_KERNELS = ("kernel", "depthwise_kernel", "pointwise_kernel")


def weights_by_layer(weights: tuple[WeightTensor, ...], model: keras.Model) -> Mapping[str, WeightTensor]:
    """The kernel of each convolution and dense layer, by the layer's name without wrapper prefixes.

    A tensor is named after the operations that were folded into it. The layer is the one that is mentioned there (in
    the tensor's own name first, then in that of the operator's output) and has a kernel of that shape. A tensor
    whose names were lost goes to the only layer left with its shape, or to none.
    """
    kernels = _kernel_shapes(model)
    found: dict[str, WeightTensor] = {}
    unnamed = []
    for weight in weights:
        mentioned = [*layers_in(weight.name), *layers_in(weight.output_name)]
        matches = (
            name for name in mentioned if _sizes(weight.values.shape) in kernels.get(name, ()) and name not in found
        )
        name = next(matches, None)
        if name is None:
            unnamed.append(weight)
        else:
            found[name] = weight
    for weight in unnamed:
        left = [name for name, shapes in kernels.items() if name not in found and _sizes(weight.values.shape) in shapes]
        if len(left) == 1:
            found[left[0]] = weight
    return found


def _kernel_shapes(model: keras.Model) -> dict[str, set[tuple[int, ...]]]:
    shapes: dict[str, set[tuple[int, ...]]] = {}
    layers = (module for module in model.submodules if isinstance(module, keras.layers.Layer))
    for layer in layers:
        for attribute in _KERNELS:
            kernel = getattr(layer, attribute, None)
            if kernel is not None:
                stored = tuple(kernel.shape)
                if attribute == "depthwise_kernel":  # [h, w, channels, multiplier], which LiteRT has in one axis
                    stored = (*stored[:2], stored[2] * stored[3])
                shapes.setdefault(bare_name(layer.name), set()).add(_sizes(stored))
    return shapes


def _sizes(shape: Iterable[int]) -> tuple[int, ...]:
    """The sizes above 1 in ascending order: Keras and LiteRT order the axes of a kernel differently."""
    return tuple(sorted(int(size) for size in shape if size > 1))

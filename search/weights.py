"""Loads trained weights into a built model: from a Keras model, a Keras HDF5 file or an .npz file.

Layers are matched in their order (of files whose layers have the model's own names: by name), and every kind and shape
is checked before the first weight is set. Two conventions of the source are folded into the weights:

- Its pixels. A convolution of s * x + o is one with s * kernel, and o adds the same value to all places of a channel,
  which goes into the bias or, negated, into the mean of the normalization. Places whose window reaches into "same"
  padding lack a part of it, as the source pads with zeros after the offset and the model before it: there the outputs
  differ, unless o is 0 (pixels 0..255, say).
- Its epsilon of the batch normalizations: exact, as variance + epsilon is all that counts.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.keras_env import keras

import h5py
import numpy as np

from core.errors import LitesmithError, UsageError, bad_value, one_line
from search.build import BATCH_NORM_EPSILON

Array = np.ndarray[Any, np.dtype[np.float32]]
ChannelValues = np.ndarray[Any, np.dtype[np.float64]]
SUFFIXES = (".h5", ".hdf5", ".npz")
CHANNELS = 3
_PIXEL_WEIGHTS = {"mean", "variance", "count"}  # of keras.layers.Normalization
_MIN_STDDEV = 1e-7  # what keras.layers.Normalization divides by at least


@dataclass(frozen=True, slots=True)
class SourceLayer:
    """One layer of the source: its weights by their short names ("kernel" also for depthwise kernels)."""

    name: str
    arrays: Mapping[str, Array]
    config: Mapping[str, Any] = field(default_factory=dict)
    class_name: str = ""


def load_weights(
    model: keras.Model,
    path: Path,
    *,
    input_range: tuple[float, float] = (0.0, 1.0),
    batch_norm_epsilon: float = BATCH_NORM_EPSILON,
) -> None:
    """Sets all weights of a model of search.build from a file.

    Args:
      model: as built; left as it is if anything does not fit.
      path: .h5 as Keras 2 saves models and weights, or .npz with arrays "LAYER/kernel", "LAYER/bias", ….
      input_range: what pixels 0 and 255 are to the source (0..255 and -1..1 are usual); our models take 0..1.
      batch_norm_epsilon: of the source, where the file does not say.

    Raises UsageError naming file, layer and expected shape.
    """
    copy_layers(_read(path), model, input_range=input_range, batch_norm_epsilon=batch_norm_epsilon, where=str(path))


def copy_weights(source: keras.Model, model: keras.Model, *, input_range: tuple[float, float] = (0.0, 1.0)) -> None:
    """As `load_weights` from a Keras model with the same sequence of weighted layers, of tf_keras.applications, say.

    Its Rescaling and Normalization layers are folded into the first convolution.
    """
    layers = [
        SourceLayer(
            layer.name,
            {_short(weight.name): np.asarray(weight, np.float32) for weight in layer.weights},
            layer.get_config(),
            type(layer).__name__,
        )
        for layer in source.layers
    ]
    copy_layers(layers, model, input_range=input_range, where=source.name)


def copy_layers(
    layers: Sequence[SourceLayer],
    model: keras.Model,
    *,
    input_range: tuple[float, float] = (0.0, 1.0),
    batch_norm_epsilon: float = BATCH_NORM_EPSILON,
    where: str = "weights",
) -> None:
    """As `load_weights`, from layers that were read; `where` names their source in errors."""
    low, high = input_range
    if not high > low:
        raise bad_value("input_range", input_range, "two rising numbers")
    scale, offset = _pixels(layers, np.full(CHANNELS, high - low), np.full(CHANNELS, low), where)
    weighted = [layer for layer in layers if layer.arrays and not _is_pixels(layer)]
    targets = [layer for layer in model.layers if layer.weights]
    pairs = _pairs(weighted, targets, where)
    values = [_fitting(source, target, where) for source, target in pairs]
    for (source, target), arrays in zip(pairs, values, strict=True):
        if "moving_variance" in arrays:
            epsilon = float(source.config.get("epsilon", batch_norm_epsilon))
            arrays["moving_variance"] = arrays["moving_variance"] + np.float32(epsilon - target.epsilon)
    _fold_pixels(values, scale, offset, where)
    for (_, target), arrays in zip(pairs, values, strict=True):
        target.set_weights([arrays[_short(weight.name)] for weight in target.weights])


def _pairs(
    weighted: Sequence[SourceLayer], targets: Sequence[keras.layers.Layer], where: str
) -> list[tuple[SourceLayer, keras.layers.Layer]]:
    """Each source layer with its layer of the model: by name if the names are ours, else in order."""
    by_name = {layer.name: layer for layer in weighted}
    if by_name.keys() == {target.name for target in targets}:
        return [(by_name[target.name], target) for target in targets]
    for source, target in zip(weighted, targets, strict=False):
        _fitting(source, target, where)  # names the first layer that differs rather than the numbers of layers
    if len(weighted) != len(targets):
        raise UsageError(f"{where}: holds {len(weighted)} layers with weights; the model has {len(targets)}")
    return list(zip(weighted, targets, strict=True))


def _fitting(source: SourceLayer, target: keras.layers.Layer, where: str) -> dict[str, Array]:
    """The source's arrays in the shapes of the model's layer."""
    expected = {_short(weight.name): tuple(weight.shape) for weight in target.weights}
    found = {name: tuple(array.shape) for name, array in source.arrays.items()}
    fits = expected.keys() == found.keys() and all(_same(found[name], shape) for name, shape in expected.items())
    if not fits:
        raise UsageError(
            f"{where}: layer {source.name!r} holds {_shapes(found)}; "
            f"expected {_shapes(expected)} for the model's layer {target.name!r}"
        )
    if not all(np.isfinite(array).all() for array in source.arrays.values()):
        raise UsageError(f"{where}: layer {source.name!r} holds values that are not finite")
    return {name: source.arrays[name].reshape(shape) for name, shape in expected.items()}


def _same(found: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    """Whether the shapes are equal; a dense layer's is also a 1x1 convolution's."""
    dense, conv = sorted((found, expected), key=len)
    return found == expected or (len(dense) == 2 and conv == (1, 1, *dense))


def _pixels(
    layers: Sequence[SourceLayer], scale: ChannelValues, offset: ChannelValues, where: str
) -> tuple[ChannelValues, ChannelValues]:
    """What the source's first weighted layer gets, scale * x + offset a channel, from x in 0..1."""
    for layer in layers:
        if layer.class_name == "Rescaling":
            factor = np.asarray(layer.config["scale"], np.float64)
            scale, offset = scale * factor, offset * factor + np.asarray(layer.config["offset"], np.float64)
        elif _is_pixels(layer):
            held = layer.arrays or layer.config
            mean, variance = (np.asarray(held[name], np.float64).reshape(-1) for name in ("mean", "variance"))
            if mean.size not in (1, CHANNELS):
                raise UsageError(f"{where}: layer {layer.name!r} normalizes {mean.size} channels; expected {CHANNELS}")
            stddev = np.maximum(np.sqrt(variance), _MIN_STDDEV)
            scale, offset = scale / stddev, (offset - mean) / stddev
        elif layer.arrays:
            break
    return scale, offset


def _fold_pixels(values: list[dict[str, Array]], scale: ChannelValues, offset: ChannelValues, where: str) -> None:
    """Lets the first convolution take x instead of scale * x + offset."""
    if np.all(scale == 1) and not offset.any():
        return
    first = values[0]
    kernel = first.get("kernel", np.zeros(0, np.float32)).astype(np.float64)
    if kernel.ndim != 4 or kernel.shape[2] != CHANNELS:
        raise UsageError(f"{where}: the input range cannot be folded into a first layer that is no convolution of RGB")
    shift = (kernel * offset[:, None]).sum((0, 1, 2))
    first["kernel"] = (kernel * scale[:, None]).astype(np.float32)
    if "bias" in first:
        first["bias"] = (first["bias"] + shift).astype(np.float32)
    elif len(values) > 1 and "moving_mean" in values[1]:
        values[1]["moving_mean"] = (values[1]["moving_mean"] - shift).astype(np.float32)
    elif shift.any():
        raise UsageError(f"{where}: the input range cannot be folded into a first layer without bias or normalization")


def _read(path: Path) -> list[SourceLayer]:
    if path.suffix not in SUFFIXES:
        raise bad_value("weights", str(path), "a file " + ", ".join(SUFFIXES))
    if not path.is_file():
        raise UsageError(f"{path}: is no file; expected trained weights")
    try:
        return _read_npz(path) if path.suffix == ".npz" else list(_read_h5(path))
    except LitesmithError:
        raise
    except (OSError, EOFError, KeyError, TypeError, AttributeError, ValueError, zipfile.BadZipFile) as error:
        raise UsageError(f"{path}: cannot be read as trained weights: {one_line(error)}") from error


def _read_npz(path: Path) -> list[SourceLayer]:
    layers: dict[str, dict[str, Array]] = {}
    with np.load(path, allow_pickle=False) as file:
        for key in file.files:
            layer, slash, weight = key.rpartition("/")
            if not slash:
                raise UsageError(f"{path}: array {key!r} is not legal; expected names such as 'LAYER/kernel'")
            layers.setdefault(layer, {})[_short(weight)] = np.asarray(file[key], np.float32)
    return [SourceLayer(name, arrays) for name, arrays in layers.items()]


def _read_h5(path: Path) -> Iterator[SourceLayer]:
    """All layers of a saved model (with what their configuration says), or of its weights alone."""
    with h5py.File(path, "r") as file:
        configs = {}
        if "model_config" in file.attrs:
            for layer in json.loads(_text(file.attrs["model_config"]))["config"]["layers"]:
                configs[layer["config"]["name"]] = (layer["class_name"], layer["config"])
        group = file.get("model_weights", file)
        if "layer_names" not in group.attrs:
            raise UsageError(f"{path}: has no 'layer_names'; expected a file that Keras 2 saved as HDF5")
        for name in map(_text, group.attrs["layer_names"]):
            names = [_text(weight) for weight in group[name].attrs["weight_names"]]
            arrays = {_short(weight): np.asarray(group[name][weight], np.float32) for weight in names}
            class_name, config = configs.get(name, ("", {}))
            yield SourceLayer(name, arrays, config, class_name)


def _is_pixels(layer: SourceLayer) -> bool:
    """Whether it is Keras' Normalization of the input; its values are weights or, if given, in the configuration."""
    return layer.arrays.keys() == _PIXEL_WEIGHTS or (layer.class_name == "Normalization" and not layer.arrays)


def _short(weight: str) -> str:
    """ "block_1/dw/depthwise_kernel:0" -> "kernel"."""
    return weight.rpartition("/")[2].partition(":")[0].removeprefix("depthwise_")


def _shapes(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return (
        ", ".join(f"{name} {'x'.join(map(str, shape)) or 'scalar'}" for name, shape in shapes.items()) or "no weights"
    )


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)

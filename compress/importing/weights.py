"""A user's model built in this process and given the weights of its file; nothing that came with the file is run."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from core.keras_env import keras, tf

import h5py
import numpy as np

from compress.importing.fields import HARD_SIGMOID, HARD_SWISH, MODEL_CLASSES
from compress.importing.plain import plain_architecture
from compress.importing.source import HDF5, KERAS_ZIP, ModelFile, archived_weights, layers_of
from compress.storage import register_classes
from core.errors import UsageError, one_line

# The layers inside a MultiHeadAttention, in the order of its weights; Keras 2 writes the names with an underscore.
ATTENTION_PARTS = ("query_dense", "key_dense", "value_dense", "output_dense")


def hard_sigmoid(x: tf.Tensor) -> tf.Tensor:
    """Keras 3's: relu6(x + 3) / 6."""
    return tf.nn.relu6(x + 3.0) / 6.0


def hard_swish(x: tf.Tensor) -> tf.Tensor:
    """Keras 3's "hard_silu": x * relu6(x + 3) / 6."""
    return x * hard_sigmoid(x)


def built_model(file: ModelFile) -> keras.Model:
    """The network with its weights. Raises UsageError if the file is damaged or holds what is not supported."""
    architecture = plain_architecture(file)
    try:
        with keras.utils.custom_object_scope({HARD_SIGMOID: hard_sigmoid, HARD_SWISH: hard_swish}):
            model = keras.models.model_from_config(architecture)
        _load_weights(model, file)
    except Exception as error:  # Keras raises whatever the damaged part provokes
        raise UsageError(f"{file.where} cannot be loaded ({one_line(error)})") from error
    for layer in _plain_layers(model):
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()
    return model


def trusted_model(file: ModelFile) -> keras.Model:
    """What Keras itself loads, which may run code of the file. Raises UsageError if it fails."""
    if file.keras_version == 3:
        raise UsageError(f"{file.where} was written by Keras 3; its custom objects cannot be loaded by tf_keras")
    try:
        register_classes(file.architecture)
        return keras.models.load_model(file.path, compile=False, safe_mode=False)
    except Exception as error:  # whatever the user's code raises
        raise UsageError(f"{file.where} cannot be loaded ({one_line(error)})") from error


def _load_weights(model: keras.Model, file: ModelFile) -> None:
    if file.kind == KERAS_ZIP:
        with archived_weights(file.path) as weights:
            _load_groups(model, file.architecture, weights["layers"])
    elif file.kind == HDF5:
        with tempfile.TemporaryDirectory() as directory:  # Keras goes by the suffix
            link = Path(directory) / "weights.h5"
            link.symlink_to(file.path.resolve())
            model.load_weights(link)
    else:
        model.load_weights(file.path / "variables" / "variables").assert_existing_objects_matched()


def _load_groups(model: keras.Model, architecture: dict[str, Any], groups: h5py.Group) -> None:
    """Sets the weights from a ".keras" file: a group for each layer, called by its class and a number.

    Raises KeyError or ValueError naming a layer whose weights are absent or do not fit.
    """
    for name, class_name, group_name, serialized in _group_names(architecture):
        if class_name == "InputLayer":
            continue
        layer = model.get_layer(name)
        if class_name in MODEL_CLASSES:
            if layer.weights:
                _load_groups(layer, serialized, groups[f"{group_name}/layers"])
        elif layer.weights:
            arrays = _arrays(groups[group_name])
            shapes = [array.shape for array in arrays]
            if shapes != [tuple(weight.shape) for weight in layer.weights]:
                raise ValueError(f"layer {name!r} has weights of other shapes: {shapes}")
            layer.set_weights(arrays)


def _group_names(architecture: dict[str, Any]) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    """(layer's name, its class, its group, its JSON) of the layers of a model. Keras numbers the layers of a class."""
    counts: dict[str, int] = {}
    for layer in layers_of(architecture):
        class_name = layer["class_name"]
        snake = _snake_case(class_name)
        number = counts[snake] = counts.get(snake, -1) + 1
        name = str(layer.get("name") or layer["config"]["name"])
        yield name, class_name, snake if number == 0 else f"{snake}_{number}", layer


def _snake_case(class_name: str) -> str:
    """Keras' rule: "BatchNormalization" is batch_normalization, "Conv2D" conv2d, "ReLU" re_lu."""
    name = re.sub(r"\W+", "", class_name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def _arrays(group: h5py.Group) -> list[np.ndarray[Any, Any]]:
    """A layer's weights in their order."""
    own = group.get("vars")
    arrays = [own[str(i)][()] for i in range(len(own))] if own is not None else []
    for part in ATTENTION_PARTS:
        inner = group.get(part) or group.get(f"_{part}")
        arrays += _arrays(inner) if inner is not None else []
    return arrays


def _plain_layers(model: keras.Model) -> Iterator[keras.layers.Layer]:
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _plain_layers(layer)
        else:
            yield layer

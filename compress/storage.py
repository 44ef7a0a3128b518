"""Models on disk and in copy, exactly: architecture as JSON, weights by name in an npz. Nothing is pickled.

Keras' own formats lose the ranges of tfmot's quantization wrappers or need them in the caller's scope; here a loaded
model has bit-equal weights whether it is plain or quantization-aware.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from core.keras_env import keras

import numpy as np
import numpy.typing as npt
import tensorflow_model_optimization as tfmot

import compress.passes.quantize_layers  # noqa: F401  (this registers our layers, those of search.keras_layers too)
from compress.invariants import short_name
from core.errors import LitesmithError
from core.workspace import atomic_write_bytes

ARCHITECTURE_FILE = "model.json"
WEIGHTS_FILE = "weights.npz"


def save_model(model: keras.Model, directory: Path) -> None:
    """Writes a plain or quantization-aware model (stripped of training wrappers) into `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    arrays: dict[str, Any] = named_weights(model)
    np.savez(buffer, **arrays)
    atomic_write_bytes(directory / WEIGHTS_FILE, buffer.getvalue())
    atomic_write_bytes(directory / ARCHITECTURE_FILE, _architecture(model).encode())


def load_model(directory: Path) -> keras.Model:
    """The model that `save_model` wrote, not compiled. Raises LitesmithError naming the directory if it is damaged."""
    try:
        model = _build((directory / ARCHITECTURE_FILE).read_text())
        with np.load(directory / WEIGHTS_FILE, allow_pickle=False) as arrays:
            assign_weights(model, dict(arrays))
    except (OSError, ValueError, KeyError) as error:
        raise LitesmithError(f"{directory}: damaged model ({error}); delete it and run again") from error
    return model


def copy_of(model: keras.Model) -> keras.Model:
    """The same network in new layers: what `load_model` would return after `save_model`."""
    copy = _build(_architecture(model))
    assign_weights(copy, named_weights(model))
    return copy


def named_weights(model: keras.Model) -> dict[str, npt.NDArray[np.generic]]:
    """Every weight as "layer/variable"."""
    return {name: variable.numpy() for name, variable in _named_variables(model).items()}


def assign_weights(model: keras.Model, arrays: dict[str, npt.NDArray[np.generic]]) -> None:
    """Sets every weight of the model by name. Raises KeyError or ValueError if names or shapes differ."""
    variables = _named_variables(model)
    if variables.keys() != arrays.keys():
        raise KeyError(f"weights differ: {sorted(variables.keys() ^ arrays.keys())[:3]}")
    for name, variable in variables.items():
        variable.assign(arrays[name])


def _architecture(model: keras.Model) -> str:
    """The model as JSON, without the shapes Keras builds layers from before it calls them.

    A functional model does not need them, and tfmot's QuantizeLayer would be built twice, with a second set of ranges.
    """

    def stripped(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: stripped(item) for key, item in value.items() if key != "build_config"}
        return [stripped(item) for item in value] if isinstance(value, list) else value

    return json.dumps(stripped(json.loads(model.to_json())))


def _build(architecture: str) -> keras.Model:
    with tfmot.quantization.keras.quantize_scope():
        return keras.models.model_from_json(architecture)


def _named_variables(model: keras.Model) -> dict[str, keras.backend.Variable]:
    """Variables by layer and own name; inside a nested model, whose layers share names, by position as well."""
    named = {}
    for layer in model.layers:
        names = [short_name(variable) for variable in layer.weights]
        for position, (name, variable) in enumerate(zip(names, layer.weights, strict=True)):
            unique = name if names.count(name) == 1 else f"{position}.{name}"
            named[f"{layer.name}/{unique}"] = variable
    return named

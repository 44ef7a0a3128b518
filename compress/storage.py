"""Models on disk and in copy, exactly: architecture as JSON, weights by name in an npz. Nothing is pickled.

Keras' own formats lose the ranges of tfmot's quantization wrappers or need them in the caller's scope; here a loaded
model has bit-equal weights whether it is plain or quantization-aware.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
from collections.abc import Iterator
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
KNOWN_MODULES = ("keras", "tf_keras", "builtins", "search", "compress", "tensorflow_model_optimization")
CODE = ("Lambda", "__lambda__")  # Keras' names of what holds Python code


@contextlib.contextmanager
def stored_code(allowed: bool) -> Iterator[None]:
    """Inside, if `allowed`, this thread loads and copies models with Lambda layers and users' classes: runs their code.

    For a run whose user has allowed the code of the model (config.model.allow_custom): every stage that reads a model
    which came of it needs this. Elsewhere such models are refused.
    """
    if not allowed:
        yield
        return
    with keras.src.saving.serialization_lib.SafeModeScope(safe_mode=False):
        yield


def save_model(model: keras.Model, directory: Path) -> None:
    """Writes a plain or quantization-aware model (stripped of training wrappers) into `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    arrays: dict[str, Any] = named_weights(model)
    np.savez(buffer, **arrays)
    atomic_write_bytes(directory / WEIGHTS_FILE, buffer.getvalue())
    atomic_write_bytes(directory / ARCHITECTURE_FILE, _architecture(model).encode())


def load_model(directory: Path) -> keras.Model:
    """The model that `save_model` wrote, not compiled.

    Raises LitesmithError naming the directory if it is damaged, or holds code where `stored_code` does not allow it.
    """
    try:
        architecture = (directory / ARCHITECTURE_FILE).read_text()
        described = json.loads(architecture)
        if _allows_code():
            register_classes(described)
        elif _holds_code(described):
            raise LitesmithError(f"{directory}: the model has Lambda layers; only --allow_custom lets their code run")
        model = _build(architecture)
        with np.load(directory / WEIGHTS_FILE, allow_pickle=False) as arrays:
            assign_weights(model, dict(arrays))
    except (OSError, ValueError, KeyError, ImportError) as error:
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


def register_classes(value: Any) -> None:
    """Makes the users' classes that a model's JSON names known to Keras, which imports their modules.

    Raises ImportError if a module cannot be imported.
    """
    if isinstance(value, dict):
        module, name = value.get("module"), value.get("class_name")
        if isinstance(module, str) and isinstance(name, str) and module.split(".")[0] not in KNOWN_MODULES:
            found = getattr(importlib.import_module(module), name, None)
            if isinstance(found, type):
                keras.saving.get_custom_objects().setdefault(value.get("registered_name") or name, found)
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        register_classes(item)


def _allows_code() -> bool:
    return keras.src.saving.serialization_lib.in_safe_mode() is False


def _holds_code(value: Any) -> bool:
    if isinstance(value, dict):
        return value.get("class_name") in CODE or any(map(_holds_code, value.values()))
    return isinstance(value, list) and any(map(_holds_code, value))


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

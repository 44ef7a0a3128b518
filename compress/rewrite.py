"""Changes a network by changing its description: the Keras config, in which layers name the layers they read.

What is not changed keeps its name and weights, and a layer that is used several times stays one layer.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from core.keras_env import keras

import tensorflow_model_optimization as tfmot

from compress.storage import assign_weights
from compress.structured.graph import functional

Config = dict[str, Any]
# One use of a layer: its name, and the how manieth use it is.
Use = tuple[str, int]


def config_of(model: keras.Model) -> Config:
    """The config of a functional or sequential model, without the shapes that Keras builds layers from.

    They would be out of date in a changed network, where the calls build the layers.
    """
    config: Config = copy.deepcopy(functional(model).get_config())
    for layer in config["layers"]:
        layer.pop("build_config", None)
    return config


def model_of(config: Config, weights: Mapping[str, Any]) -> keras.Model:
    """The model of a config, with `weights` for all its variables by "layer/variable" (compress.storage)."""
    with tfmot.quantization.keras.quantize_scope():
        model = keras.Model.from_config(config)
    assign_weights(model, dict(weights))
    return model


def layers_by_name(config: Config) -> dict[str, Config]:
    """The descriptions of the layers, in the config's order."""
    return {layer["name"]: layer for layer in config["layers"]}


def described_layer(layer: keras.layers.Layer) -> Config:
    """A new layer as an entry of a config, not yet used."""
    described: Config = keras.saving.serialize_keras_object(layer)
    described.pop("build_config", None)
    return described | {"name": layer.name, "inbound_nodes": []}


def sources(layer: Config) -> list[list[Use]]:
    """What each use of a layer reads, in order (positional inputs only)."""
    return [[(item[0], item[1]) for item in use] for use in layer["inbound_nodes"]]


def redirect(config: Config, targets: Mapping[Use, Use]) -> None:
    """Whatever reads one of `targets`' keys reads its value instead, the network's outputs too."""
    for layer in config["layers"]:
        layer["inbound_nodes"] = _redirected(layer["inbound_nodes"], targets)
    config["output_layers"] = _redirected(config["output_layers"], targets)


def replace_by_chain(config: Config, name: str, chain: Sequence[keras.layers.Layer]) -> None:
    """Puts new layers, one after another, in the place of a layer with one input; each is used as often as it was."""
    position, old = next((i, layer) for i, layer in enumerate(config["layers"]) if layer["name"] == name)
    uses = range(len(old["inbound_nodes"]))
    described = [described_layer(layer) for layer in chain]
    described[0]["inbound_nodes"] = old["inbound_nodes"]
    for before, layer in itertools.pairwise(described):
        layer["inbound_nodes"] = [[[before["name"], use, 0, {}]] for use in uses]
    config["layers"][position : position + 1] = described
    redirect(config, {(name, use): (described[-1]["name"], use) for use in uses})


def _redirected(value: Any, targets: Mapping[Use, Use]) -> Any:
    """References are lists that begin with a layer's name, its use and its output; inputs may hold more of them."""
    if isinstance(value, dict):
        return {key: _redirected(item, targets) for key, item in value.items()}
    if not isinstance(value, (list, tuple)):
        return value
    if len(value) >= 3 and isinstance(value[0], str) and (value[0], value[1]) in targets:
        return [*targets[value[0], value[1]], *(_redirected(item, targets) for item in value[2:])]
    return [_redirected(item, targets) for item in value]

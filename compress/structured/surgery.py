"""Takes channels and blocks out of a network: a new, smaller, ordinary one with the weights that are left."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from core.keras_env import keras

import numpy as np
import numpy.typing as npt

from compress.rewrite import Config, config_of, layers_by_name, model_of, redirect, sources
from compress.storage import named_weights
from compress.structured.channels import Channels, LayerChannels
from compress.structured.labels import Labels
from compress.structured.ours import renamed
from compress.structured.residual import ResidualBlock

Mask = npt.NDArray[np.bool_]


def without(
    model: keras.Model, channels: Channels, classes: Collection[int], blocks: Sequence[ResidualBlock] = ()
) -> tuple[keras.Model, dict[str, str]]:
    """The network without classes of channels and without residual blocks, of which the additions' other input stays;
    and the names of the layers that are left, old to new.

    Its outputs are those of the given network with zeros in the kernels that read those channels, or at the ends of
    those branches. Layers keep their names; only where a block of one of our networks goes, those after it in its stage
    move up, as they do in the grammar.
    """
    kept = np.ones(channels.num_classes, np.bool_)
    kept[list(classes)] = False
    config = config_of(model)
    for block in reversed(blocks):  # the source of a later one may be the sum of one before
        redirect(config, {block.after: block.source} if block.after else {})
        redirect(config, {block.add: block.source})
    _drop_unread(config)
    for layer in config["layers"]:
        _narrow(layer["class_name"], layer["config"], channels.layers[layer["name"]], kept)
    names = renamed(layers_by_name(config), channels.layers)
    weights = {
        f"{names[layer]}/{variable}": _kept(values, channels.layers[layer], variable, kept)
        for (layer, variable), values in _by_layer(model).items()
        if layer in names
    }
    return model_of(_with_names(config, names), weights), names


def _by_layer(model: keras.Model) -> dict[tuple[str, str], npt.NDArray[Any]]:
    """Weights by layer and variable; a layer's name may hold slashes, a variable's not."""
    return {(name.rsplit("/", 1)[0], name.rsplit("/", 1)[1]): value for name, value in named_weights(model).items()}


def _kept(values: npt.NDArray[Any], layer: LayerChannels, name: str, kept: Mask) -> npt.NDArray[Any]:
    found = [variable for variable in layer.variables if variable.name == name]
    if not found:  # of a layer without channels of its own (a nested model, say)
        return values
    for axis, classes in enumerate(found[0].axes):
        if classes is not None:
            values = np.compress(kept[classes], values, axis=axis)
    return values


def _narrow(kind: str, config: Config, layer: LayerChannels, kept: Mask) -> None:
    """Brings the numbers of channels in a layer's config up to date."""

    def count(classes: Labels) -> int:
        return int(np.count_nonzero(kept[classes]))

    if "filters" in config:
        config["filters"] = count(layer.output)
    elif kind == "Dense":
        config["units"] = count(layer.output)
    elif kind == "ChannelSlice":
        config["begin"], config["size"] = count(layer.inputs[0][: config["begin"]]), count(layer.output)
    elif kind == "Reshape" and config["target_shape"][-1] == len(layer.output):
        config["target_shape"] = (*config["target_shape"][:-1], count(layer.output))


def _drop_unread(config: Config) -> None:
    """Takes out the layers that the outputs do not need."""
    layers = layers_by_name(config)
    needed: set[str] = {name for name, _, _ in config["input_layers"]}
    waiting = [name for name, _, _ in config["output_layers"]]
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            waiting += [source for use in sources(layers[name]) for source, _ in use]
    config["layers"] = [layer for layer in config["layers"] if layer["name"] in needed]


def _with_names(config: Config, names: dict[str, str]) -> Config:
    def renamed_uses(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: renamed_uses(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            if len(value) >= 3 and isinstance(value[0], str) and value[0] in names:
                return [names[value[0]], *map(renamed_uses, value[1:])]
            return [renamed_uses(item) for item in value]
        return value

    for layer in config["layers"]:
        layer["inbound_nodes"] = renamed_uses(layer["inbound_nodes"])
        layer["name"] = layer["config"]["name"] = names[layer["name"]]
    for key in ("input_layers", "output_layers"):
        config[key] = renamed_uses(config[key])
    return config

"""Names: of a layer inside tfmot's wrappers, of the layer that a .tflite tensor is named after. No TensorFlow here."""

from __future__ import annotations

import re

_WRAPPER_PREFIX = re.compile(r"^(quant|prune_low_magnitude|cluster)_")


def bare_name(name: str) -> str:
    """A layer's name without the prefixes that tfmot's wrappers put before it."""
    while (match := _WRAPPER_PREFIX.match(name)) is not None:
        name = name[match.end() :]
    return name


def layer_of(tensor_name: str) -> str:
    """The Keras layer in a tensor's name: "head_relu6" of "network/head_relu6/Relu6;network/head_bn/...".

    The converter writes the paths of the operations that it folded, the last first: model, layers, operation.
    """
    path = tensor_name.split(";")[0].split("/")
    return bare_name(path[0] if len(path) == 1 else path[max(1, len(path) - 2)])


def layers_in(tensor_name: str) -> list[str]:
    """All layers that a tensor's name may mention: each part of each path."""
    return [bare_name(part) for path in tensor_name.split(";") for part in path.split("/")]


def text(name: bytes | str | None) -> str:
    """A name as flatbuffers gives it, as text."""
    return name.decode() if isinstance(name, bytes) else name or ""

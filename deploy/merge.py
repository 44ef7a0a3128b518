"""Stores every constant of a .tflite once. No TensorFlow here.

A layer that is used several times, an embedding tied to an output layer, or simply two equal shapes and biases, are
several tensors of equal bytes. In the schema (tensorflow/compiler/mlir/lite/schema/schema.fbs) any number of tensors
may point at one buffer; shape, type and quantization belong to the tensor and stay its own.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from deploy.packing import packed, unpacked

NO_BUFFER = 0  # by convention buffer 0 is empty; tensors without constant values point at it


def merge_buffers(content: bytes) -> bytes:
    """The same model with each distinct constant stored once, and without buffers that nothing uses.

    Tensors keep their order, names, types and quantization, so outputs are bit-equal. Merging again changes nothing.
    """
    model = unpacked(content)
    merge(model)
    return packed(model)


def merge(model: Any) -> None:
    """The same in place, for callers that change a flatbuffer object (`ModelT`) in other ways too.

    Buffers of the metadata are not merged with others: tools such as tflite-support overwrite them.
    """
    kept = [model.buffers[NO_BUFFER]]
    numbers: dict[bytes, int] = {}
    for tensor in (tensor for graph in model.subgraphs for tensor in graph.tensors):
        buffer = model.buffers[tensor.buffer]
        if buffer.data is None:
            tensor.buffer = NO_BUFFER
            continue
        digest = hashlib.sha256(_bytes(buffer)).digest()
        if digest not in numbers:
            numbers[digest] = len(kept)
            kept.append(buffer)
        tensor.buffer = numbers[digest]
    moved = {NO_BUFFER: NO_BUFFER}
    for metadata in model.metadata or ():
        metadata.buffer = _moved(metadata.buffer, model, kept, moved)
    if model.metadataBuffer is not None:
        model.metadataBuffer = [_moved(int(number), model, kept, moved) for number in model.metadataBuffer]
    model.buffers = kept


def _bytes(buffer: Any) -> bytes:
    return np.asarray(buffer.data, np.uint8).tobytes()


def _moved(number: int, model: Any, kept: list[Any], moved: dict[int, int]) -> int:
    """The new number of a metadata's buffer; the buffer is appended to `kept` at its first use."""
    if number not in moved:
        moved[number] = len(kept)
        kept.append(model.buffers[number])
    return moved[number]

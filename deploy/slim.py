"""Takes out of a .tflite what no runtime reads. No TensorFlow here.

In a network of 64,000 weights the converter's int8 file is one third bookkeeping: names that list every TensorFlow
operation that was folded, a zero point for each channel of each kernel and bias, empty buffers. What stays is
everything that computes, the signature, the inputs' and outputs' names and the metadata; outputs are bit-equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deploy.merge import merge
from deploy.names import layer_of, text

# What the converter writes of itself; other metadata (of the runtime, of the Task Library) has readers.
UNREAD_METADATA = ("CONVERSION_METADATA",)


def slim(model: Any, kernels: Mapping[int, str]) -> None:
    """Makes a flatbuffer object (`ModelT`) smaller, in place; only `deploy.packing.packed` writes it as small as meant.

    Names: a kernel gets its layer's; what an operator makes gets that of the last layer folded into it, so that a
    profile of the operators can be read; other constants get a number. All stay different, because the tools that edit
    .tflite files tell tensors by name.

    Args:
      model: as the converter made it, with or without a signature.
      kernels: the layer of each kernel, by the number of its tensor in the main graph (`WeightTensor.index`).
    """
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            _drop_ranges(tensor)
    main = model.subgraphs[0]
    for index, name in _short_names(model, kernels).items():
        main.tensors[index].name = name
    model.description = None
    model.metadata = [entry for entry in model.metadata or () if text(entry.name) not in UNREAD_METADATA]
    merge(model)


def _drop_ranges(tensor: Any) -> None:
    """Removes the ranges that calibration saw: scale and zero point say what was made of them."""
    quantization = tensor.quantization
    if quantization is None:
        return
    quantization.min = quantization.max = None
    if quantization.details is None and (quantization.scale is None or not len(quantization.scale)):
        tensor.quantization = None


def _short_names(model: Any, kernels: Mapping[int, str]) -> dict[int, str]:
    """New names by tensor. Inputs, outputs and kernels take theirs first; whoever comes later makes way."""
    graph = model.subgraphs[0]
    names = {int(index): text(graph.tensors[index].name) for index in (*graph.inputs, *graph.outputs)}
    taken = set(names.values())
    for index, layer in kernels.items():
        if index not in names:
            names[index] = _free(layer, taken)
    constants = _constants(model)
    for index, tensor in enumerate(graph.tensors):
        if index not in names:
            names[index] = _free(f"c{index}" if index in constants else layer_of(text(tensor.name)), taken)
    return names


def _constants(model: Any) -> set[int]:
    """Tensors with values in the file, and those that an operator makes of such alone (a float16 kernel, widened)."""
    graph = model.subgraphs[0]
    found = {index for index, tensor in enumerate(graph.tensors) if model.buffers[tensor.buffer].data is not None}
    for operator in graph.operators:
        if found.issuperset(int(index) for index in operator.inputs):
            found.update(int(index) for index in operator.outputs)
    return found


def _free(name: str, taken: set[str]) -> str:
    """The name, with a number if it is taken; it is taken then."""
    found, number = name, 1
    while found in taken:
        found, number = f"{name}.{number}", number + 1
    taken.add(found)
    return found

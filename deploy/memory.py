"""How much memory the activations of a .tflite take while it runs, operator by operator. No TensorFlow here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.tools import flatbuffer_utils

from deploy.interpreter import load_bytes


@dataclass(frozen=True, slots=True)
class Step:
    """One operator at work.

    Attributes:
      operator: its name, such as "CONV_2D".
      output_bytes: the size of what it makes.
      alive_bytes: of all activations that exist while it runs.
    """

    operator: str
    output_bytes: int
    alive_bytes: int


def activation_steps(source: Path | str | bytes) -> tuple[Step, ...]:
    """The operators of the main graph in the order of execution.

    An activation exists from the operator that makes it to the last one that reads it, both included; the model's
    inputs from the beginning, its outputs to the end. Every output counts by itself, also where a runtime may reuse
    the memory of an input (RESHAPE, for one). Constants and what an operator needs for itself are not counted.
    Raises UsageError if there is no such file.
    """
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(load_bytes(source)[0]))
    graph = model.subgraphs[0]
    constant = [model.buffers[tensor.buffer].data is not None for tensor in graph.tensors]
    last = len(graph.operators) - 1
    born = {int(index): 0 for index in graph.inputs}
    dies = {int(index): last for index in graph.outputs}
    for now, operator in enumerate(graph.operators):
        born |= {int(index): now for index in operator.outputs}
    for now, operator in reversed(list(enumerate(graph.operators))):
        for index in (*operator.inputs, *operator.outputs):
            if index >= 0 and not constant[index]:
                dies.setdefault(int(index), now)
    return tuple(
        Step(
            operator=str(flatbuffer_utils.opcode_to_name(model, operator.opcodeIndex)),
            output_bytes=sum(_size_bytes(graph.tensors[index]) for index in operator.outputs),
            alive_bytes=sum(_size_bytes(graph.tensors[i]) for i, birth in born.items() if birth <= now <= dies[i]),
        )
        for now, operator in enumerate(graph.operators)
    )


def peak_activation_bytes(source: Path | str | bytes) -> int:
    """The most bytes of activations that exist at once; see `activation_steps`."""
    return max(step.alive_bytes for step in activation_steps(source))


def _size_bytes(tensor: Any) -> int:
    dtype = np.dtype(str(flatbuffer_utils.type_to_name(tensor.type)).lower())
    return int(np.prod(tensor.shape, dtype=np.int64)) * dtype.itemsize

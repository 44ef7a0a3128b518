"""Finds what LiteRT cannot run: an operator whose output was 0 for every calibration image.

Such an output has next to no range, and the factor from the operator's inputs to it is too large for fixed-point
arithmetic. LiteRT refuses the model at best; some versions end the process.
"""

from __future__ import annotations

from typing import Any

from ai_edge_litert.tools import flatbuffer_utils

from deploy.errors import DeadLayerError

# TensorFlow widens a range of nothing to 2e-6, in 255 steps; no activation that matters has steps near that.
DEAD_SCALE = 2e-6 / 255 * 1.01
# XNNPACK's limit for the factor between an operator's input and output scales.
MAX_FACTOR = 256.0


def dead_output(content: bytes) -> str | None:
    """The name of the first tensor of a .tflite that is dead and computed from one that is not; None if none is."""
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    tensors = model.subgraphs[0].tensors
    for operator in model.subgraphs[0].operators:
        output = tensors[operator.outputs[0]]
        scales = [_scale(tensors[index]) for index in operator.inputs if index >= 0]
        if 0 < _scale(output) <= DEAD_SCALE and max(scales, default=0.0) > MAX_FACTOR * DEAD_SCALE:
            return output.name.decode().split(";")[0]
    return None


def refuse_dead(content: bytes) -> None:
    """Raises DeadLayerError naming the layer if there is a dead output: loading such a model may end the process."""
    if (name := dead_output(content)) is not None:
        raise DeadLayerError(f"the output of {name} is 0 for every calibration image, which LiteRT cannot run in int8")


def _scale(tensor: Any) -> float:
    """The scale of a quantized tensor, the largest if there are several; 0 for others."""
    quantization = tensor.quantization
    return 0.0 if quantization is None or quantization.scale is None else float(max(quantization.scale, default=0.0))

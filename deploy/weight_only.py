"""Quantizes the weights of a float32 .tflite alone, by AI Edge Quantizer. No TensorFlow here.

The runtime widens the weights to float32 once, when it loads the model, and computes in float32: the file is a quarter
or an eighth, activations lose nothing, no calibration is needed. One symmetric scale for each output channel, so zeros
stay zeros. https://github.com/google-ai-edge/ai-edge-quantizer
"""

from __future__ import annotations

import contextlib
import io

from absl import logging
from ai_edge_quantizer import qtyping, quantizer

# LiteRT has no int4 kernel for depthwise convolutions, and theirs are small: they get int8.
_ONLY_INT8 = (qtyping.TFLOperationName.DEPTHWISE_CONV_2D,)


def quantized_weights(content: bytes, bits: int) -> bytes:
    """A float32 model with the weights of its convolutions and dense layers stored in `bits` (8 or 4) bits.

    `content` must tell its tensors by name. Raises ValueError for bits that AI Edge Quantizer does not have.
    """
    tool = quantizer.Quantizer(bytearray(content))
    tool.add_weight_only_config(".*", qtyping.TFLOperationName.ALL_SUPPORTED, num_bits=bits)
    for operation in _ONLY_INT8:
        tool.add_weight_only_config(".*", operation, num_bits=8)
    # It prints sizes and progress, and logs its steps.
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            result = tool.quantize()
    finally:
        logging.set_verbosity(verbosity)
    return bytes(result.quantized_model)

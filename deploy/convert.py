"""Keras model -> .tflite, in a tenth of the time of `from_keras_model(...).convert()` and with the same numbers.

The stock converter writes a SavedModel, which traces every layer of the model again, and loads it back. The fast path
traces the model once, writes the variables' values into that graph itself and hands it to the converter; what the
SavedModel would have carried along (the signature and the tensor names) is written into the flatbuffer afterwards. The
stock path remains for graphs that the fast one does not take, such as those with control flow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from core.keras_env import keras, tf

import numpy as np
import numpy.typing as npt

from core.errors import bad_value, one_line, one_of
from core.quiet import quiet_stderr
from deploy.dead import dead_output
from deploy.errors import ConversionError, DeadLayerError
from deploy.flatbuffer import with_signature
from deploy.interpreter import open_interpreter
from deploy.schemes import FLOAT16, FLOAT32, FULL_INTEGER, SCHEMES
from deploy.tracing import INPUT_NAME, OUTPUT_NAME, frozen_graph, is_quantization_aware, scoring_function

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Converted:
    """The content of a .tflite file; `path` ("fast" or "slow") says which conversion made it."""

    content: bytes
    path: str


def convert(model: keras.Model, scheme: str, calibration: Float32 | None = None) -> Converted:
    """Converts a model of images in 0..1 to a .tflite of batch 1 whose outputs are probabilities.

    Args:
      model: one image [R, R, 3] -> logits or softmax [classes]. A model of tfmot's quantization-aware training becomes
        `full_integer` with the ranges it learned; the range of its input is set to exactly 0..1.
      scheme: one of `deploy.schemes.SCHEMES`.
      calibration: float32 [n, R, R, 3] from `representative_images`, needed for post-training `full_integer` only.

    Raises UsageError for an unknown scheme and ConversionError (one line) if the model cannot be converted.
    """
    if scheme not in SCHEMES:
        raise bad_value("scheme", scheme, one_of(SCHEMES))
    _pin_input_range(model)
    function = scoring_function(model)
    trained_ranges = is_quantization_aware(function)
    if trained_ranges and scheme != FULL_INTEGER:
        raise ConversionError(f"{model.name}: a quantization-aware model converts to {FULL_INTEGER}, not to {scheme}")
    settings = _settings(scheme, None if trained_ranges else _checked(model, scheme, calibration))
    try:
        if (content := _fast_or_none(function, settings, trained_ranges)) is not None:
            return Converted(content, "fast")
        return Converted(_slow(model, function, settings), "slow")
    except DeadLayerError as error:
        raise DeadLayerError(f"{model.name}: cannot be converted to {scheme}: {error}") from error
    except (OSError, MemoryError):  # the machine's fault, not the model's
        raise
    except Exception as error:
        raise ConversionError(f"{model.name}: cannot be converted to {scheme}: {one_line(error)}") from error


def _checked(model: keras.Model, scheme: str, calibration: Float32 | None) -> Float32 | None:
    if scheme != FULL_INTEGER:
        return None
    if calibration is None or not len(calibration):
        raise ConversionError(f"{model.name}: {FULL_INTEGER} needs calibration images")
    if calibration.shape[1:] != model.input_shape[1:]:
        raise ConversionError(f"{model.name}: calibration images {calibration.shape} for input {model.input_shape}")
    if calibration.min() != 0 or calibration.max() != 1:
        found = f"{calibration.min():g}..{calibration.max():g}"
        raise ConversionError(f"{model.name}: calibration images span {found}; both extremes 0 and 1 must occur")
    return calibration


def _pin_input_range(model: keras.Model) -> None:
    """Sets what tfmot observed of the input (0..0.9999967, say) to 0..1, so that its scale is exactly 1/255."""
    for layer in model.layers:
        ranges = getattr(layer, "quantizer_vars", None)  # only tfmot's QuantizeLayer, at the input, has these
        if ranges and {"min_var", "max_var"} <= ranges.keys():
            ranges["min_var"].assign(0.0)
            ranges["max_var"].assign(1.0)


def _settings(scheme: str, calibration: Float32 | None) -> Callable[[Any], None]:
    """A function that sets a converter's public attributes for a scheme."""

    def apply(converter: Any) -> None:
        # The metadata holds a time and a hash: without it, equal models are equal files.
        converter.exclude_conversion_metadata = True
        if scheme != FLOAT32:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if scheme == FLOAT16:
            converter.target_spec.supported_types = [tf.float16]
        if scheme == FULL_INTEGER:
            converter.inference_input_type = converter.inference_output_type = tf.uint8
        if calibration is not None:
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.representative_dataset = lambda: _one_by_one(calibration)

    return apply


def _one_by_one(images: Float32) -> Iterator[list[Float32]]:
    for image in images:
        yield [image[np.newaxis]]


def _fast_or_none(function: Any, apply_settings: Callable[[Any], None], trained_ranges: bool) -> bytes | None:
    try:
        return _fast(function, apply_settings, trained_ranges)
    except DeadLayerError:
        raise
    except Exception:  # whatever else it trips over, the stock path decides whether the model converts
        return None


def _fast(function: Any, apply_settings: Callable[[Any], None], trained_ranges: bool) -> bytes:
    inputs = [tensor for tensor in function.inputs if tensor.dtype != tf.resource]
    converter = tf.compat.v1.lite.TFLiteConverter(frozen_graph(function), inputs, function.outputs)
    apply_settings(converter)
    if trained_ranges:
        converter.inference_type = tf.int8
        # (mean, std) of the int8 input: real = (value + 128) / 255, the raw pixel.
        converter.quantized_input_stats = {inputs[0].op.name: (-128.0, 255.0)}
    with quiet_stderr():
        content = bytes(converter.convert())
    return _finished(content)


def _slow(model: keras.Model, function: Any, apply_settings: Callable[[Any], None]) -> bytes:
    holder = tf.Module()
    holder.model = model
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], holder)
    apply_settings(converter)
    with quiet_stderr():
        content = bytes(converter.convert())
    return _finished(content)


def _finished(content: bytes) -> bytes:
    """The model with our tensor names and signature, once LiteRT has loaded it. Raises DeadLayerError."""
    if (name := dead_output(content)) is not None:
        raise DeadLayerError(f"the output of {name} is 0 for every calibration image, which LiteRT cannot run in int8")
    signed = with_signature(content, INPUT_NAME, OUTPUT_NAME)
    open_interpreter(signed)
    return signed

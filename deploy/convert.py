"""Keras model -> .tflite, in a tenth of the time of `from_keras_model(...).convert()` and with the same numbers.

The stock converter writes a SavedModel, which traces every layer of the model again, and loads it back. The fast path
traces the model once, writes the variables' values into that graph itself and hands it to the converter; what the
SavedModel would have carried along (the signature and the tensor names) is written into the flatbuffer afterwards. The
stock path remains for graphs that the fast one does not take, such as those with control flow.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from core.keras_env import keras, tf

import numpy as np
import numpy.typing as npt

from core.errors import bad_value, one_line, one_of
from core.quiet import quiet_stderr
from deploy.dead import refuse_dead
from deploy.errors import ConversionError, DeadLayerError
from deploy.flatbuffer import sign, weights_of
from deploy.interpreter import open_interpreter
from deploy.layers import weights_by_layer
from deploy.packing import packed, unpacked
from deploy.scales import is_pruned_or_clustered, shorten_scales
from deploy.schemes import CONVERTIBLE, DYNAMIC_RANGE, FLOAT16, FLOAT32, FULL_INTEGER, INT4_WEIGHTS, INT8_WEIGHTS
from deploy.slim import slim
from deploy.tracing import INPUT_NAME, OUTPUT_NAME, frozen_graph, is_quantization_aware, scoring_function
from deploy.weight_only import quantized_weights

Float32 = npt.NDArray[np.float32]
Adjust = Callable[[Any], None]
# Schemes that are a float32 conversion whose weights are quantized afterwards, with their bits.
WEIGHT_BITS = {INT8_WEIGHTS: 8, INT4_WEIGHTS: 4}


@dataclass(frozen=True, slots=True)
class Converted:
    """The content of a .tflite file; `path` ("fast" or "slow") says which conversion made it."""

    content: bytes
    path: str


def convert(
    model: keras.Model,
    scheme: str,
    calibration: Float32 | None = None,
    adjust: Adjust | None = None,
) -> Converted:
    """Converts a model of images in 0..1 to a .tflite of batch 1 whose outputs are probabilities.

    The kernels' scales of a pruned or clustered `full_integer` network are rounded, so that it zips better
    (deploy.scales).

    Args:
      model: one image [R, R, 3] -> logits or softmax [classes]. A model of tfmot's quantization-aware training becomes
        `full_integer` with the ranges it learned; the range of its input is set to exactly 0..1.
      scheme: one of `deploy.schemes.CONVERTIBLE`.
      calibration: float32 [n, R, R, 3] from `representative_images`, needed for post-training `full_integer` only.
      adjust: sets further attributes of TensorFlow's converter.

    Raises UsageError for an unknown scheme and ConversionError (one line) if the model cannot be converted.
    """
    if scheme not in CONVERTIBLE:
        raise bad_value("scheme", scheme, one_of(CONVERTIBLE))
    _pin_input_range(model)
    function = scoring_function(model)
    trained_ranges = is_quantization_aware(function)
    if trained_ranges and scheme != FULL_INTEGER:
        raise ConversionError(f"{model.name}: a quantization-aware model converts to {FULL_INTEGER}, not to {scheme}")
    images = None if trained_ranges or scheme != FULL_INTEGER else checked_calibration(model, calibration)
    settings = converter_settings(scheme, images, adjust)
    with conversion_errors(model, scheme):
        raw, path = unfinished(model, function, settings, trained_ranges)
        if scheme in WEIGHT_BITS:
            raw = quantized_weights(raw, WEIGHT_BITS[scheme])
        short_scales = scheme == FULL_INTEGER and is_pruned_or_clustered(model)
        return Converted(finished(raw, model, short_scales=short_scales), path)


@contextlib.contextmanager
def conversion_errors(model: keras.Model, scheme: str) -> Iterator[None]:
    """Turns what a conversion raises into a ConversionError that names the model and the scheme."""
    try:
        yield
    except DeadLayerError as error:
        raise DeadLayerError(f"{model.name}: cannot be converted to {scheme}: {error}") from error
    except (OSError, MemoryError):  # the machine's fault, not the model's
        raise
    except Exception as error:
        raise ConversionError(f"{model.name}: cannot be converted to {scheme}: {one_line(error)}") from error


def unfinished(model: keras.Model, function: Any, settings: Adjust, trained_ranges: bool = False) -> tuple[bytes, str]:
    """What TensorFlow's converter makes of a scoring function, and by which path."""
    if (content := _fast_or_none(function, settings, trained_ranges)) is not None:
        return content, "fast"
    return _slow(model, function, settings), "slow"


def finished(content: bytes, model: keras.Model, *, short_scales: bool = False) -> bytes:
    """The file that is shipped: with our tensor names and signature, without what no runtime reads; LiteRT loads it.

    Raises DeadLayerError for a layer that LiteRT cannot run.
    """
    file = unpacked(content)
    sign(file, INPUT_NAME, OUTPUT_NAME)
    if short_scales:
        shorten_scales(file)
    slim(file, {weight.index: name for name, weight in weights_by_layer(weights_of(file), model).items()})
    result = packed(file)
    _check_runs(result)
    return result


def checked_calibration(model: keras.Model, calibration: Float32 | None) -> Float32:
    """The calibration images. Raises ConversionError if they do not fit the model or lack an extreme."""
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


def converter_settings(scheme: str, calibration: Float32 | None, adjust: Adjust | None = None) -> Adjust:
    """A function that sets a converter's attributes for a scheme, and then what `adjust` sets."""

    def apply(converter: Any) -> None:
        # The metadata holds a time and a hash: without it, equal models are equal files.
        converter.exclude_conversion_metadata = True
        if scheme != FLOAT32 and scheme not in WEIGHT_BITS:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if scheme == DYNAMIC_RANGE:
            # One scale for a dense layer: its operator with several is of 2024, and older runtimes (that of the Task
            # Library, for one) refuse the file.
            converter._experimental_disable_per_channel_quantization_for_dense_layers = True
        if scheme == FLOAT16:
            converter.target_spec.supported_types = [tf.float16]
        if scheme == FULL_INTEGER:
            converter.inference_input_type = converter.inference_output_type = tf.uint8
        if calibration is not None:
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.representative_dataset = lambda: _one_by_one(calibration)
        if adjust is not None:
            adjust(converter)

    return apply


def _one_by_one(images: Float32) -> Iterator[list[Float32]]:
    for image in images:
        yield [image[np.newaxis]]


def _fast_or_none(function: Any, apply_settings: Adjust, trained_ranges: bool) -> bytes | None:
    try:
        content = _fast(function, apply_settings, trained_ranges)
        _check_runs(content)
    except DeadLayerError:
        raise
    except Exception:  # whatever else it trips over, the stock path decides whether the model converts
        return None
    return content


def _fast(function: Any, apply_settings: Adjust, trained_ranges: bool) -> bytes:
    inputs = [tensor for tensor in function.inputs if tensor.dtype != tf.resource]
    converter = tf.compat.v1.lite.TFLiteConverter(frozen_graph(function), inputs, function.outputs)
    apply_settings(converter)
    if trained_ranges:
        converter.inference_type = tf.int8
        # (mean, std) of the int8 input: real = (value + 128) / 255, the raw pixel.
        converter.quantized_input_stats = {inputs[0].op.name: (-128.0, 255.0)}
    with quiet_stderr():
        return bytes(converter.convert())


def _slow(model: keras.Model, function: Any, apply_settings: Adjust) -> bytes:
    holder = tf.Module()
    holder.model = model
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], holder)
    apply_settings(converter)
    with quiet_stderr():
        return bytes(converter.convert())


def _check_runs(content: bytes) -> None:
    """Loads the model, unless that might end the process."""
    refuse_dead(content)
    open_interpreter(content)

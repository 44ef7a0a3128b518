"""Int8 where it does no harm, float32 where it does: post-training quantization held to an accuracy.

How much an operator suffers is measured with that operator alone in int8 (Wu et al. 2020, "Integer Quantization for
Deep Learning Inference", section 6, "partial quantization"). Both operators at an activation with too wide a range
show it, so both are made float32 and the activation between them is never rounded. The most sensitive ones are made
float32 until the accuracy is reached; then those that turn out not to be needed become int8 again.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from core.keras_env import keras, tf

import numpy as np

# What tf.lite.experimental.QuantizationDebugger's selective quantization is made of, which has no public name: the
# debugger itself cannot give a model uint8 inputs.
from tensorflow.lite.python.convert import mlir_quantize

from core.checks import in_range
from core.quiet import quiet_stderr
from deploy.convert import Converted, Float32, checked_calibration, conversion_errors, converter_settings, unfinished
from deploy.convert import finished as finished_file
from deploy.dead import refuse_dead
from deploy.errors import ConversionError
from deploy.flatbuffer import operator_name, weights_of
from deploy.interpreter import predict
from deploy.layers import weights_by_layer
from deploy.names import layer_of, text
from deploy.packing import unpacked
from deploy.schemes import FULL_INTEGER, MIXED
from deploy.tracing import OUTPUT_NAME, is_quantization_aware, scoring_function
from deploy.validate import keras_scores
from search.dataset import ImageSet, UInt8

SENSITIVITY_IMAGES = 64
# Half a step of a uint8 score: below it, scores say nothing.
SMALLEST_SCORE = 1 / 512
_WITH_KERNEL = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")


@dataclass(frozen=True, slots=True)
class OperatorPrecision:
    """One operator of the .tflite, and in what it computes.

    Attributes:
      layer: the Keras layer of its kernel; of an operator without one, the last layer that was folded into it.
      sensitivity: the mean Kullback-Leibler divergence (nats) of the scores from the float network's, when nothing but
        this operator is int8.
    """

    layer: str
    operator: str
    macs: int
    sensitivity: float
    is_float: bool


@dataclass(frozen=True, slots=True)
class PrecisionStep:
    """One change that was kept: `layer` computes in `precision` ("float32" or "int8") from here on.

    `float_macs` (fraction of all) and `val_accuracy` are those of the network after it.
    """

    layer: str
    precision: str
    float_macs: float
    val_accuracy: float


@dataclass(frozen=True, slots=True)
class MixedReport:
    """How a network came to its precisions. Accuracies are top-1 on the validation images, fractions of 1."""

    float_accuracy: float
    int8_accuracy: float
    val_accuracy: float
    max_loss: float
    float_macs: float
    operators: tuple[OperatorPrecision, ...]
    steps: tuple[PrecisionStep, ...]


def convert_mixed(
    model: keras.Model, calibration: Float32 | None, val: ImageSet, max_loss: float, max_float_macs: float = 1.0
) -> tuple[Converted, MixedReport]:
    """A .tflite with uint8 input and output that loses at most `max_loss` of the float network's accuracy.

    Where int8 alone suffices, it is the file of `full_integer`. Sensitivities are measured on the calibration images;
    the validation images decide alone, once for each operator at most: some hundred to a few thousand of them do.

    Args:
      model: as for `deploy.convert.convert`, not quantization-aware.
      calibration: float32 [n, R, R, 3] from `representative_images`.
      max_loss: as a fraction of all validation images, 0..1.
      max_float_macs: how much of the network's multiply-accumulates may be done in float32, 0..1.

    Raises UsageError for a number out of range, ConversionError (one line) if the model cannot be converted or the
    accuracy cannot be reached with so many.
    """
    in_range("max_loss", max_loss, 0.0, 1.0)
    in_range("max_float_macs", max_float_macs, 0.0, 1.0)
    function = scoring_function(model)
    if is_quantization_aware(function):
        raise ConversionError(f"{model.name}: a quantization-aware model converts to {FULL_INTEGER}, not to {MIXED}")
    images = checked_calibration(model, calibration)
    with conversion_errors(model, MIXED):
        calibrated, path = unfinished(model, function, converter_settings(FULL_INTEGER, images, _calibrate_only))
        network = _Network(calibrated, model)
        scores = keras_scores(model, val.rgb())
        search = _Search(network, val, float(np.mean(scores.argmax(1) == val.labels)), max_loss, max_float_macs)
        report = search.run(_sensitivities(network, np.rint(images[:SENSITIVITY_IMAGES] * 255).astype(np.uint8)))
        return Converted(finished_file(network.quantized(search.floats), model), path), report


def _calibrate_only(converter: Any) -> None:
    """Has the converter stop before it quantizes: the float model with the ranges of its tensors."""
    converter._experimental_calibrate_only = True
    converter.inference_input_type = converter.inference_output_type = tf.float32


@dataclass(frozen=True, slots=True)
class _Node:
    """An operator of the calibrated model; `name` is that of its output, by which the quantizer knows it."""

    name: str
    layer: str
    operator: str
    macs: int


class _Network:
    """A calibrated float model and the models of mixed precision that it becomes."""

    def __init__(self, calibrated: bytes, model: keras.Model) -> None:
        self._calibrated = calibrated
        file = unpacked(calibrated)
        graph = file.subgraphs[0]
        layers = {weight.output_name: name for name, weight in weights_by_layer(weights_of(file), model).items()}
        layers[text(graph.tensors[graph.outputs[0]].name)] = OUTPUT_NAME
        names = [text(graph.tensors[operator.outputs[0]].name) for operator in graph.operators]
        self.nodes = tuple(
            _Node(name, layers.get(name, layer_of(name)), operator_name(file, operator), _macs(graph, operator, file))
            for name, operator in zip(names, graph.operators, strict=True)
        )
        self.layers = {node.name: node.layer for node in self.nodes}

    def quantized(self, floats: Collection[str], *, float_scores: bool = False) -> bytes:
        """The model in which the named nodes compute in float32; with `float_scores` its inputs and outputs are too."""
        dtype = tf.float32 if float_scores else tf.uint8
        types = {"input_data_type": dtype, "output_data_type": dtype}
        with quiet_stderr():
            content = bytes(mlir_quantize(self._calibrated, denylisted_nodes=sorted(floats) or None, **types))
        refuse_dead(content)
        return content


def _macs(graph: Any, operator: Any, model: Any) -> int:
    if operator_name(model, operator) not in _WITH_KERNEL:
        return 0
    places = graph.tensors[operator.outputs[0]].shape[1:-1]
    return math.prod(map(int, graph.tensors[operator.inputs[1]].shape)) * math.prod(map(int, places))


def _sensitivities(network: _Network, images: UInt8) -> dict[str, float]:
    """What int8 in one node alone does to the scores, by the node's name."""
    everything = {node.name for node in network.nodes}
    expected = predict(network.quantized(everything, float_scores=True), images)
    return {
        name: _divergence(expected, predict(network.quantized(everything - {name}, float_scores=True), images))
        for name in sorted(everything)
    }


def _divergence(expected: Float32, found: Float32) -> float:
    p, q = (np.maximum(scores.astype(np.float64), SMALLEST_SCORE) for scores in (expected, found))
    p, q = p / p.sum(axis=1, keepdims=True), q / q.sum(axis=1, keepdims=True)
    return float(np.mean(np.sum(p * np.log(p / q), axis=1)))


class _Search:
    """Finds the nodes that must stay in float32; `floats` are their names."""

    def __init__(
        self, network: _Network, val: ImageSet, float_accuracy: float, max_loss: float, max_float_macs: float
    ) -> None:
        self.floats: set[str] = set()
        self._network, self._images, self._labels = network, val.rgb(), val.labels
        self._float_accuracy, self._max_loss = float_accuracy, max_loss
        self._max_float_macs = max_float_macs
        self._steps: list[PrecisionStep] = []
        self._accuracy = 0.0

    def run(self, sensitivity: dict[str, float]) -> MixedReport:
        """Adds the most sensitive nodes until the accuracy is reached, then takes back what is not needed."""
        int8_accuracy = self._accuracy = self._measured(self.floats)
        for name in sorted(sensitivity, key=lambda name: (-sensitivity[name], name)):
            if self._suffices(self._accuracy):
                break
            more = self.floats | {name}
            if self._float_macs(more) <= self._max_float_macs:
                self._take(more, self._measured(more), name, "float32")
        if not self._suffices(self._accuracy):
            raise ConversionError(self._failure())
        for name in sorted(self.floats, key=lambda name: (sensitivity[name], name)):
            fewer = self.floats - {name}
            if self._suffices(accuracy := self._measured(fewer)):
                self._take(fewer, accuracy, name, "int8")
        return MixedReport(
            float_accuracy=self._float_accuracy,
            int8_accuracy=int8_accuracy,
            val_accuracy=self._accuracy,
            max_loss=self._max_loss,
            float_macs=self._float_macs(self.floats),
            operators=tuple(
                OperatorPrecision(
                    node.layer, node.operator, node.macs, sensitivity[node.name], node.name in self.floats
                )
                for node in self._network.nodes
            ),
            steps=tuple(self._steps),
        )

    def _take(self, floats: set[str], accuracy: float, changed: str, precision: str) -> None:
        self.floats, self._accuracy = floats, accuracy
        layer = self._network.layers[changed]
        self._steps.append(PrecisionStep(layer, precision, self._float_macs(floats), self._accuracy))

    def _measured(self, floats: set[str]) -> float:
        scores = predict(self._network.quantized(floats), self._images)
        return float(np.mean(scores.argmax(1) == self._labels))

    def _suffices(self, accuracy: float) -> bool:
        # 1e-9: accuracies are counts divided by the number of images; only the last bit of a difference may be off.
        return accuracy >= self._float_accuracy - self._max_loss - 1e-9

    def _float_macs(self, floats: set[str]) -> float:
        total = sum(node.macs for node in self._network.nodes)
        return sum(node.macs for node in self._network.nodes if node.name in floats) / max(total, 1)

    def _failure(self) -> str:
        share = f"{100 * self._float_macs(self.floats):.0f} % of the multiply-accumulates in float32"
        found = f"{100 * self._accuracy:.2f} % of the validation images are right with {share}"
        return f"{found}; float32 has {100 * self._float_accuracy:.2f} %, at most {100 * self._max_loss:g} points less"

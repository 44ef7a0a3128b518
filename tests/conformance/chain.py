"""What the conformance suites of blocks and networks put every architecture through, step by step.

Each step asserts with a message of its own. Everything runs eagerly: tracing a small network takes longer than the few
steps that it is trained here.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from core.keras_env import keras, reset, tf

import numpy as np
from ai_edge_litert.tools import flatbuffer_utils

from compress.finetune import FineTune
from compress.invariants import Invariants, observe
from compress.passes.quantize import Quantize
from compress.settings import QuantizeSettings
from core.errors import CandidateError
from core.spec_io import canonical_json, from_plain
from deploy.calibration import representative_images
from deploy.convert import convert
from deploy.flatbuffer import read
from deploy.interpreter import predict
from deploy.schemes import FULL_INTEGER
from deploy.validate import Float32, validate
from search.arch import ArchSpec, canonical
from search.build import build
from search.cost import cost
from search.dataset import ImageSet, Int32
from search.grammar import from_text, to_text
from search.lowering import layers_of
from search.settings import TrainConfig
from search.train import labels_supervision

NUM_CLASSES = 4
TEST_IMAGES = 256
TRAIN_IMAGES = 64
LEARNING_RATE = 0.01
RIGHT_LOGIT = 4.0  # a probability of 0.95 where all others are 0
RIDGE = 0.1
TINTS = np.array([[1, 0, -1], [-1, 1, 0], [0, -1, 1], [1, 1, 1]])  # RGB of each class
# The parts of the tolerance, of which one must hold: at 98 % five images of 256 may be named differently, and
# two output steps are 2/256 of probability, as a mean over all images and classes.
LEAST_AGREEMENT = 0.98
MOST_MEAN_ERROR_STEPS = 2.0
# The worst network of one block a stage, MobileNetV2: 0.90 after one step of training, 0.97 after three.
LEAST_CORRELATION = 0.85
NARROW = 32


def easy_images(count: int, resolution: int, seed: int) -> ImageSet:
    """A colour and a coarse pattern of each class, of varying contrast, under noise."""
    patterns = np.random.default_rng(0).uniform(-1, 1, (NUM_CLASSES, 4, 4, 3)) + TINTS[:, None, None]
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % NUM_CLASSES
    index = np.arange(resolution) * 4 // resolution
    contrast = rng.uniform(0.4, 1.0, (count, 1, 1, 1))
    noise = rng.normal(0, 20, (count, resolution, resolution, 3))
    images = 128 + 60 * contrast * patterns[labels][:, index][:, :, index] + noise
    return ImageSet(np.clip(images, 0, 255).astype(np.uint8), labels.astype(np.int32), np.arange(count))


def fine_tune(train: ImageSet) -> FineTune:
    """The images that quantization-aware training calibrates on (its training itself is done here, eagerly)."""
    config = TrainConfig(epochs=1, batch_size=len(train))
    return FineTune(train, labels_supervision(NUM_CLASSES), config, "none", seed=1)


def assert_texts(arch: ArchSpec) -> None:
    """Spec -> grammar -> spec and spec -> JSON -> spec."""
    assert from_text(to_text(arch)) == arch, "the grammar changes it"
    assert from_plain(ArchSpec, json.loads(canonical_json(arch))) == arch, "JSON changes it"


def built(arch: ArchSpec) -> keras.Model:
    """The network, whose parameters must be those that its cost says."""
    reset(1)
    model = build(arch)
    assert cost(arch).params == model.count_params(), "the cost's parameters are not the model's"
    return model


def train(model: keras.Model, images: ImageSet, steps: int, learning_rate: float) -> None:
    """Adam on all images at once; every variable must get a gradient."""
    optimizer = keras.optimizers.Adam(learning_rate)
    pixels = tf.constant(images.rgb(), tf.float32) / 255
    for _ in range(steps):
        with tf.GradientTape() as tape:
            logits = model(pixels, training=True)
            losses = keras.losses.sparse_categorical_crossentropy(images.labels, logits, from_logits=True)
            loss = tf.reduce_mean(losses)
        gradients = tape.gradient(loss, model.trainable_variables)
        missing = [v.name for v, g in zip(model.trainable_variables, gradients, strict=True) if g is None]
        assert not missing, f"no gradient: {missing}"
        assert np.isfinite(loss), "the loss is not finite"
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))


def taught(arch: ArchSpec, images: ImageSet, steps: int = 1) -> keras.Model:
    """The network after one step of training, with settled normalizations and a classifier that fits the images.

    An untrained network's scores hardly depend on the image: they would agree with anything. This one knows most of the
    images that it has not seen, and costs less than the steps that would take it there.
    """
    model = built(arch)
    train(model, images, steps, LEARNING_RATE / 10 if arch.norm == "bias" else LEARNING_RATE)  # else ReLUs die
    pixels = tf.constant(images.rgb(), tf.float32) / 255
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    for norm in norms:
        norm.momentum, momentum = 0.0, norm.momentum  # the statistics become the batch's
    model(pixels, training=True)
    for norm in norms:
        norm.momentum = momentum
    _fit_classifier(model, pixels, images.labels)
    return model


def _fit_classifier(model: keras.Model, pixels: tf.Tensor, labels: Int32) -> None:
    """Ridge regression of the right class's logit to RIGHT_LOGIT and of the others' to 0."""
    classifier = [layer for layer in model.layers if layer.weights][-1]
    features = keras.Model(model.input, classifier.input)(pixels, training=False).numpy()
    features = features.reshape(len(features), -1, features.shape[-1]).mean(axis=1)
    features = np.hstack([features, np.ones((len(features), 1))])
    squares = features.T @ features
    squares += RIDGE * np.trace(squares) / len(squares) * np.eye(len(squares))
    solution = np.linalg.solve(squares, features.T @ (RIGHT_LOGIT * np.eye(NUM_CLASSES)[labels]))
    kernel, bias = classifier.weights
    kernel.assign(solution[:-1].reshape(kernel.shape))
    bias.assign(solution[-1])


def quantization_aware(model: keras.Model, images: ImageSet, steps: int) -> keras.Model:
    """The model after the quantize pass with `steps` steps of training, too small to leave the float model behind."""
    compress_pass = Quantize(QuantizeSettings())
    wrapped = compress_pass.wrap(model, Invariants(), fine_tune(images))
    train(wrapped, images, steps, learning_rate=1e-5)
    return compress_pass.strip(wrapped)


def full_integer(model: keras.Model, images: ImageSet, path: Path) -> Path:
    """The converted model in a file; the fast path must take it."""
    converted = convert(model, FULL_INTEGER, representative_images(images, TRAIN_IMAGES))
    assert converted.path == "fast", "the fast conversion does not take it"
    path.write_bytes(converted.content)
    return path


def operators(path: Path) -> dict[str, int]:
    """How often each operator occurs in a .tflite."""
    names = [operator.name for operator in read(path).operators]
    return {name: names.count(name) for name in sorted(set(names))}


def assert_equals_cost(path: Path, arch: ArchSpec, model: keras.Model) -> None:
    """A .tflite's multiply-accumulates are the cost's, and its kernels have as many weights as the model's."""
    weights = sum(weight.values.size for weight in read(path).weights)
    assert weights == sum(state.size for state in observe(model)), "the .tflite's weights are not the model's"
    assert converted_macs(path) == cost(arch).macs, "the cost's MACs are not the .tflite's"


def converted_macs(path: Path) -> int:
    """Multiply-accumulates of the convolutions and dense layers of a .tflite, from the shapes of its tensors."""
    model = flatbuffer_utils.read_model(str(path))
    graph, total = model.subgraphs[0], 0
    for operator in graph.operators:
        name = flatbuffer_utils.opcode_to_name(model, operator.opcodeIndex)
        if name in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
            output = graph.tensors[operator.outputs[0]].shape
            kernel = graph.tensors[operator.inputs[1]].shape
            per_output = kernel[1] * kernel[2] if name == "DEPTHWISE_CONV_2D" else np.prod(kernel[1:])
            total += int(np.prod(output) * per_output)
    return total


def assert_integer(path: Path) -> None:
    """Bytes in, bytes out, and integers only in between, which no operator only scales anew."""
    graph = read(path)
    assert not graph.float_operators
    assert not graph.custom_operators
    assert [tensor.dtype for tensor in (*graph.inputs, *graph.outputs)] == ["uint8", "uint8"]
    # One at the input and one at the output, from and to uint8.
    assert operators(path)["QUANTIZE"] == 2, "values are quantized again on their way"


def assert_agrees(path: Path, model: keras.Model, test: ImageSet) -> None:
    """The issue's tolerance, and all that `deploy` checks of a full-integer file."""
    result = validate(path, model, test, FULL_INTEGER)
    assert not result.problems
    assert result.keras_accuracy > 2 / NUM_CLASSES, "the float model knows too little for an agreement to mean much"
    agreement, steps = result.top1_agreement, result.mean_abs_error / result.output_step
    assert agreement >= LEAST_AGREEMENT or steps <= MOST_MEAN_ERROR_STEPS, f"{agreement:.1%}, {steps:.2f} steps"


def assert_follows(path: Path, scores: Float32, test: ImageSet) -> None:
    """An integer model whose scores go up and down with the float model's.

    For deep networks after a step of training, which amplify every rounding: they are too uncertain for the issue's
    tolerance, but an operator that computes something else would leave no correlation.
    """
    correlation = float(np.corrcoef(predict(path, test.rgb()).ravel(), scores.ravel())[0, 1])
    assert correlation >= LEAST_CORRELATION, f"correlation {correlation:.3f}"


def thinned(arch: ArchSpec, resolution: int, depth: int | None = None) -> ArchSpec:
    """The network for another resolution, with a quarter of its channels where groups allow it, and a narrow head.

    With `depth`, each stage has that many blocks at most.
    """
    thin = dataclasses.replace(
        arch,
        resolution=resolution,
        stages=tuple(dataclasses.replace(s, depth=min(s.depth, depth or s.depth)) for s in arch.stages),
        head_channels=min(arch.head_channels, NARROW),
        head_units=tuple(min(units, NARROW) for units in arch.head_units),
    )
    narrow = dataclasses.replace(thin, width_multiplier=0.25 * arch.width_multiplier)
    try:
        layers_of(narrow)
    except CandidateError:  # a quarter of the channels are not divisible by the groups
        return canonical(thin)
    return canonical(narrow)

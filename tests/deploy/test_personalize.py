"""On-device training through LiteRT's own interpreter: a network of ten digits is taught other classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from core.keras_env import keras, reset, tf

import numpy as np
import pytest

from core.errors import UsageError
from deploy.convert import convert
from deploy.errors import ConversionError
from deploy.flatbuffer import operator_name, read
from deploy.interpreter import predict
from deploy.packing import packed, unpacked
from deploy.personalize import MOMENTUM, convert_personalize, split_head
from deploy.personalize_check import OFF, SIGNATURES, Trainable, training_problems
from search.dataset import ImageSet, UInt8

Digits = tuple[ImageSet, ImageSet]
# Two float32 implementations of sums of at most a few hundred products: a hundred times the rounding.
FLOAT32_ROUNDING = 1e-5
SHOWN_PER_CLASS, BATCH, EPOCHS = 20, 20, 10


def trained_on(images: ImageSet) -> np.ndarray:
    return images.rgb(slice(0, 200)).astype(np.float32) / 255


@pytest.fixture(scope="module")
def content(network: keras.Model, digits: Digits) -> bytes:
    return convert_personalize(network, trained_on(digits[0]))


@pytest.fixture(scope="module")
def small() -> keras.Model:
    """Its frozen kernel is exact in int8: the largest weight of each channel is 127 steps."""
    model = ending(keras.layers.ReLU(6.0), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(3, name="scores"))
    steps = np.random.default_rng(0).integers(-127, 128, (3, 3, 3, 5))
    steps[0, 0, 0] = 127
    model.get_layer("conv").kernel.assign(steps.astype(np.float32) / 128)
    return model


@pytest.fixture(scope="module")
def small_content(small: keras.Model) -> bytes:
    return convert_personalize(small, noise(20).astype(np.float32) / 255)


def noise(count: int) -> UInt8:
    return np.random.default_rng(2).integers(0, 256, (count, 4, 4, 3)).astype(np.uint8)


@pytest.fixture
def session(content: bytes) -> Trainable:
    return Trainable(content)


def few(images: ImageSet) -> tuple[UInt8, np.ndarray]:
    """The first images of each digit, as many as somebody may take with a phone, and their labels."""
    rows = np.concatenate([np.flatnonzero(images.labels == digit)[:SHOWN_PER_CLASS] for digit in range(10)])
    return images.rgb(rows), images.labels[rows].astype(np.int32)


def teach(session: Trainable, images: UInt8, labels: np.ndarray, epochs: int = EPOCHS) -> None:
    draw = np.random.default_rng(0)
    for _ in range(epochs):
        for rows in np.array_split(draw.permutation(len(images)), len(images) // BATCH):
            session.train(images[rows], labels[rows])


def accuracy(session: Trainable, images: UInt8, labels: np.ndarray) -> float:
    return float(np.mean(session.infer(images).argmax(1) == labels))


def features(network: keras.Model, images: UInt8) -> np.ndarray:
    """What the untouched Keras layers make of images."""
    return split_head(network).body(images.astype(np.float32) / 255, training=False).numpy()


def test_only_operators_that_every_litert_has(content: bytes) -> None:
    graph = read(content)
    assert graph.custom_operators == () and not any("FLEX" in operator.name.upper() for operator in graph.operators)
    assert set(graph.signatures) == {*SIGNATURES, "serving_default"}


def test_before_training_it_is_the_ordinary_model(content: bytes, network: keras.Model, digits: Digits) -> None:
    images, ordinary = digits[1].rgb(slice(0, 300)), convert(network, "float32").content
    expected, found = predict(ordinary, images), predict(content, images)  # as tools run any model
    assert np.mean(found.argmax(1) == expected.argmax(1)) > 0.97  # int8 weights: few images lie so near to a border
    np.testing.assert_allclose(Trainable(content).infer(images), found, atol=FLOAT32_ROUNDING)
    # 64 kB in float32. A quarter of that, because frozen weights are in the file once and in int8; the signatures' 100
    # operators and 150 tensors take the rest (16 kB), whatever the network.
    assert len(content) < 0.55 * len(ordinary)


def test_sizes_are_open_where_they_help(content: bytes) -> None:
    """Not in what is run on one image, which LiteRT's CompiledModel would compute without XNNPACK."""
    model, open_sizes = unpacked(content), {}
    for signature in model.signatureDefs:
        tensors = model.subgraphs[signature.subgraphIndex].tensors
        for entry in signature.inputs:
            if tensors[entry.tensorIndex].shapeSignature is not None:
                open_sizes.setdefault(signature.signatureKey, set()).add(entry.name)
    assert open_sizes == {b"train": {b"images", b"labels"}}


def test_before_training_an_exact_network_is_itself(small: keras.Model, small_content: bytes) -> None:
    expected = predict(convert(small, "float32").content, noise(20))
    np.testing.assert_allclose(Trainable(small_content).infer(noise(20)), expected, atol=FLOAT32_ROUNDING)


def test_a_few_images_teach_it_other_classes(session: Trainable, digits: Digits) -> None:
    """Digit d becomes class 9 - d."""
    images, labels = few(digits[0])
    test, truth = digits[1].rgb(), digits[1].labels
    as_trained = accuracy(session, test, truth)
    assert as_trained > 0.85 and accuracy(session, test, 9 - truth) < 0.05  # it knows digits, and not the new classes
    teach(session, images, 9 - labels)
    # The frozen features tell these ten classes apart as they did before; 200 images instead of 3,000 may cost a few
    # points (measured: 0). Chance is 10 %.
    assert accuracy(session, test, 9 - truth) > as_trained - 0.05


def test_a_few_images_teach_it_another_kind_of_images(session: Trainable, digits: Digits) -> None:
    """Dark digits on a light ground, which the network never saw."""
    images, labels = few(digits[0])
    test, truth = 255 - digits[1].rgb(), digits[1].labels
    before = accuracy(session, test, truth)
    teach(session, 255 - images, labels, epochs=3 * EPOCHS)
    assert accuracy(session, test, truth) > before + 0.2


def test_training_moves_the_head_alone(small: keras.Model, small_content: bytes) -> None:
    images, labels = noise(20), (np.arange(20) % 3).astype(np.int32)
    session = Trainable(small_content)
    start = session.save()
    for _ in range(20):
        session.train(images, labels)
    saved = session.save()
    assert np.abs(saved["kernel"] - start["kernel"]).max() > 0.1 and np.abs(saved["bias"] - start["bias"]).max() > 0.01
    expected = tf.nn.softmax(features(small, images) @ saved["kernel"] + saved["bias"])
    np.testing.assert_allclose(session.infer(images), expected, atol=FLOAT32_ROUNDING)


def test_what_is_saved_works_elsewhere(content: bytes, session: Trainable, digits: Digits, tmp_path: Path) -> None:
    images, labels = few(digits[0])
    teach(session, images, 9 - labels, epochs=1)
    np.savez(tmp_path / "head.npz", **session.save())
    fresh = Trainable(content)
    assert not np.array_equal(fresh.infer(images), session.infer(images))
    with np.load(tmp_path / "head.npz") as saved:
        fresh.restore(saved)
    np.testing.assert_array_equal(fresh.infer(images), session.infer(images))


def test_a_step_follows_the_formulas(small: keras.Model, small_content: bytes) -> None:
    images, session = noise(20), Trainable(small_content)
    labels = np.where(np.arange(20) % 5 == 0, np.tile([-1, 3], 10), np.arange(20) % 3).astype(np.int32)
    counted = (labels >= 0) & (labels < 3)
    assert 0 < counted.sum() < 20
    every = features(small, images).astype(np.float64)
    seen, truth, centre = every[counted], labels[counted], every.mean(0)  # the same images are those of the conversion
    head = {name: values.astype(np.float64) for name, values in session.save().items()}
    kernel, offset = head["kernel"], head["bias"] + centre @ head["kernel"]
    kernel_velocity, offset_velocity = np.zeros_like(kernel), np.zeros_like(offset)
    for rate in (2.0, 1.0, 0.5):
        logits = (seen - centre) @ kernel + offset
        scores = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        slope = (scores - np.eye(3)[truth]) / len(truth)
        divisor = 1 + np.square(seen - centre).sum(1).mean()
        kernel_velocity = MOMENTUM * kernel_velocity + (seen - centre).T @ slope / divisor
        offset_velocity = MOMENTUM * offset_velocity + slope.sum(0) / divisor
        kernel, offset = kernel - rate * kernel_velocity, offset - rate * offset_velocity
        loss = session.train(images, labels, rate)
        assert loss == pytest.approx(-np.log(scores[np.arange(len(truth)), truth]).mean(), rel=1e-4)  # of float32 sums
    saved = session.save()
    # Features up to 6, sums of 27 products with 6e-8 each, moved on with velocity by rates of 3.5 in all: below 1e-4.
    np.testing.assert_allclose(saved["kernel"], kernel, atol=1e-4)
    np.testing.assert_allclose(saved["bias"], offset - centre @ kernel, atol=1e-4)


def test_any_number_of_images(session: Trainable, digits: Digits) -> None:
    images, labels = (array[::10] for array in few(digits[0]))
    alone = [session.train(images[n : n + 1], labels[n : n + 1], 0.0) for n in range(len(images))]
    for count in (7, 1, 20, 3):
        found = session.train(images[:count], labels[:count], 0.0)
        assert found == pytest.approx(np.mean(alone[:count]), rel=1e-4)  # sums of float32 in another order
        assert session.infer(images[:count]).shape == (count, 10)


def test_no_image_with_a_class_changes_nothing(session: Trainable, digits: Digits) -> None:
    images, start = digits[0].rgb(slice(0, 4)), session.save()
    assert session.train(images, np.full(4, -1, np.int32)) == 0
    for name, values in session.save().items():
        np.testing.assert_array_equal(values, start[name])


def test_restoring_forgets_the_velocity(content: bytes, session: Trainable, digits: Digits) -> None:
    images, labels = few(digits[0])
    start = session.save()
    teach(session, images, 9 - labels, epochs=1)
    session.restore(start)
    fresh = Trainable(content)
    for each in (session, fresh):
        each.train(images, labels)
    for name, values in fresh.save().items():
        np.testing.assert_array_equal(session.save()[name], values)


@pytest.mark.parametrize(("features", "classes", "biases"), [(32, 5, 5), (33, 10, 10), (32, 10, 9), (32, 12, 12)])
def test_a_head_of_another_size_is_refused(session: Trainable, features: int, classes: int, biases: int) -> None:
    """LiteRT by itself would store it, and read beyond its end."""
    start, image = session.save(), np.zeros((1, 28, 28, 3), np.uint8)
    before = session.infer(image)
    with pytest.raises(UsageError, match=rf"restore: kernel \({features}, {classes}\), bias \({biases},\) do not fit"):
        session.restore({"kernel": np.ones((features, classes), np.float32), "bias": np.ones(biases, np.float32)})
    np.testing.assert_array_equal(session.infer(image), before)
    session.restore(start)


def test_spare_classes_are_off_until_the_app_uses_them(network: keras.Model, content: bytes, digits: Digits) -> None:
    with_spare = convert_personalize(network, trained_on(digits[0]), spare_classes=2)
    session, plain = Trainable(with_spare), Trainable(content)
    images, labels = few(digits[0])
    scores = session.infer(images)
    np.testing.assert_allclose(scores[:, :10], plain.infer(images), atol=FLOAT32_ROUNDING)
    assert scores.shape[1] == 12 and not scores[:, 10:].any()
    teach(session, images, labels, epochs=1)
    assert not session.infer(images)[:, 10:].any()
    own = np.full(12, OFF, np.float32)  # an app's own four classes: digits 6 to 9 as 8 to 11
    own[8:] = 0
    session.restore({"kernel": np.zeros((32, 12), np.float32), "bias": own})
    chosen = labels >= 6
    teach(session, images[chosen], labels[chosen] + 2)
    test = digits[1].labels >= 6
    found = session.infer(digits[1].rgb(test))
    assert not found[:, :8].any()
    assert np.mean(found.argmax(1) == digits[1].labels[test] + 2) > 0.75  # of four classes; chance is 0.25


def test_its_own_check_finds_nothing(content: bytes, digits: Digits) -> None:
    assert training_problems(content, digits[1]) == ()


def test_its_own_check_finds_a_step_uphill(content: bytes, digits: Digits) -> None:
    def uphill(model: Any, graph: Any) -> None:
        steps = [operator for operator in graph.operators if operator_name(model, operator) == "SUB"]
        added = next(operator for operator in graph.operators if operator_name(model, operator) == "ADD")
        for operator in steps[1:]:  # the first is of the loss' slope, the others of kernel and bias
            operator.opcodeIndex, operator.builtinOptions = added.opcodeIndex, added.builtinOptions
            operator.builtinOptionsType = added.builtinOptionsType

    (problem,) = training_problems(spoilt(content, "train", uphill), digits[1])
    assert problem.startswith("training does not lower the loss: ")


def test_its_own_check_finds_a_restore_that_does_nothing(content: bytes, digits: Digits) -> None:
    def forgetful(model: Any, graph: Any) -> None:
        graph.operators = [each for each in graph.operators if operator_name(model, each) != "ASSIGN_VARIABLE"]

    problems = training_problems(spoilt(content, "restore", forgetful), digits[1])
    assert problems == ("what was saved and restored does not give the same scores",)


def spoilt(content: bytes, signature: str, change: Any) -> bytes:
    """A copy whose graph of a signature was changed."""
    model = unpacked(content)
    (found,) = (each for each in model.signatureDefs if each.signatureKey == signature.encode())
    change(model, model.subgraphs[found.subgraphIndex])
    return packed(model)


def test_an_ordinary_model_cannot_be_trained(network: keras.Model) -> None:
    with pytest.raises(UsageError, match="model: no signature infer, train, save, restore; expected a model that can"):
        Trainable(convert(network, "float32").content)


def ending(*layers: keras.layers.Layer) -> keras.Model:
    reset(1)
    image = keras.Input((4, 4, 3))
    x = keras.layers.Conv2D(5, 3, name="conv")(image)
    for layer in layers:
        x = layer(x)
    return keras.Model(image, x, name="network")


@pytest.mark.parametrize("end", ["logits", "softmax", "layer", "activation"])
def test_any_form_of_the_end_is_cut_before_the_dense_layer(end: str) -> None:
    dense = keras.layers.Dense(3, activation="softmax" if end == "softmax" else None, use_bias=False, name="scores")
    more = {"layer": [keras.layers.Softmax()], "activation": [keras.layers.Activation("softmax")]}.get(end, [])
    model = ending(keras.layers.GlobalAveragePooling2D(), dense, *more)
    head = split_head(model)
    assert head.body.output_shape == (None, 5) and head.kernel.shape == (5, 3)
    np.testing.assert_array_equal(head.bias, np.zeros(3))
    image = np.random.default_rng(0).random((2, 4, 4, 3), np.float32)
    logits = head.body(image).numpy() @ head.kernel
    expected = logits if end == "logits" else tf.nn.softmax(logits)
    np.testing.assert_allclose(model(image), expected, atol=FLOAT32_ROUNDING)


@pytest.mark.parametrize(
    ("layers", "found"),
    [
        ((keras.layers.GlobalAveragePooling2D(name="pool"),), "GlobalAveragePooling2D pool"),
        ((keras.layers.Flatten(), keras.layers.Dense(3, activation="relu", name="scores")), "Dense scores"),
        ((keras.layers.Dense(3, name="scores"), keras.layers.Softmax()), "Dense scores"),  # one for each pixel
    ],
)
def test_another_end_is_refused(layers: tuple[keras.layers.Layer, ...], found: str) -> None:
    with pytest.raises(ConversionError, match=f"network: on-device training needs a dense layer .* it ends in {found}"):
        convert_personalize(ending(*layers), np.zeros((1, 4, 4, 3), np.float32))

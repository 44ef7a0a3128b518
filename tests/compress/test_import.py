"""Users' models: every format and form becomes one flat network of the same outputs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.keras_env import keras, tf

import numpy as np
import pytest

from compress.importing.check import check_user_model
from compress.importing.load import load_user_model
from compress.importing.source import fingerprint
from compress.passes.quantize_plan import plan_of
from compress.storage import copy_of
from core.errors import UsageError
from search.keras_layers import HardSigmoid, HardSwish, Swish
from tests.compress.user_models import NUM_CLASSES, RESOLUTION, adapted, grey, nested, sequential, trained

pytestmark = pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5")
Layers = keras.layers
SUFFIXES = (".h5", ".keras", "")  # the last is a SavedModel
WHERE = "--model"
IMAGES = np.random.default_rng(1).random((3, RESOLUTION, RESOLUTION, 3), np.float32)
# float32 through a few layers, whose kernels took in constant factors and so round differently.
TOLERANCE = 1e-5


def load(path: Path, **changes: object) -> keras.Model:
    options = {"num_classes": NUM_CLASSES, "resolution": RESOLUTION, "allow_custom": False, "where": WHERE, **changes}
    return load_user_model(path, **options)


def loaded(model: keras.Model, directory: Path, suffix: str = ".keras", **changes: object) -> keras.Model:
    path = directory / f"model{suffix}"
    model.save(path)
    check_user_model(path, allow_custom=False, where=WHERE)
    return load(path, **changes)


def types(model: keras.Model) -> set[type]:
    return {type(layer) for layer in model.layers}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_nested_models_become_one_graph_of_the_same_probabilities(tmp_path: Path, suffix: str) -> None:
    original = nested()
    flat = loaded(original, tmp_path, suffix)
    np.testing.assert_allclose(tf.nn.softmax(flat(IMAGES)), original(IMAGES), rtol=TOLERANCE, atol=TOLERANCE)
    assert not any(isinstance(layer, keras.Model) for layer in flat.layers)
    names = [layer.name for layer in flat.layers]
    assert {"image", "norm", "separable_depthwise", "separable_pointwise", "block_conv", "add", "swish"} <= set(names)
    assert {name for name in names if name.endswith("conv")} == {"base_conv", "block_conv", "conv", "head_conv"}
    assert flat.get_layer("conv").groups == 2, "the outer model keeps its names"
    assert {HardSwish, HardSigmoid, Swish} <= types(flat)
    assert types(flat).isdisjoint((Layers.SeparableConv2D, Layers.Softmax, Layers.SpatialDropout2D))
    for layer in flat.layers:
        if type(layer) in (Layers.Conv2D, Layers.Dense):
            assert layer.activation is keras.activations.linear
    assert all(layer.trainable for layer in flat.layers)
    assert len(flat.trainable_weights) == len(original.weights) - 2  # a normalization's mean and variance


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_layers_with_a_state_of_their_own(tmp_path: Path, suffix: str) -> None:
    original = sequential()
    flat = loaded(original, tmp_path, suffix)
    np.testing.assert_allclose(flat(IMAGES), original(IMAGES), rtol=TOLERANCE, atol=TOLERANCE)
    assert not flat.losses, "regularizers are left out: fine-tuning has its own weight decay"
    np.testing.assert_array_equal(copy_of(flat)(IMAGES), flat(IMAGES))


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_statistics_of_the_data_and_factors_are_taken_over(tmp_path: Path, suffix: str) -> None:
    original = adapted()
    flat = loaded(original, tmp_path, suffix)
    np.testing.assert_allclose(tf.nn.softmax(flat(IMAGES)), original(IMAGES), rtol=TOLERANCE, atol=TOLERANCE)
    assert flat.input_shape == (None, RESOLUTION, RESOLUTION, 3)
    assert Layers.Normalization not in types(flat)


@pytest.mark.parametrize(("input_range", "scale", "offset"), [("0..255", 255.0, 0.0), ("-1..1", 2.0, -1.0)])
def test_input_range_is_met_by_the_network(tmp_path: Path, input_range: str, scale: float, offset: float) -> None:
    image = keras.Input((RESOLUTION, RESOLUTION, 3))
    x = Layers.Conv2D(4, 3, padding="same", activation="relu")(Layers.ZeroPadding2D()(image))
    original = keras.Model(image, Layers.Dense(NUM_CLASSES)(Layers.GlobalAveragePooling2D()(x)))
    flat = loaded(original, tmp_path, input_range=input_range)
    np.testing.assert_allclose(flat(IMAGES), original(IMAGES * scale + offset), rtol=TOLERANCE, atol=TOLERANCE)
    assert (Layers.Rescaling in types(flat)) == (offset != 0.0), "a factor alone goes into the kernel"


@pytest.mark.parametrize("flat_first", [False, True])
def test_grey_network_takes_the_mean_of_rgb(tmp_path: Path, flat_first: bool) -> None:
    original = grey(flat=flat_first)
    flat = loaded(original, tmp_path, input_range="0..255")
    images = 255 * IMAGES.mean(axis=3, keepdims=True)
    np.testing.assert_allclose(tf.nn.softmax(flat(IMAGES)), original(images), rtol=TOLERANCE, atol=TOLERANCE)
    assert flat.input_shape == (None, RESOLUTION, RESOLUTION, 3)


def normalized(image: Any) -> Any:
    return Layers.Conv2D(4, 3)(Layers.BatchNormalization()(image))


def beside_itself(image: Any) -> Any:
    return Layers.Concatenate()([Layers.Conv2D(2, 3, padding="same")(image), image])


def read_twice(image: Any) -> Any:
    same = Layers.Conv2D(1, 3, padding="same")
    return same(same(image))


def difference(image: Any) -> Any:
    return Layers.Conv2D(2, 3)(image * 2.0 - image)


@pytest.mark.parametrize("first", [normalized, beside_itself, read_twice, difference])
def test_other_grey_networks_get_the_mean_from_a_layer(tmp_path: Path, first: Callable[[Any], Any]) -> None:
    image = keras.Input((RESOLUTION, RESOLUTION, 1))
    original = trained(keras.Model(image, Layers.Dense(NUM_CLASSES)(Layers.Flatten()(first(image)))))
    flat = loaded(original, tmp_path)
    images = IMAGES.mean(axis=3, keepdims=True)
    np.testing.assert_allclose(flat(IMAGES), original(images), rtol=TOLERANCE, atol=TOLERANCE)
    assert flat.get_layer("grey").kernel.shape == (1, 1, 3, 1)


def test_two_layers_may_read_a_grey_image(tmp_path: Path) -> None:
    image = keras.Input((RESOLUTION, RESOLUTION, 1))
    x = Layers.Add()([Layers.Conv2D(2, 3, padding="same")(image), Layers.Conv2D(2, 1)(image)])
    original = trained(keras.Model(image, Layers.Dense(NUM_CLASSES)(Layers.Flatten()(x))))
    flat = loaded(original, tmp_path)
    images = IMAGES.mean(axis=3, keepdims=True)
    np.testing.assert_allclose(flat(IMAGES), original(images), rtol=TOLERANCE, atol=TOLERANCE)
    assert "grey" not in {layer.name for layer in flat.layers}


@pytest.mark.parametrize("kept", [False, True])
def test_two_layers_may_read_a_scaled_and_padded_image(tmp_path: Path, kept: bool) -> None:
    """The factor goes into the kernels of both; what reads the padded image itself still gets it scaled."""
    image = keras.Input((RESOLUTION, RESOLUTION, 3))
    x = Layers.ZeroPadding2D(1, name="pad")(Layers.Rescaling(2.0, name="scale")(image))
    one, other = (Layers.Conv2D(3, 3, padding="same", name=name)(x) for name in ("one", "other"))
    x = Layers.Add(name="add")([one, other, x] if kept else [one, other])
    original = trained(keras.Model(image, Layers.Dense(NUM_CLASSES)(Layers.Flatten()(x))))
    flat = loaded(original, tmp_path)
    np.testing.assert_allclose(flat(IMAGES), original(IMAGES), rtol=TOLERANCE, atol=TOLERANCE)
    names = [layer.name for layer in flat.layers]
    assert ("scale" in names) == kept
    assert sorted(name for name in names if "pad" in name) == (["pad", "pad_1"] if kept else ["pad"])
    np.testing.assert_array_equal(copy_of(flat)(IMAGES), flat(IMAGES))


def test_independent_scores_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"ends in a sigmoid: independent scores"):
        loaded(grey("sigmoid"), tmp_path)


def test_mobilenet_is_ready_for_quantization_aware_training(tmp_path: Path) -> None:
    """tf_keras' own MobileNetV3 writes hard swish as arithmetic, which has no integer form; ours has."""
    shape = (32, 32, 3)
    original = keras.applications.MobileNetV3Small(shape, 0.35, weights=None, classes=NUM_CLASSES)
    flat = loaded(original, tmp_path, ".keras", resolution=32, input_range="0..255")
    images = np.random.default_rng(2).random((2, *shape), np.float32)
    expected = original(255 * images)
    np.testing.assert_allclose(tf.nn.softmax(flat(images)), expected, rtol=TOLERANCE, atol=TOLERANCE)
    counts = {kind: sum(type(layer) is kind for layer in flat.layers) for kind in (HardSwish, HardSigmoid)}
    assert counts == {HardSwish: 19, HardSigmoid: 9}  # Howard et al. 2019, table 2
    found = [(layer.scale, layer.offset) for layer in flat.layers if type(layer) is Layers.Rescaling]
    assert found == [(pytest.approx(2.0), 0.0), (1.0, -1.0)], "255 of the range and 1 / 127.5 - 1 of the file"
    assert plan_of(flat).ranges


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_fingerprint_is_of_the_content(tmp_path: Path, suffix: str) -> None:
    model = sequential()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        model.save(tmp_path / name / f"model{suffix}", **({} if suffix else {"save_format": "tf"}))
    path = tmp_path / "a" / f"model{suffix}"
    before = fingerprint(path)
    assert before == check_user_model(path, allow_custom=False, where=WHERE)
    changed = path / "variables" / "variables.index" if path.is_dir() else path
    changed.write_bytes(changed.read_bytes() + b"x")
    assert fingerprint(path) != before


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (
            lambda: keras.Model([keras.Input((8, 8, 3)), image := keras.Input((8, 8, 3))], Layers.Flatten()(image)),
            "2 inputs",
        ),
        (
            lambda: keras.Sequential([keras.Input((8, 8, 2)), Layers.Flatten(), Layers.Dense(4)]),
            r"input \(None, 8, 8, 2\)",
        ),
        (
            lambda: keras.Sequential([keras.Input((8, 8, 3)), Layers.Flatten(), Layers.Dense(4)]),
            r"input \(None, 8, 8, 3\)",
        ),
        (lambda: keras.Sequential([keras.Input((12, 12, 3)), Layers.Conv2D(4, 1)]), r"output \(None, 12, 12, 4\)"),
        (
            lambda: keras.Sequential(
                [keras.Input((12, 12, 3)), Layers.Conv2DTranspose(2, 3, name="bad", data_format="channels_first")]
            ),
            "data_format",
        ),
        (
            lambda: keras.Sequential([keras.Input((12, 12, 3)), Layers.LocallyConnected2D(2, 3, name="bad")]),
            "LocallyConn",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(tmp_path: Path, make: Callable[[], keras.Model], word: str) -> None:
    with pytest.raises(UsageError, match=rf"^--model: '.*model\.keras'.*{word}") as error:
        loaded(make(), tmp_path)
    assert "\n" not in str(error.value)


def test_input_range_must_be_known(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^--model: input range: '0-255' is not legal"):
        loaded(sequential(), tmp_path, input_range="0-255")

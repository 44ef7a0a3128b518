"""Trained weights of other programs compute in our networks what they compute there."""

from __future__ import annotations

import dataclasses
import io
import itertools
from pathlib import Path

from core.keras_env import keras, reset, tf

import matplotlib
import numpy as np
import pytest
from PIL import Image

from core.errors import UsageError
from search.arch import ArchSpec
from search.build import build
from search.grammar import from_text
from search.named import network
from search.weights import copy_weights, load_weights

TINY = "input_r8_n3_w1 stem_s1_c0 conv_r1_k3_s1_c8_valid ir_r1_k3_s1_e2_c8 head_c0"
# MLPerf Tiny's person detection: MobileNet with ReLU, and biases before the normalizations.
PERSON = """
    input_r96_n2_w0.25_biasbn stem_s2_c32_relu ds_r1_k3_s1_c64_relu ds_r2_k3_s2_c128_relu ds_r2_k3_s2_c256_relu
    ds_r6_k3_s2_c512_relu ds_r2_k3_s2_c1024_relu head_c0
"""
MILITARY_UNIFORM = 653  # of ImageNet's classes, with a background class as number 0


@pytest.fixture
def models(shared: Path) -> Path:
    return shared / "models"


@pytest.fixture
def folded(models: Path) -> Path:
    """MobileNetV2, trained on pixels of -1..1, batch norms folded."""
    return models / "mobilenet_v2_1.0_224_folded_f16.npz"


def tiny(seed: int = 0, text: str = TINY, **fields: object) -> keras.Model:
    """A small network whose weights and statistics are all random."""
    reset(seed)
    model = build(dataclasses.replace(from_text(text), **fields))
    draw = np.random.default_rng(seed)
    model.set_weights([draw.uniform(0.1, 1, weight.shape).astype(np.float32) for weight in model.weights])
    return model


def images(side: int, count: int = 4) -> np.ndarray:
    """Random pixels in 0..1."""
    return np.random.default_rng(1).uniform(0, 1, (count, side, side, 3)).astype(np.float32)


def test_resnet8_of_mlperf_tiny_on_real_images(models: Path, shared: Path) -> None:
    """Trained on bytes; our network takes them divided by 255. Its accuracy on these JPEGs is known to be 76 %."""
    path = models / "pretrainedResnet.h5"
    model = build(network("resnet8", 32, 10))
    load_weights(model, path, input_range=(0, 255))
    with np.load(shared / "cifar10_jpeg.npz") as data:
        ends, labels = data["offset_test"], data["y_test"][:500]
        jpegs = data["jpeg_test"].tobytes()
    decoded = [Image.open(io.BytesIO(jpegs[begin:end])) for begin, end in itertools.pairwise(ends[:501])]
    pixels = np.stack([np.asarray(image.convert("RGB"), np.float32) for image in decoded])
    expected = keras.models.load_model(path, compile=False)(pixels, training=False).numpy()
    found = tf.nn.softmax(model(pixels / 255, training=False)).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)  # float32 through 10 layers, probabilities up to 1
    assert np.mean(found.argmax(1) == labels) > 0.70  # 3 standard deviations of 500 drawings below 0.76


def test_person_detection_of_mlperf_tiny(models: Path) -> None:
    path = models / "vww_96.h5"
    model = build(from_text(PERSON))
    load_weights(model, path)
    expected = keras.models.load_model(path, compile=False)(images(96), training=False).numpy()
    np.testing.assert_allclose(tf.nn.softmax(model(images(96), training=False)), expected, atol=1e-5)  # as above


def test_mobilenet_v2_recognizes_an_admiral(folded: Path) -> None:
    """The picture that TensorFlow Lite's examples use (Grace Hopper in uniform), from matplotlib's samples."""
    path = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    if not path.is_file():
        pytest.skip("needs matplotlib's sample data")
    picture = np.asarray(Image.open(path).convert("RGB").resize((224, 224), Image.Resampling.BILINEAR), np.float32)
    picture = picture[None] / 255
    arch = network("mobilenet_v2", 224, 1001)
    as_trained, ours = build(arch, batch_norm=False), build(arch, batch_norm=False)
    load_weights(as_trained, folded)
    load_weights(ours, folded, input_range=(-1, 1))
    for model, pixels in ((as_trained, 2 * picture - 1), (ours, picture)):
        probabilities = tf.nn.softmax(model(pixels, training=False)).numpy()[0]
        assert probabilities.argmax() == MILITARY_UNIFORM
        assert probabilities.max() > 0.5  # 0.65 of both, next to 0.07
    stems = [keras.Model(model.input, model.get_layer("stem_conv").output) for model in (as_trained, ours)]
    expected, found = stems[0](2 * picture - 1).numpy(), stems[1](picture).numpy()
    differs = np.abs(found - expected).max((0, 3)) > 1e-5 * np.abs(expected).max()  # seven digits of float32, 27 terms
    assert not differs[:-1, :-1].any(), "the offset is exact where the window lies in the image"
    assert differs[-1].any(), "and it is not where the window reaches into the padding"


@pytest.mark.parametrize("norm", ["bn", "bias_bn", "bias"])
@pytest.mark.parametrize("input_range", [(0, 255), (-1, 1)])
def test_any_range_is_exact_without_padding(norm: str, input_range: tuple[float, float], tmp_path: Path) -> None:
    source, model = tiny(norm=norm), tiny(seed=1, norm=norm)
    source.save_weights(tmp_path / "weights.h5")
    load_weights(model, tmp_path / "weights.h5", input_range=input_range)
    low, high = input_range
    expected = source(images(8) * (high - low) + low, training=False).numpy()
    # The same sums in another order, in float32.
    np.testing.assert_allclose(model(images(8), training=False), expected, atol=1e-5 * np.abs(expected).max())


def test_pixel_layers_of_the_source_are_folded() -> None:
    """As EfficientNet has them in tf_keras.applications: Rescaling, then Normalization."""
    network_ = tiny()
    inputs = keras.Input((8, 8, 3))
    normalization = keras.layers.Normalization(mean=[0.4, 0.5, 0.6], variance=[0.04, 0.05, 0.06])
    y = normalization(keras.layers.Rescaling(1 / 255, offset=0.1)(inputs))
    for layer in network_.layers[1:4]:  # convolution, normalization, ReLU6
        y = type(layer).from_config(layer.get_config())(y)
    y = keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(y))
    source = keras.Model(inputs, y)
    source.layers[3].set_weights(network_.layers[1].get_weights())
    model = tiny(text="input_r8_n3_w1 stem_s1_c0 conv_r1_k3_s1_c8_valid head_c0")
    copy_weights(source, model, input_range=(0, 255))
    expected = source(images(8) * 255, training=False).numpy()
    np.testing.assert_allclose(model(images(8), training=False), expected, atol=1e-5 * np.abs(expected).max())


def test_another_epsilon_moves_into_the_variance() -> None:
    source, model = tiny(), tiny(seed=1)
    for layer in source.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.epsilon = 0.1
            layer.moving_variance.assign(layer.moving_variance * 0.01)
    copy_weights(source, model)
    expected = source(images(8), training=False).numpy()
    np.testing.assert_allclose(model(images(8), training=False), expected, atol=1e-5 * np.abs(expected).max())


def test_weights_under_our_names_need_no_order(tmp_path: Path) -> None:
    source, model = tiny(), tiny(seed=1)
    arrays = {weight.name.removesuffix(":0"): weight.numpy() for weight in reversed(source.weights)}
    np.savez(tmp_path / "weights.npz", **arrays)
    load_weights(model, tmp_path / "weights.npz")
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), source.get_weights(), strict=True))


def arrays_of(arch: ArchSpec) -> dict[str, np.ndarray]:
    return {weight.name.removesuffix(":0"): weight.numpy() for weight in build(arch, batch_norm=False).weights}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"a/kernel": np.zeros((3, 3, 3, 4)), "a/bias": np.zeros(4)},
            "layer 'a' holds kernel 3x3x3x4, bias 4; "
            "expected kernel 3x3x3x8, bias 8 for the model's layer 's0_b0_conv'",
        ),
        (
            {"a/kernel": np.zeros((3, 3, 3, 8))},
            "layer 'a' holds kernel 3x3x3x8; expected kernel 3x3x3x8, bias 8 for the model's layer 's0_b0_conv'",
        ),
        (
            {"a/kernel": np.zeros((3, 3, 3, 8)), "a/bias": np.zeros(8)},
            "holds 1 layers with weights; the model has 5",
        ),
        ({"kernel": np.zeros(8)}, "array 'kernel' is not legal; expected names such as 'LAYER/kernel'"),
        ({}, "holds 0 layers with weights; the model has 5"),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(
    change: dict[str, np.ndarray], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "weights.npz"
    np.savez(path, **change)
    model = tiny(norm="bias")
    before = model.get_weights()
    with pytest.raises(UsageError) as caught:
        load_weights(model, path)
    assert str(caught.value) == f"{path}: {message}"
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), before, strict=True))


def test_values_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    arrays = arrays_of(from_text(TINY))
    arrays["s1_b0_dw/bias"][3] = np.nan
    np.savez(tmp_path / "weights.npz", **arrays)
    with pytest.raises(UsageError, match=r"layer 's1_b0_dw' holds values that are not finite$"):
        load_weights(tiny(norm="bias"), tmp_path / "weights.npz")


@pytest.mark.parametrize("name", ["weights.npz", "weights.h5"])
def test_files_that_are_no_weights_are_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    with pytest.raises(UsageError, match=r"is no file; expected trained weights$"):
        load_weights(tiny(), path)
    path.write_bytes(b"neither of the two")
    with pytest.raises(UsageError, match=r"cannot be read as trained weights"):
        load_weights(tiny(), path)


def test_other_kinds_of_files_and_ranges_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^weights: '.*weights.pt' is not legal; expected a file .h5, .hdf5, .npz$"):
        load_weights(tiny(), tmp_path / "weights.pt")
    with pytest.raises(UsageError, match=r"^input_range: \(1, 0\) is not legal; expected two rising numbers$"):
        copy_weights(tiny(), tiny(), input_range=(1, 0))

"""Scales of 8 significant bits: nearly the same network, and a file that zips better."""

from __future__ import annotations

from pathlib import Path

from core.keras_env import keras

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

import deploy.convert
from deploy.convert import convert
from deploy.flatbuffer import read
from deploy.interpreter import predict
from deploy.packing import packed, unpacked
from deploy.release import zipped_bytes
from deploy.scales import is_pruned_or_clustered, rounded, shorten_scales
from deploy.schemes import CONVERTIBLE, FULL_INTEGER
from search.dataset import ImageSet
from tests.deploy.conftest import compressed

Digits = tuple[ImageSet, ImageSet]
UNROUNDED = tuple(scheme for scheme in CONVERTIBLE if scheme != FULL_INTEGER)


def test_rounded_to_the_nearest() -> None:
    scales = np.float32([1.0, 1 + 1 / 128, 1 + 1 / 512, 0.003, 1e-7])
    found = rounded(scales)
    assert found[:3].tolist() == [1.0, 1 + 1 / 128, 1.0]
    # Half a step, where 128 of them make the number; a thousandth more for float32 rounding.
    assert np.abs(found / scales - 1).max() <= 0.5 / 128 * 1.001
    np.testing.assert_array_equal(found.view(np.uint32) & 0xFFFF, 0)  # a bfloat16: the lower half is empty


@pytest.fixture(scope="module")
def plain_and_short(planted: keras.Model, calibration: np.ndarray) -> tuple[bytes, bytes]:
    """A pruned and clustered network converted without short scales and as it is converted."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deploy.convert, "is_pruned_or_clustered", lambda model: False)
        plain = convert(planted, FULL_INTEGER, calibration).content
    return plain, convert(planted, FULL_INTEGER, calibration).content


def test_weights_stay_and_biases_follow(plain_and_short: tuple[bytes, bytes], digits: Digits) -> None:
    plain, short = plain_and_short
    before, after = read(plain), read(short)
    assert len(after.weights) == 6
    for old, new in zip(before.weights, after.weights, strict=True):
        np.testing.assert_array_equal(new.values, old.values)
        np.testing.assert_array_equal(np.float32(new.scales), rounded(np.float32(old.scales)))
    for scale, old_scale, bias, old_bias in biases(short, plain):
        # The same real bias, to half a step of its int32.
        np.testing.assert_allclose(bias * scale, old_bias * old_scale, atol=0.51 * scale.max())
    images = digits[1].rgb(slice(0, 200))
    # A channel changes by 0.4 % at most, about a step of an activation: undecided images alone may change sides.
    assert np.mean(predict(short, images).argmax(1) == predict(plain, images).argmax(1)) >= 0.98


def test_the_file_zips_better(plain_and_short: tuple[bytes, bytes]) -> None:
    plain, short = plain_and_short
    assert len(short) <= len(plain)
    # 122 channels in a kernel's and in a bias' scales: half of the former's bytes are zeros now.
    assert zipped_bytes(plain) - zipped_bytes(short) > 122


def biases(content: bytes, old: bytes) -> list[tuple[np.ndarray, ...]]:
    """(scales, old scales, values, old values) of the biases of both files, and their scales are input times kernel."""
    found = []
    for model in (unpacked(content), unpacked(old)):
        graph, rows = model.subgraphs[0], []
        for operator in graph.operators:
            if len(operator.inputs) == 3:
                image, kernel, bias = (graph.tensors[int(index)] for index in operator.inputs)
                np.testing.assert_array_equal(
                    bias.quantization.scale, np.float32(image.quantization.scale) * kernel.quantization.scale
                )
                values = np.asarray(model.buffers[bias.buffer].data).view(np.int32)
                rows.append((bias.quantization.scale.astype(np.float64), values))
        found.append(rows)
    assert len(found[0]) == len(found[1]) == 6
    return [(new[0], old[0], new[1], old[1]) for new, old in zip(*found, strict=True)]


def test_the_largest_bias_does_not_turn_over(files: dict[str, Path]) -> None:
    """Of a channel of tiny weights the bias may be near the ends of int32, and a smaller scale leads past them."""
    model = unpacked(files[FULL_INTEGER].read_bytes())
    graph = model.subgraphs[0]
    operator = next(operator for operator in graph.operators if len(operator.inputs) == 3)
    bias = graph.tensors[int(operator.inputs[2])]
    shape = model.buffers[bias.buffer].data.view(np.int32).shape
    model.buffers.append(schema.BufferT(data=np.full(shape, 2**31 - 1, np.int32).view(np.uint8)))
    bias.buffer = len(model.buffers) - 1
    shorten_scales(model)
    assert (np.asarray(model.buffers[bias.buffer].data).view(np.int32) > 0).all()
    assert packed(model)


def test_networks_that_are_neither_pruned_nor_clustered_keep_their_scales(
    network: keras.Model, files: dict[str, Path]
) -> None:
    assert not is_pruned_or_clustered(network)
    scales = np.concatenate([np.float32(weight.scales) for weight in read(files[FULL_INTEGER]).weights])
    assert (scales.view(np.uint32) & 0xFFFF).any()


def test_what_counts_as_pruned_or_clustered(planted: keras.Model, network: keras.Model) -> None:
    assert is_pruned_or_clustered(planted)
    clustered = keras.models.clone_model(network)
    clustered.set_weights(network.get_weights())
    last = clustered.get_layer("last")  # which holds most of the weights
    kernel = last.kernel.numpy()
    last.kernel.assign(np.round(kernel / np.abs(kernel).max() * 8) + 20)  # 17 values, none of them zero
    assert is_pruned_or_clustered(clustered)
    few = keras.models.clone_model(network)
    few.set_weights(network.get_weights())
    few.get_layer("expand").kernel.assign(compressed(network.get_layer("expand").kernel.numpy()))
    assert not is_pruned_or_clustered(few)


def test_quantization_aware_networks_are_looked_into(quantization_aware: keras.Model) -> None:
    assert not is_pruned_or_clustered(quantization_aware)
    before = quantization_aware.get_weights()
    for variable in quantization_aware.get_layer("quant_last").weights:
        if variable.name.endswith("/kernel:0"):
            variable.assign(compressed(variable.numpy()))
    try:
        assert is_pruned_or_clustered(quantization_aware)
    finally:
        quantization_aware.set_weights(before)


@pytest.mark.parametrize("scheme", UNROUNDED)
def test_other_schemes_keep_their_scales(planted: keras.Model, calibration: np.ndarray, scheme: str) -> None:
    scales = [np.float32(weight.scales) for weight in read(convert(planted, scheme, calibration).content).weights]
    joined = np.concatenate(scales)
    assert not len(joined) or (joined.view(np.uint32) & 0xFFFF).any()

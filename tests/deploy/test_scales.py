"""Scales of 8 significant bits: nearly the same network, and a file that zips better."""

from __future__ import annotations

import zlib
from pathlib import Path

from core.keras_env import keras

import numpy as np

from deploy.convert import convert
from deploy.flatbuffer import read
from deploy.interpreter import predict
from deploy.packing import unpacked
from deploy.scales import rounded
from search.dataset import ImageSet

Digits = tuple[ImageSet, ImageSet]


def test_rounded_to_the_nearest() -> None:
    scales = np.float32([1.0, 1 + 1 / 128, 1 + 1 / 512, 0.003, 1e-7])
    found = rounded(scales)
    assert found[:3].tolist() == [1.0, 1 + 1 / 128, 1.0]
    # Half a step, where 128 of them make the number; a thousandth more for float32 rounding.
    assert np.abs(found / scales - 1).max() <= 0.5 / 128 * 1.001
    np.testing.assert_array_equal(found.view(np.uint32) & 0xFFFF, 0)  # a bfloat16: the lower half is empty


def test_weights_stay_and_biases_follow(
    network: keras.Model, calibration: np.ndarray, files: dict[str, Path], digits: Digits
) -> None:
    content = convert(network, "full_integer", calibration, short_scales=True).content
    before, after = read(files["full_integer"]), read(content)
    for old, new in zip(before.weights, after.weights, strict=True):
        np.testing.assert_array_equal(new.values, old.values)
        np.testing.assert_array_equal(np.float32(new.scales), rounded(np.float32(old.scales)))
    for scale, old_scale, bias, old_bias in biases(content, files["full_integer"].read_bytes()):
        # The same real bias, to half a step of its int32.
        np.testing.assert_allclose(bias * scale, old_bias * old_scale, atol=0.51 * scale.max())
    images = digits[1].rgb(slice(0, 200))
    found, expected = predict(content, images), predict(files["full_integer"], images)
    # A channel changes by 0.4 % at most, about a step of an activation: undecided images alone may change sides.
    assert np.mean(found.argmax(1) == expected.argmax(1)) >= 0.98
    assert len(zlib.compress(content, 9)) < len(zlib.compress(files["full_integer"].read_bytes(), 9))
    assert len(content) <= files["full_integer"].stat().st_size


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


def test_float_files_have_no_scales_to_round(network: keras.Model, files: dict[str, Path]) -> None:
    assert convert(network, "float32", short_scales=True).content == files["float32"].read_bytes()

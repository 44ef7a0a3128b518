from __future__ import annotations

import zlib

import numpy as np
import numpy.typing as npt
import pytest

from deploy.codebook import codebook, codebook_sizes
from deploy.flatbuffer import WeightTensor


def kernel(values: npt.NDArray[np.generic], channel_axis: int | None = None) -> WeightTensor:
    return WeightTensor("w", "y", "CONV_2D", values, 0, channel_axis, bits=8 * values.itemsize)


def test_one_table_of_equally_frequent_values() -> None:
    values = np.tile(np.array([0.0, 0.5, -1.0, 2.0], np.float32), 25)
    found = codebook("dense", kernel(values.reshape(10, 10)))
    assert (found.layer, found.weights, found.values, found.tables, found.index_bits) == ("dense", 100, 4, 1, 2)
    assert found.table_bytes == found.entropy_bytes == 4 * 4 + 100 * 2 // 8
    assert found.stored_bytes == 400
    assert found.zipped_bytes == len(zlib.compress(values.tobytes(), 9))


def test_entropy_is_less_where_one_value_prevails() -> None:
    values = np.zeros(1024, np.int8)
    values[:128] = 5  # 1/8: 0.5436 bits a weight
    found = codebook("pruned", kernel(values))
    assert found.table_bytes == 2 + 1024 // 8
    assert found.entropy_bytes == pytest.approx(2 + 0.5436 * 1024 / 8, abs=1)  # rounded up to a byte


def test_number_of_values_is_rounded_up_to_bits() -> None:
    for count, bits in ((1, 0), (2, 1), (3, 2), (16, 4), (17, 5)):
        assert codebook("a", kernel(np.arange(count, dtype=np.int8))).index_bits == bits


def test_channels_of_their_own_scale_get_tables_of_their_own() -> None:
    """Sixteen values in each channel, of which no two channels share any."""
    rng = np.random.default_rng(0)
    clusters = rng.integers(0, 16, (4, 1, 1, 4096))
    values = (clusters + 20 * np.arange(4)[:, None, None, None]).astype(np.int8)
    found = codebook("conv", kernel(values, channel_axis=0))
    assert (found.tables, found.values, found.index_bits) == (4, 16, 4)
    assert found.table_bytes == 4 * 16 + values.size // 2


def test_sums_take_a_kernel_as_stored_where_a_table_would_be_larger() -> None:
    distinct = kernel(np.arange(200, dtype=np.float32))
    shared = kernel(np.zeros(200, np.float32))
    found = codebook_sizes({"a": distinct, "b": shared})
    assert found.layers[0].table_bytes > found.layers[0].stored_bytes == 800
    assert found.table_bytes == 800 + 4
    assert found.stored_bytes == 1600
    assert found.entropy_bytes == 800 + 4
    assert found.zipped_bytes == sum(layer.zipped_bytes for layer in found.layers)

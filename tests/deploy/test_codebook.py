from __future__ import annotations

import numpy as np
import numpy.typing as npt

from deploy.codebook import codebook_bytes
from deploy.flatbuffer import WeightTensor


def kernel(values: npt.NDArray[np.generic]) -> WeightTensor:
    return WeightTensor("w", "y", "CONV_2D", values, 0, 0, bits=8 * values.itemsize)


def test_one_table_of_four_values() -> None:
    values = np.tile(np.array([0.0, 0.5, -1.0, 2.0], np.float32), 25).reshape(10, 10)
    assert codebook_bytes([kernel(values)]) == 4 * 4 + 100 * 2 // 8


def test_number_of_values_is_rounded_up_to_bits() -> None:
    for count, bits in ((1, 0), (2, 1), (3, 2), (16, 4), (17, 5)):
        values = np.resize(np.arange(count, dtype=np.int8), (1, 8000))
        assert codebook_bytes([kernel(values)]) == count + 1000 * bits


def test_channels_of_their_own_scale_get_tables_of_their_own() -> None:
    """Sixteen values in each channel, of which no two channels share any."""
    rng = np.random.default_rng(0)
    clusters = rng.integers(0, 16, (4, 1, 1, 4096))
    values = (clusters + 20 * np.arange(4)[:, None, None, None]).astype(np.int8)
    assert codebook_bytes([kernel(values)]) == 4 * 16 + values.size // 2


def test_a_kernel_is_as_stored_where_a_table_would_be_larger() -> None:
    distinct = kernel(np.arange(200, dtype=np.float32).reshape(2, 100))
    shared = kernel(np.zeros((1, 200), np.float32))
    assert codebook_bytes([distinct, shared]) == 800 + 4


def test_bits_are_rounded_up_to_bytes() -> None:
    assert codebook_bytes([kernel(np.array([[0, 0, 0, 0, 0, 1, 1, 1, 1]], np.int8))]) == 2 + 2

"""The factorizations themselves, against known answers. No training."""

from __future__ import annotations

from core.keras_env import tf

import numpy as np
import pytest

from compress.low_rank.decompose import energy_kept, spatial_svd, svd, tucker2

# Float32 factors of a float32 kernel: 1e-7 relative each, sums of up to 100 products.
EXACT = 1e-5


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("shape", [(30, 50), (50, 30), (40, 40)])
def test_svd_is_the_best_of_its_rank(shape: tuple[int, int]) -> None:
    """The error of the best approximation is the rest of the singular values (Eckart & Young)."""
    matrix = noise(*shape)
    sizes = np.linalg.svd(matrix, compute_uv=False)
    for rank in (1, 7, min(shape)):
        first, last = svd(matrix, rank)
        assert first.shape == (shape[0], rank) and last.shape == (rank, shape[1])
        np.testing.assert_allclose(first.T @ first, np.eye(rank), atol=EXACT)
        error = np.linalg.norm(matrix - first @ last)
        assert error == pytest.approx(np.sqrt(np.sum(sizes[rank:] ** 2)), abs=1e-4)  # the norm is 40


def test_svd_finds_the_true_rank() -> None:
    matrix = noise(30, 5) @ noise(5, 40)
    first, last = svd(matrix, 20)
    assert first.shape[1] <= 20
    np.testing.assert_allclose(first @ last, matrix, atol=EXACT)
    exact = np.outer(np.arange(1, 9), np.ones(6)).astype(np.float32)
    assert svd(exact, 6)[0].shape == (8, 1)


def test_a_thousand_by_a_thousand_at_rank_100_has_200000_weights() -> None:
    factors = svd(noise(1000, 1000), 100)
    assert sum(factor.size for factor in factors) == 200_000


def test_full_ranks_lose_nothing() -> None:
    kernel = noise(3, 5, 6, 8)
    for factors in (spatial_svd(kernel, 99), tucker2(kernel, 6, 8)):
        assert energy_kept(kernel, factors) == pytest.approx(1.0, abs=1e-9)  # squares of EXACT


def test_factors_are_the_convolutions_they_stand_for() -> None:
    """Convolving with the factors is convolving with the kernel that `energy_kept` compares."""
    low = np.einsum("hir,wro->hwio", noise(3, 6, 2), noise(3, 2, 8)).astype(np.float32)  # of spatial rank 2
    image = noise(2, 9, 9, 6)
    expected = tf.nn.conv2d(image, low, 1, "SAME")
    for factors in (spatial_svd(low, 2), tucker2(low, 6, 8)):
        found = image
        for factor in factors:
            found = tf.nn.conv2d(found, factor, 1, "SAME")
        np.testing.assert_allclose(found, expected, atol=1e-3)  # values up to 50
    assert energy_kept(low, spatial_svd(low, 2)) == pytest.approx(1.0, abs=1e-9)


def test_spatial_svd_splits_a_blur_into_two() -> None:
    blur = np.outer([1, 2, 1], [1, 2, 1]).reshape(3, 3, 1, 1)
    vertical, horizontal = spatial_svd(blur, 3)
    assert vertical.shape == (3, 1, 1, 1) and horizontal.shape == (1, 3, 1, 1)
    np.testing.assert_allclose(vertical[:, 0, 0, 0] / vertical[0, 0, 0, 0], [1, 2, 1], atol=EXACT)


def test_tucker_iteration_only_improves_on_truncation() -> None:
    kernel = noise(3, 3, 10, 12)
    truncated = truncation(kernel, 4, 5)
    iterated = energy_kept(kernel, tucker2(kernel, 4, 5))
    assert truncated < iterated < 1.0
    first, core, last = tucker2(kernel, 4, 5)
    # The factors are orthonormal, so the core holds all the energy that is kept.
    assert np.sum(core**2) / np.sum(kernel**2) == pytest.approx(iterated, abs=EXACT)
    assert first.shape == (1, 1, 10, 4) and last.shape == (1, 1, 5, 12)


def truncation(kernel: np.ndarray, in_rank: int, out_rank: int) -> float:
    """The energy of higher-order SVD, by NumPy's own SVD of the two unfoldings."""
    left = np.linalg.svd(np.moveaxis(kernel, 2, 0).reshape(kernel.shape[2], -1))[0][:, :in_rank]
    right = np.linalg.svd(np.moveaxis(kernel, 3, 0).reshape(kernel.shape[3], -1))[0][:, :out_rank]
    return float(np.sum(np.einsum("hwio,ir,os->hwrs", kernel, left, right) ** 2) / np.sum(kernel**2))

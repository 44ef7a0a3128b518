"""Kernels as products of smaller kernels. Pure NumPy, in float64; factors are float32.

Every first factor has orthonormal columns and the last holds the sizes: the tensor between the two then has channels of
one scale, which an int8 range for the whole tensor serves best.
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

# Eigenvalues below this part of the largest are rounding: float32 kernels carry 7 digits, and these are squares.
RANK_TOLERANCE = 1e-13
HOOI_ROUNDS = 8


def svd(matrix: npt.ArrayLike, rank: int) -> tuple[Float32, Float32]:
    """The closest product of [a, rank] and [rank, b] to a matrix [a, b] (Eckart & Young 1936).

    The rank may come out smaller, if the matrix has no more.
    """
    whole = np.asarray(matrix, np.float64)
    a, b = whole.shape
    if a <= b:
        values, vectors = spectrum(whole)
        first = vectors[:, : min(rank, rank_of(values))]
        return _float32(first), _float32(first.T @ whole)
    values, vectors = spectrum(whole.T)
    rank = min(rank, rank_of(values))
    sizes, right = np.sqrt(values[:rank]), vectors[:, :rank]
    return _float32(whole @ right / sizes), _float32((right * sizes).T)


def spatial_svd(kernel: npt.ArrayLike, rank: int) -> tuple[Float32, Float32]:
    """A kernel [h, w, in, out] as one of [h, 1, in, rank] before one of [1, w, rank, out].

    Scheme 2 of Jaderberg et al. 2014 (arXiv:1405.3866), in the closed form of Tai et al. 2016 (arXiv:1511.06067).
    """
    height, width, channels, filters = np.shape(kernel)
    first, last = svd(spatial_matrix(kernel), rank)
    vertical = first.reshape(height, 1, channels, -1)
    return vertical, np.ascontiguousarray(last.reshape(-1, width, 1, filters).transpose(2, 1, 0, 3))


def tucker2(kernel: npt.ArrayLike, in_rank: int, out_rank: int) -> tuple[Float32, Float32, Float32]:
    """A kernel [h, w, in, out] as [1, 1, in, in_rank], [h, w, in_rank, out_rank] and [1, 1, out_rank, out].

    Tucker-2 (Kim et al. 2016, arXiv:1511.06530) by higher-order orthogonal iteration (De Lathauwer et al. 2000) from
    the truncated bases of both sides; each round keeps at least as much energy as the one before.
    """
    whole = np.asarray(kernel, np.float64)
    in_basis, out_basis = (basis[:, :rank] for basis, rank in zip(bases(whole), (in_rank, out_rank), strict=True))
    for _ in range(HOOI_ROUNDS):
        in_basis = spectrum(_unfolded(whole @ out_basis, 2))[1][:, :in_rank]
        out_basis = spectrum(_unfolded(np.einsum("hwio,ir->hwro", whole, in_basis), 3))[1][:, :out_rank]
    core = np.einsum("hwio,ir,os->hwrs", whole, in_basis, out_basis, optimize=True)
    return _float32(in_basis[None, None]), _float32(core), _float32(out_basis.T[None, None])


def spatial_matrix(kernel: npt.ArrayLike) -> Float64:
    """A kernel [h, w, in, out] as the matrix [h * in, w * out] whose rank `spatial_svd` lowers."""
    height, width, channels, filters = np.shape(kernel)
    whole = np.asarray(kernel, np.float64).transpose(0, 2, 1, 3)
    return whole.reshape(height * channels, width * filters)


def bases(kernel: Float64) -> tuple[Float64, Float64]:
    """Orthonormal bases [in, in] and [out, out] of a kernel [h, w, in, out], the directions of most energy first."""
    return spectrum(_unfolded(kernel, 2))[1], spectrum(_unfolded(kernel, 3))[1]


def spectrum(matrix: Float64) -> tuple[Float64, Float64]:
    """The squared singular values of [a, b], largest first, and the left singular vectors [a, a].

    From the eigenvalues of the smaller square: much faster than an SVD, and exact enough for float32.
    """
    values, vectors = np.linalg.eigh(matrix @ matrix.T)
    return np.maximum(values[::-1], 0.0), vectors[:, ::-1]


def rank_of(values: Float64) -> int:
    """The rank, at least 1, of a matrix with these squared singular values; what is smaller is rounding."""
    return max(1, int(np.count_nonzero(values > RANK_TOLERANCE * values[0])))


def energy_kept(kernel: npt.ArrayLike, factors: tuple[Float32, ...]) -> float:
    """The share 0..1 of a kernel's energy (sum of squares) that its factors keep: 1 - squared error / energy."""
    whole = np.asarray(kernel, np.float64)
    error = np.sum(np.square(whole - functools.reduce(_composed, factors)))
    return float(1.0 - error / np.sum(np.square(whole)))


def _composed(first: Float32, second: Float32) -> Float32:
    """The kernel of one layer after another; of convolutions, one is 1 wide wherever the other is wider."""
    if first.ndim == 2:
        return first @ second
    height, width = (max(first.shape[axis], second.shape[axis]) for axis in (0, 1))
    product = np.einsum("hwir,yxro->hywxio", first, second, optimize=True)
    return product.reshape(height, width, first.shape[2], second.shape[3])


def _unfolded(kernel: Float64, axis: int) -> Float64:
    return np.moveaxis(kernel, axis, 0).reshape(kernel.shape[axis], -1)


def _float32(values: Float64) -> Float32:
    return np.ascontiguousarray(values, np.float32)

"""Pruned kernels stored sparse, where that makes the file smaller.

TensorFlow's converter does the encoding (`Optimize.EXPERIMENTAL_SPARSITY`): a kernel with enough zeros is stored as
values and indices, behind a DENSIFY operator. On Arm, XNNPACK runs 1x1 convolutions of networks of the form "xnnpack"
(see compress.xnnpack) in float32 and float16 on the sparse kernel itself, if at least two thirds of it are zero;
anywhere else the runtime widens it when it loads the file, and only bytes are saved.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from core.keras_env import keras, tf

import numpy as np
import numpy.typing as npt
from ai_edge_litert.tools import flatbuffer_utils

from core.errors import bad_value, one_of
from deploy.convert import convert
from deploy.errors import ConversionError
from deploy.explicit_padding import pad_explicitly
from deploy.packing import packed, unpacked
from deploy.release import zipped_bytes
from deploy.schemes import FLOAT16, FLOAT32, FULL_INTEGER
from deploy.sparse_tensor import dense_values

# LiteRT refuses sparse kernels of dynamic-range models ("failed to delegate CONV_2D"); those of weight-only schemes
# are made by another tool, which has no such encoding.
SPARSE_SCHEMES = (FLOAT32, FLOAT16, FULL_INTEGER)


@dataclass(frozen=True, slots=True)
class SparseTensor:
    """A kernel that is stored sparse: its bytes as stored, and as they would be dense."""

    name: str
    shape: tuple[int, ...]
    sparsity: float
    stored_bytes: int
    dense_bytes: int


@dataclass(frozen=True, slots=True)
class Encoding:
    """A model stored dense and sparse: `content` is the smaller file of the two.

    `zipped` are the sizes after deflate, as in an app's package if it compresses its assets.
    """

    content: bytes
    is_sparse: bool
    dense_bytes: int
    sparse_bytes: int
    dense_zipped_bytes: int
    sparse_zipped_bytes: int
    tensors: tuple[SparseTensor, ...]

    @property
    def figures(self) -> dict[str, Any]:
        """Everything but the content, by name: what a report tells."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "content"}

    @property
    def summary(self) -> str:
        """Which of the two was kept, and both sizes, in words."""
        kept, other = ("sparse", "dense") if self.is_sparse else ("dense", "sparse")
        sizes = {"sparse": self.sparse_bytes, "dense": self.dense_bytes}
        return f"kernels stored {kept} ({sizes[kept] / 1000:.1f} kB), {other} {sizes[other] / 1000:.1f} kB"


def sparse_or_dense(
    model: keras.Model, scheme: str, calibration: npt.NDArray[np.float32] | None = None, dense: bytes | None = None
) -> Encoding:
    """Converts `model` with sparse kernels and without, and keeps the smaller file.

    Args:
      model, scheme, calibration: as for `deploy.convert.convert`; the scheme is one of SPARSE_SCHEMES.
      dense: what that made of the same model, if it is there already.

    Raises UsageError for a scheme without sparse kernels, and ConversionError if the model cannot be converted or the
    kernels of the two files differ.
    """
    if scheme not in SPARSE_SCHEMES:
        raise bad_value("scheme", scheme, one_of(SPARSE_SCHEMES) + " for sparse kernels")
    dense = convert(model, scheme, calibration).content if dense is None else dense
    sparse = convert(model, scheme, calibration, adjust=encode_sparse).content
    if scheme != FULL_INTEGER:  # which has no sparse kernels that could go wrong
        sparse = with_explicit_padding(sparse)
    return smaller(dense, sparse, model.name)


def encode_sparse(converter: Any) -> None:
    """Sets TensorFlow's converter to store sparse what has enough zeros (an `adjust` of `deploy.convert.convert`)."""
    converter.optimizations = [*(converter.optimizations or ()), tf.lite.Optimize.EXPERIMENTAL_SPARSITY]


def with_explicit_padding(content: bytes) -> bytes:
    """The file in a form in which XNNPACK's sparse kernels are right (see deploy.explicit_padding)."""
    file = unpacked(content)
    return packed(file) if pad_explicitly(file) else content


def smaller(dense: bytes, sparse: bytes, name: str) -> Encoding:
    """The smaller of two files of one model, the dense one if they are equally large.

    Raises ConversionError if the sparse file's kernels are not those of the dense one.
    """
    tensors, kernels = _sparse_kernels(sparse)
    _require_same(kernels, _constants(dense), name)
    is_sparse = bool(tensors) and len(sparse) < len(dense)
    return Encoding(
        content=sparse if is_sparse else dense,
        is_sparse=is_sparse,
        dense_bytes=len(dense),
        sparse_bytes=len(sparse),
        dense_zipped_bytes=zipped_bytes(dense),
        sparse_zipped_bytes=zipped_bytes(sparse),
        tensors=tensors,
    )


def _sparse_kernels(content: bytes) -> tuple[tuple[SparseTensor, ...], list[npt.NDArray[Any]]]:
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    found, kernels = [], []
    for tensor in model.subgraphs[0].tensors:
        if tensor.sparsity is None:
            continue
        stored = _stored(model, tensor)
        values = dense_values(tensor, stored)
        found.append(
            SparseTensor(
                name=tensor.name.decode(),
                shape=values.shape,
                sparsity=float(np.mean(values == 0)),
                stored_bytes=stored.nbytes + _index_bytes(tensor.sparsity),
                dense_bytes=values.nbytes,
            )
        )
        kernels.append(values)
    return tuple(found), kernels


def _constants(content: bytes) -> list[npt.NDArray[Any]]:
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    tensors = (tensor for tensor in model.subgraphs[0].tensors if tensor.sparsity is None)
    return [
        _stored(model, tensor).reshape(tensor.shape)
        for tensor in tensors
        if model.buffers[tensor.buffer].data is not None and len(model.buffers[tensor.buffer].data)
    ]


def _require_same(sparse: list[npt.NDArray[Any]], dense: list[npt.NDArray[Any]], name: str) -> None:
    """Each sparse kernel must be a constant of the dense file, value by value (their names may differ)."""
    for kernel in sparse:
        if not any(kernel.dtype == other.dtype and np.array_equal(kernel, other) for other in dense):
            raise ConversionError(f"{name}: a sparse kernel of shape {kernel.shape} is not in the dense file")


def _stored(model: Any, tensor: Any) -> npt.NDArray[Any]:
    dtype = str(flatbuffer_utils.type_to_name(tensor.type)).lower()
    return np.asarray(model.buffers[tensor.buffer].data, np.uint8).view(dtype)


def _index_bytes(sparsity: Any) -> int:
    arrays = [array for level in sparsity.dimMetadata for array in (level.arraySegments, level.arrayIndices)]
    sizes = {"Uint8VectorT": 1, "Uint16VectorT": 2, "Int32VectorT": 4}
    return sum(sizes[type(array).__name__] * len(array.values) for array in arrays if array is not None)

"""Writes a flatbuffer object as a .tflite that holds every vector once. No TensorFlow here.

Vectors and tables of a flatbuffer are reached by offsets, and any number of offsets may lead to one place. The
generated code nevertheless writes each tensor's vectors anew. In an int8 network most of those bytes are zero points:
eight bytes of zero for each channel of each kernel and of each bias, which here are one vector for each number of
channels.

Format: https://flatbuffers.dev/internals; schema: tensorflow/compiler/mlir/lite/schema/schema.fbs.
"""

from __future__ import annotations

import io
import zipfile
from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt
from ai_edge_litert.tools import flatbuffer_utils

FILE_IDENTIFIER = b"TFL3"
# The schema's force_align of Buffer.data: some kernels read constants in vectors of 16 bytes.
ALIGNMENT = 16
# Constants are merged by deploy.merge, buffer by buffer; remembering them here too would only cost memory.
LARGEST_SHARED_BYTES = 1 << 16
_NO_OFFSET = 1  # by the schema, 0 and 1 say that a constant lies in the flatbuffer
_SPARE_BYTES = 1 << 16  # for tables and names; the builder doubles its memory when it is full


def unpacked(content: bytes) -> Any:
    """The flatbuffer object (`ModelT`) of a .tflite, whose arrays are views of the content.

    Constants that lie behind the flatbuffer, where AI Edge Quantizer puts those of larger models, are taken into it.
    """
    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    for buffer in model.buffers:
        if buffer.offset > _NO_OFFSET:
            buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
        buffer.offset = buffer.size = 0
    return model


def packed(model: Any) -> bytes:
    """The file of a flatbuffer object, with the alignment of constants that the schema asks for."""
    builder = _Builder(_SPARE_BYTES + sum(len(buffer.data) for buffer in model.buffers if buffer.data is not None))
    operators = [operator for graph in model.subgraphs for operator in graph.operators]
    options = [operator.builtinOptions for operator in operators]
    try:
        for operator in operators:
            operator.builtinOptions = _once(operator.builtinOptions)
        builder.Finish(model.Pack(builder), file_identifier=FILE_IDENTIFIER)
    finally:
        for operator, table in zip(operators, options, strict=True):
            operator.builtinOptions = table
    return bytes(builder.Output())


def repacked(content: bytes) -> bytes:
    """A .tflite that another tool has written, with every vector once; files packed behind it (labels) stay there.

    Such a zip begins where the flatbuffer ends, and gets no time of day: equal models are equal files.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as old:
        start = min(entry.header_offset for entry in old.infolist())
        files = [(entry, old.read(entry)) for entry in old.infolist()]
    buffer = io.BytesIO(packed(unpacked(content[:start])))
    with zipfile.ZipFile(buffer, "a") as new:
        for entry, data in files:
            new.writestr(zipfile.ZipInfo(entry.filename), data, entry.compress_type)
    return buffer.getvalue()


class _Once:
    """A table of plain fields, in whose place the first one written with the same fields is used."""

    def __init__(self, table: Any) -> None:
        self._table = table
        self._key = type(table), tuple(sorted(vars(table).items()))

    def Pack(self, builder: _Builder) -> int:
        """The offset of the table."""
        if self._key not in builder.tables:
            builder.tables[self._key] = self._table.Pack(builder)
        return builder.tables[self._key]


def _once(table: Any) -> Any:
    is_plain = table is not None and all(isinstance(field, (int, float)) for field in vars(table).values())
    return _Once(table) if is_plain else table


class _Builder(flatbuffers.Builder):
    """Writes equal vectors, strings and operators' options once. A flatbuffer grows towards its beginning: what was
    written first comes last, so that all later tables can point to it."""

    def __init__(self, initial_size: int) -> None:
        super().__init__(initial_size)
        self._vectors: dict[tuple[str, bytes], int] = {}
        self._strings: dict[str | bytes, int] = {}
        self.tables: dict[Any, int] = {}

    def CreateNumpyVector(self, x: npt.NDArray[Any]) -> int:
        if x.dtype == np.uint8:  # constants
            self.Prep(ALIGNMENT, x.nbytes)
        if x.nbytes > LARGEST_SHARED_BYTES:
            return int(super().CreateNumpyVector(x))
        key = x.dtype.str, x.tobytes()
        if key not in self._vectors:
            self._vectors[key] = int(super().CreateNumpyVector(x))
        return self._vectors[key]

    def CreateString(self, s: str | bytes, *arguments: Any) -> int:
        if s not in self._strings:
            self._strings[s] = int(super().CreateString(s, *arguments))
        return self._strings[s]

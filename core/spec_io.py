"""Canonical JSON and content ids for frozen dataclasses.

Values that are equal have the same canonical JSON and so the same content id, whatever machine or run wrote them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import types
import typing
from pathlib import PurePath
from typing import Any, TypeVar

from core.errors import UsageError, one_line

T = TypeVar("T")


def to_plain(value: Any) -> Any:
    """`value` as JSON types: dataclasses become dicts, tuples lists, paths strings.

    Raises TypeError for a type that has no canonical JSON form.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    if isinstance(value, PurePath):
        return str(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"no canonical JSON for {type(value).__name__}: {value!r}")


def from_plain(cls: type[T], data: Any, where: str = "") -> T:
    """The inverse of `to_plain` for a dataclass type, checking names and types.

    Raises UsageError naming the place (`where`) of an unknown key, a missing key or a wrong type.
    """
    return typing.cast(T, _convert(cls, data, where or cls.__name__))


def canonical_json(value: Any) -> str:
    """JSON with sorted keys, no spaces and no NaN: equal values give equal text. Raises ValueError for NaN.

    Whole floats are written as integers, because 100 == 100.0; `from_plain` makes them floats again.
    """
    return json.dumps(_whole_as_int(to_plain(value)), sort_keys=True, separators=(",", ":"), allow_nan=False)


def content_id(value: Any, length: int = 16) -> str:
    """The first `length` hex digits of the SHA-256 of the canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:length]


def hashed_seed(text: str) -> int:
    """A seed below 2^31 that depends on the text alone; those of similar texts have nothing in common."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


def _whole_as_int(plain: Any) -> Any:
    if isinstance(plain, dict):
        return {key: _whole_as_int(item) for key, item in plain.items()}
    if isinstance(plain, list):
        return [_whole_as_int(item) for item in plain]
    return int(plain) if isinstance(plain, float) and plain.is_integer() else plain


def _convert(kind: Any, data: Any, where: str) -> Any:
    origin = typing.get_origin(kind)
    if kind is Any:
        return data
    if origin in (types.UnionType, typing.Union):
        return _convert_union(typing.get_args(kind), data, where)
    if dataclasses.is_dataclass(kind):
        return _convert_dataclass(typing.cast(type, kind), data, where)
    if origin is tuple:
        return _convert_tuple(typing.get_args(kind), data, where)
    if origin is dict:
        if not isinstance(data, dict):
            raise _wrong_type(where, data, "a mapping")
        value_kind = typing.get_args(kind)[1]
        return {key: _convert(value_kind, item, f"{where}.{key}") for key, item in data.items()}
    if kind is float and isinstance(data, int) and not isinstance(data, bool):
        return _as_float(data, where)
    if kind is type(None):
        kind_ok = data is None
    elif kind is int:
        kind_ok = isinstance(data, int) and not isinstance(data, bool)
    else:
        kind_ok = isinstance(data, kind)
    if not kind_ok:
        raise _wrong_type(where, data, _name(kind))
    return data


def _as_float(data: int, where: str) -> float:
    try:
        return float(data)
    except OverflowError as error:
        raise UsageError(f"{where}: {one_line(error)}") from error


def _convert_dataclass(cls: type, data: Any, where: str) -> Any:
    if isinstance(data, cls):
        return data
    if not isinstance(data, dict):
        raise _wrong_type(where, data, f"the keys of {cls.__name__}")
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}
    for key in data:
        if key not in fields:
            raise UsageError(f"{where}.{key}: unknown key; legal keys are {', '.join(sorted(fields))}")
    values = {}
    for name, field in fields.items():
        if name in data:
            values[name] = _convert(hints[name], data[name], f"{where}.{name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise UsageError(f"{where}.{name}: missing")
    return cls(**values)


def _convert_tuple(kinds: tuple[Any, ...], data: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(data, (list, tuple)):
        raise _wrong_type(where, data, "a list")
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        return tuple(_convert(kinds[0], item, f"{where}[{i}]") for i, item in enumerate(data))
    if len(kinds) != len(data):
        raise _wrong_type(where, data, f"{len(kinds)} items")
    return tuple(_convert(kind, item, f"{where}[{i}]") for i, (kind, item) in enumerate(zip(kinds, data, strict=True)))


def _convert_union(kinds: tuple[Any, ...], data: Any, where: str) -> Any:
    others = [kind for kind in kinds if kind is not type(None)]
    if data is None and len(others) < len(kinds):
        return None
    if len(others) == 1:  # "X | None": what is wrong with the X says more than a list of types
        return _convert(others[0], data, where)
    for kind in others:
        with contextlib.suppress(UsageError):
            return _convert(kind, data, where)
    raise _wrong_type(where, data, " or ".join(_name(kind) for kind in kinds))


def _wrong_type(where: str, data: Any, expected: str) -> UsageError:
    return UsageError(f"{where}: {data!r} has the wrong type; expected {expected}")


def _name(kind: Any) -> str:
    return "None" if kind is type(None) else getattr(kind, "__name__", str(kind))

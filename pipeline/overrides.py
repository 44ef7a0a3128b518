"""Command-line overrides, checked and put in the form that ml_collections' config_flags reads.

config_flags itself names only the unknown part of a key, cannot set a number to None, and takes "a,b" for one text.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterable, Sequence
from typing import Any

from ml_collections import ConfigDict

from core.errors import UsageError
from pipeline.config import Config

PREFIX = "config."
UNSET = "--unset="


def normalized(arguments: Iterable[str]) -> list[str]:
    """The arguments with `--config.KEY=None` as `--unset=KEY` and `--config.KEY=a,b` as a tuple of texts.

    Raises UsageError for a key that there is not, with those that there are.
    """
    return [_normalized(argument) for argument in arguments]


def unset(config: ConfigDict, keys: Sequence[str]) -> None:
    """Sets keys ("search.train_images") to None."""
    for key in keys:
        *parents, name = key.split(".")
        node = config
        for parent in parents:
            node = node[parent]
        node[name] = None


def _normalized(argument: str) -> str:
    name, equals, value = argument.lstrip("-").partition("=")
    if not argument.startswith("-") or not name.startswith(PREFIX):
        return argument
    kind = _kind(name)
    if equals and value.lower() == "none" and type(None) in typing.get_args(kind):
        return UNSET + name.removeprefix(PREFIX)
    if equals and kind == tuple[str, ...] and not value.startswith(("(", "[")):
        return f"--{name}={tuple(part.strip() for part in value.split(',') if part.strip())!r}"
    return argument


def _kind(name: str) -> Any:
    """The type of the config value that a key such as "config.search.epochs" names."""
    kind: Any = Config
    where, *parts = name.split(".")
    for part in parts:
        hints = typing.get_type_hints(kind) if dataclasses.is_dataclass(kind) else {}
        if part not in hints:
            legal = ", ".join(sorted(hints)) or "no keys below it"
            raise UsageError(f"--{name}: {where} has no key {part!r}; legal keys are {legal}")
        kind, where = hints[part], f"{where}.{part}"
    return kind

"""Targets in files: one TOML file for each, whose name (without .toml) is the target's."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from android_bench.settings import TARGETS, check_target
from core.errors import UsageError, bad_value, one_line
from core.spec_io import from_plain
from core.values import Target

# `name` is the file's.
KEYS = tuple(name for name in Target.__dataclass_fields__ if name != "name")


def read_target(path: Path) -> Target:
    """The target that a file describes; `num_threads` is 0 if the file leaves it to the configuration.

    Raises UsageError in one line: a file that cannot be read or is no TOML, an unknown key, a wrong type, an illegal
    value or combination, each with the file, the key, the value and what is legal.
    """
    values, where = _read(path), f"{path}: target"
    for key in values:
        if key not in KEYS:
            raise UsageError(f"{path}: {key} = {values[key]!r}: unknown key; legal keys are {', '.join(KEYS)}")
    if values.get("num_threads") == 0:
        raise bad_value(f"{where}.num_threads", 0, "a number from 1, or no num_threads at all")
    target = from_plain(Target, {"num_threads": 0, **values, "name": path.stem}, where)
    check_target(target, where)
    if target.name in TARGETS:
        raise bad_value(f"{where}.name", target.name, f"a file's name other than those built in: {', '.join(TARGETS)}")
    return target


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); expected a target's .toml file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not a TOML file: {one_line(error)}") from error

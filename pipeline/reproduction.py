"""The command line that makes a run again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from pipeline.release_config import PUBLICATION

PROGRAM = ("python", "-m", "pipeline.main")
# Flags that decide what is made. The others tell where devices are, or what is to be shown.
FLAGS = (
    *("model", "data", "input_range", "allow_custom"),
    *("arch", "max_macs", "max_latency_us", "target", "latency_table"),
)


def command_line(
    command: str,
    config_file: str,
    overrides: Mapping[str, Any],
    flags: Mapping[str, Any],
    workdir: str = "",
    out: str = "",
) -> str:
    """One line for a shell; it gives the same configuration again, but for where the release is published.

    Args:
      config_file: as it was given; "" if none was.
      overrides: keys ("search.max_trials") and the values that took the place of the file's.
      flags: those of the command line, of which FLAGS are taken.
      workdir, out: as they were given; "" if they were not.
    """
    words = [f"--{name}={_text(flags[name])}" for name in FLAGS if name in flags]
    folders = [f"--{name}={path}" for name, path in (("workdir", workdir), ("out", out)) if path]
    file = [f"--config={config_file}"] if config_file else []
    changed = [f"--config.{key}={_text(value)}" for key, value in overrides.items() if not _is_publication(key)]
    return shlex.join([*PROGRAM, command, *file, *folders, *words, *changed])


def _is_publication(key: str) -> bool:
    section, _, name = key.partition(".")
    return section == "release" and name in PUBLICATION


def _text(value: Any) -> str:
    """A value as pipeline.overrides and config_flags read it back."""
    if not isinstance(value, (tuple, list)):
        return str(value)
    return ",".join(value) if value and all(map(_is_plain, value)) else repr(tuple(value))


def _is_plain(item: Any) -> bool:
    """Whether an item can stand in a list of texts without quotation marks."""
    return isinstance(item, str) and item == item.strip() and bool(item) and not set(item) & set(",([")

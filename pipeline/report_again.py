"""What a report says of doing its run again: a configuration's file and the command."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from core.spec_io import to_plain
from pipeline.config import Config
from pipeline.report_data import RunReport


def file_name(report: RunReport) -> str:
    """What the configuration's file is called here."""
    return f"{report.release}.py"


def command(report: RunReport) -> str:
    """The command line with `config_file`."""
    return f"python -m pipeline.main run --config={file_name(report)} --workdir=out/{report.release}"


def config_file(report: RunReport) -> str:
    """The text of a configuration file that repeats the run: every key that differs from today's default."""
    changed = list(_differences(to_plain(Config()), report.config, "config"))
    lines = [f"    {key} = {_literal(value)}" for key, value in changed]
    start = ["from pipeline.config import default_config", "", "", "def get_config():", "    config = default_config()"]
    return "\n".join([*start, *lines, "    return config", ""])


def _literal(value: Any) -> str:
    return repr(tuple(value) if isinstance(value, list) else value)


def _differences(default: dict[str, Any], own: dict[str, Any], where: str) -> Iterator[tuple[str, Any]]:
    for key, value in own.items():
        if isinstance(value, dict):
            yield from _differences(default.get(key, {}), value, f"{where}.{key}")
        elif key not in default or default[key] != value:
            yield f"{where}.{key}", value

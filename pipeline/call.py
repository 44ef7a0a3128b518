"""What a command gets of the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from android_bench.connections import Connections
from core.errors import UsageError, bad_value
from pipeline.config import Config


@dataclass(frozen=True)
class Call:
    """One command: its arguments and the flags that were given. `config` and `workdir` raise UsageError if theirs is
    missing; `has_config` and `has_workdir` tell without."""

    arguments: tuple[str, ...]
    flags: dict[str, Any]
    config: Callable[[], Config]
    workdir: Callable[[], Path]
    has_config: bool
    has_workdir: bool

    def no_arguments(self, command: str) -> None:
        """Raises UsageError if there are any."""
        if self.arguments:
            raise UsageError(f"{command}: unexpected {' '.join(self.arguments)}; it takes flags only")

    def needed(self, name: str, what: str) -> Any:
        """A flag's value. Raises UsageError if it was not given."""
        if not self.flags.get(name):
            raise UsageError(f"--{name}: missing; expected {what}")
        return self.flags[name]

    def connections(self) -> Connections:
        """Where the targets are."""
        return connections(self.flags)


def connections(flags: dict[str, Any]) -> Connections:
    """The Connections that flags describe. Raises UsageError for one that cannot be read."""
    return Connections(
        serials=_pairs("serial", flags.get("serial") or ()),
        hosts=_pairs("ssh", flags.get("ssh") or ()),
        benchmark_model=_pairs("benchmark_model", flags.get("benchmark_model") or ()),
        remote_python=_pairs("remote_python", flags.get("remote_python") or ()),
        apk=flags.get("apk") or "",
        ssh_config=flags.get("ssh_config") or "",
    )


def _pairs(flag: str, texts: Iterable[str]) -> dict[str, str]:
    """KEY=VALUE texts as a dictionary; a text without "=" has the key ""."""
    found: dict[str, str] = {}
    for text in texts:
        key, _, value = text.rpartition("=")
        if not value or key in found:
            raise bad_value(f"--{flag}", text, "VALUE or NAME=VALUE, each name once")
        found[key] = value
    return found

"""What a command gets of the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from android_bench.connections import Connections
from android_bench.fetch_tool import fetch_tool
from core.errors import UsageError, bad_value
from pipeline.config import Config

CHECKSUM = "#sha256="  # between a URL and the checksum of what it must give


@dataclass(frozen=True)
class Call:
    """One command: its arguments and the flags that were given. `config` and `workdir` raise UsageError if theirs is
    missing; `has_config` and `has_workdir` tell without. `reproduction` is the command line that makes the same again,
    "" without a configuration."""

    arguments: tuple[str, ...]
    flags: dict[str, Any]
    config: Callable[[], Config]
    workdir: Callable[[], Path]
    has_config: bool
    has_workdir: bool
    reproduction: str = ""

    def no_arguments(self, command: str) -> None:
        """Raises UsageError if there are any."""
        if self.arguments:
            raise UsageError(f"{command}: unexpected {' '.join(self.arguments)}; it takes flags only")

    def needed(self, name: str, what: str) -> Any:
        """A flag's value. Raises UsageError if it was not given."""
        if not self.flags.get(name):
            raise UsageError(f"--{name}: missing; expected {what}")
        return self.flags[name]

    def file(self, name: str) -> Path | None:
        """The path that a flag names; None if it was not given."""
        return Path(self.needed(name, "a file's path")) if name in self.flags else None

    def connections(self) -> Connections:
        """Where the targets are."""
        return connections(self.flags)


def connections(flags: dict[str, Any]) -> Connections:
    """The Connections that flags describe; a tool that is named by its URL is fetched, once.

    Raises UsageError for a flag that cannot be read, LitesmithError if a download fails.
    """
    tools = flags.get("benchmark_model") or ()
    return Connections(
        serials=_pairs("serial", flags.get("serial") or ()),
        hosts=_pairs("ssh", flags.get("ssh") or ()),
        benchmark_model={abi: _local(file) for abi, file in _pairs("benchmark_model", tools).items()},
        remote_python=_pairs("remote_python", flags.get("remote_python") or ()),
        apk=flags.get("apk") or "",
        ssh_config=flags.get("ssh_config") or "",
    )


def _local(file: str) -> str:
    """A file of this computer; one behind a URL, which must end in its checksum, is fetched."""
    if not file.startswith(("http://", "https://")):
        return file
    url, mark, checksum = file.partition(CHECKSUM)
    if not mark:
        raise bad_value("--benchmark_model", file, f"a URL that ends in {CHECKSUM} and the file's checksum")
    return str(fetch_tool(url, checksum, Path.home() / ".cache" / "litesmith"))


def _pairs(flag: str, texts: Iterable[str]) -> dict[str, str]:
    """KEY=VALUE texts as a dictionary; a text without KEY has the key ""."""
    found: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or "/" in key:  # no name holds a slash: the "=" is one of a path or a URL
            key, value = "", text
        if not value or key in found:
            raise bad_value(f"--{flag}", text, "VALUE or NAME=VALUE, each name once")
        found[key] = value
    return found

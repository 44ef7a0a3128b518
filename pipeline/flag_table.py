"""The flags of the command line, in one table: the type of each, and the commands that take it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from absl import flags

from core.errors import UsageError

_RUN = ("run", "compress", "convert", "bench", "report")
_WHOLE_RUN = (*_RUN, "search")
_MEASURING = (*_WHOLE_RUN, "scale", "extract", "devices", "benchmark", "latency_table")
_STORE = ("release", "list", "show", "diff", "pull")


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag: `kind` is "text", "list" (comma-separated), "many" (given several times), "int", "float" or "bool"."""

    kind: str
    commands: tuple[str, ...]
    help: str


TABLE = {
    "model": Flag("text", (*_RUN, "pull"), "a Keras model of yours, or a model of a release"),
    "data": Flag("text", _RUN, "its images"),
    "input_range": Flag("text", _RUN, "of the images that it was trained on"),
    "allow_custom": Flag("bool", _RUN, "load its custom objects"),
    "resolution": Flag("int", ("describe", "scale", "latency_table"), "of the network"),
    "num_classes": Flag("int", ("describe", "scale", "latency_table"), "of the network"),
    "width_multiplier": Flag("float", ("describe",), "of the network"),
    "arch": Flag("text", ("scale", "extract"), "the network"),
    "max_macs": Flag("float", ("scale", "extract"), "budget"),
    "max_latency_us": Flag("float", ("scale", "extract", "pull"), "budget"),
    "alpha": Flag("float", ("scale",), "growth of depth"),
    "beta": Flag("float", ("scale",), "growth of width"),
    "gamma": Flag("float", ("scale",), "growth of resolution"),
    "grid_step": Flag("float", ("scale",), "of the grid search"),
    "models": Flag("list", ("benchmark",), ".tflite files"),
    "targets": Flag("list", ("benchmark",), "what to measure on"),
    "out": Flag(
        "text", ("benchmark", "compare", "latency_table", "extract", "pull", "release"), "where the result goes"
    ),
    "before": Flag("text", ("compare",), "the earlier result"),
    "after": Flag("text", ("compare",), "the later result"),
    "results": Flag("text", ("compare",), "the result that has both targets"),
    "space": Flag("text", ("latency_table",), "search space"),
    "target": Flag("text", ("latency_table", "extract", "pull"), "what is measured on"),
    "latency_table": Flag("text", ("extract",), "what predicts latencies"),
    "scheme": Flag("text", ("latency_table",), "full_integer or float32"),
    "store": Flag("text", _STORE, "folder or URL of the releases"),
    "release": Flag("text", ("release", "pull"), "ID or channel"),
    "channel": Flag("text", ("release",), "what points to the release"),
    "sign_key": Flag("text", ("release",), "file of the private key"),
    "public_key": Flag("text", ("pull", "show", "diff", "verify"), "file of the public key"),
    "allow_regression": Flag("bool", ("release",), "publish what the gates refuse"),
    "min_accuracy": Flag("float", ("pull",), "limit"),
    "max_size_bytes": Flag("int", ("pull",), "limit"),
    "prefer": Flag("text", ("pull",), "accuracy, latency or size"),
    "json": Flag("bool", ("status", *_WHOLE_RUN, "list", "show", "diff"), "as JSON"),
    "serial": Flag("many", _MEASURING, "of the Android device"),
    "ssh": Flag("many", _MEASURING, "where a board is"),
    "benchmark_model": Flag("many", _MEASURING, "the tool's file"),
    "remote_python": Flag("many", _MEASURING, "the Python of a board"),
    "apk": Flag("text", _MEASURING, "the tool's app"),
    "ssh_config": Flag("text", _MEASURING, "for ssh"),
}


# The flags that all runs have, which are defined elsewhere, and who else takes them.
RUN_FLAGS = {
    "config": (*_WHOLE_RUN, "scale", "extract", "benchmark", "latency_table"),
    "workdir": (*_WHOLE_RUN, "status", "scale", "extract", "release"),
    "dry_run": _WHOLE_RUN,
    "new_config": _WHOLE_RUN,
    "unset": (*_WHOLE_RUN, "scale", "extract", "benchmark", "latency_table"),
}


def define(flag_values: flags.FlagValues) -> None:
    """Registers all flags of TABLE; what is not given is None."""
    makers: dict[str, Any] = {
        "text": flags.DEFINE_string,
        "list": flags.DEFINE_list,
        "many": flags.DEFINE_multi_string,
        "int": flags.DEFINE_integer,
        "float": flags.DEFINE_float,
        "bool": flags.DEFINE_bool,
    }
    for name, flag in TABLE.items():
        makers[flag.kind](name, None, flag.help, flag_values=flag_values)


def given(flag_values: flags.FlagValues) -> dict[str, Any]:
    """The flags of TABLE that are on the command line."""
    return {name: flag_values[name].value for name in TABLE if flag_values[name].present}


def given_of_runs(flag_values: flags.FlagValues) -> list[str]:
    """Those of RUN_FLAGS that are on the command line."""
    return [name for name in RUN_FLAGS if flag_values[name].present]


def check(command: str, names: Iterable[str]) -> None:
    """Raises UsageError for a flag of either table that the command does not take."""
    for name in names:
        owners = RUN_FLAGS[name] if name in RUN_FLAGS else TABLE[name].commands
        if command not in owners:
            does = "does" if len(owners) == 1 else "do"
            raise UsageError(f"--{name}: {command} does not take it; only {', '.join(owners)} {does}")

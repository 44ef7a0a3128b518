"""What TensorBoard's own reader finds in a folder of logs."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

# TensorBoard takes TensorFlow where it is installed, unless there is a module of this name (tensorboard.compat): its
# own reader of files is enough, and begins at once.
sys.modules.setdefault("tensorboard.compat.notf", ModuleType("tensorboard.compat.notf"))

from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer  # noqa: E402
from tensorboard.plugins.hparams import metadata  # noqa: E402
from tensorboard.plugins.hparams.api_pb2 import STATUS_SUCCESS  # noqa: E402

Curves = dict[str, list[tuple[int, float]]]


def curves(folder: Path) -> dict[str, Curves]:
    """(step, value) of each point, by run (a folder below `folder`, "." for itself) and tag."""
    reader = _read(folder)
    return {
        run: {tag: [(point.step, point.value) for point in reader.Scalars(run, tag)] for tag in tags["scalars"]}
        for run, tags in reader.Runs().items()
    }


def rows(folder: Path) -> dict[str, tuple[str, dict[str, object], bool]]:
    """The rows of the page HPARAMS by run: title, hyperparameters, and whether it succeeded."""
    reader, found = _read(folder), {}
    for run, tags in reader.Runs().items():
        if metadata.SESSION_START_INFO_TAG not in tags["tensors"]:
            continue
        start, end = (
            reader.SummaryMetadata(run, tag).plugin_data.content
            for tag in (metadata.SESSION_START_INFO_TAG, metadata.SESSION_END_INFO_TAG)
        )
        info = metadata.parse_session_start_info_plugin_data(start)
        values = {name: getattr(value, value.WhichOneof("kind")) for name, value in info.hparams.items()}
        status = metadata.parse_session_end_info_plugin_data(end).status
        found[run] = (info.group_name, values, status == STATUS_SUCCESS)
    return found


def _read(folder: Path) -> EventMultiplexer:
    reader = EventMultiplexer(size_guidance={"scalars": 0, "tensors": 0})
    reader.AddRunsFromDirectory(str(folder))
    reader.Reload()
    return reader

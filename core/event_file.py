"""Records of TensorBoard's event files, made by its own protocol buffers. No TensorFlow here.

The package's writers are not used: they bring TensorFlow and a thread for each file, and keep what is written to
themselves for two minutes, which a kill would lose.
"""

from __future__ import annotations

import io
import time
from collections.abc import Mapping

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import metadata
from tensorboard.plugins.hparams.api_pb2 import STATUS_FAILURE, STATUS_SUCCESS
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.summary.writer.record_writer import RecordWriter

Hyperparameter = bool | int | float | str
VERSION = "brain.Event:2"  # the first record of a file; from this version on a start voids what it repeats


def started(step: int) -> bytes:
    """The beginning of a file whose process goes on at `step`: TensorBoard drops what others logged from there on."""
    version = Event(wall_time=time.time(), file_version=VERSION)
    return _records(version, Event(wall_time=time.time(), step=step, session_log=SessionLog(status=SessionLog.START)))


def scalars(step: int, values: Mapping[str, float]) -> bytes:
    """One point of each of the curves that `values` names."""
    return _records(_scalars(step, values))


def compared(
    title: str, step: int, values: Mapping[str, Hyperparameter], metrics: Mapping[str, float], succeeded: bool
) -> bytes:
    """A whole file: a row of the page HPARAMS, named `title`, whose metrics are also points of curves at `step`."""
    now = time.time()
    end = SessionEndInfo(status=STATUS_SUCCESS if succeeded else STATUS_FAILURE, end_time_secs=now)
    ended = Summary.Value(
        tag=metadata.SESSION_END_INFO_TAG,
        metadata=metadata.create_summary_metadata(HParamsPluginData(session_end_info=end)),
        tensor=metadata.NULL_TENSOR,
    )
    return _records(
        Event(wall_time=now, file_version=VERSION),
        Event(wall_time=now, summary=hparams_pb(dict(values), trial_id=title, start_time_secs=now)),
        _scalars(step, metrics),
        Event(wall_time=now, summary=Summary(value=[ended])),
    )


def _scalars(step: int, values: Mapping[str, float]) -> Event:
    points = [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
    return Event(wall_time=time.time(), step=step, summary=Summary(value=points))


def _records(*events: Event) -> bytes:
    buffer = io.BytesIO()
    writer = RecordWriter(buffer)
    for event in events:
        writer.write(event.SerializeToString())
    return buffer.getvalue()

"""Values that cross rooms survive JSON, and a file's hash is that of its bytes."""

from __future__ import annotations

import dataclasses
import hashlib
import json

import pytest

from core.spec_io import canonical_json, content_id, from_plain
from core.values import Artifact, LatencyStats, Measurement, Target, TensorSpec, file_sha256

STATS = LatencyStats(41.5, 44.0, 42.0, 40.0, 200, 5, 0.03, (41.0, 41.5, 42.0))
VALUES = [
    Target("host", cpu_mask=(0, 1), num_threads=2),
    Artifact("a.tflite", "00" * 32, 10, "full_integer", (TensorSpec("x", (1, 28, 28, 3), "uint8", 1 / 255, -128),), ()),
    Artifact("b.h5", "11" * 32, 10, "float32", (), (), parents=("p",), tool_versions={"tensorflow": "2.21.0"}),
    Measurement("00" * 32, Target("host"), STATS, 1 << 20, "litert", {"governor": "performance"}),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_round_trip(value):
    assert from_plain(type(value), json.loads(canonical_json(value))) == value


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_frozen(value):
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, dataclasses.fields(value)[0].name, "other")


def test_ids_differ():
    assert len({content_id(value) for value in VALUES}) == len(VALUES)


@pytest.mark.parametrize("size", [0, 1, 3_000_000])
def test_file_sha256(tmp_path, size):
    path = tmp_path / "file"
    path.write_bytes(b"a" * size)
    assert file_sha256(path) == file_sha256(str(path)) == hashlib.sha256(b"a" * size).hexdigest()

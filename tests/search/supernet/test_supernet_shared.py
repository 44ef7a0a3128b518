"""The file format of shared weights, and what their accuracy is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from core.errors import CandidateError, UsageError
from search.supernet.shared import load_arrays, save_arrays, shared_accuracy
from tests.search.supernet.supernet_fakes import FakeShared, synthetic_data

ARRAYS = {"stem/kernel": np.arange(12, dtype=np.float32).reshape(3, 4), "epoch": np.array(3)}
SHAPES = {name: value.shape for name, value in ARRAYS.items()}


def test_arrays_come_back(tmp_path: Path) -> None:
    save_arrays(tmp_path / "w.npz", ARRAYS)
    loaded = load_arrays(tmp_path / "w.npz", SHAPES)
    assert loaded.keys() == ARRAYS.keys()
    assert all(
        np.array_equal(loaded[name], value) and loaded[name].dtype == value.dtype for name, value in ARRAYS.items()
    )


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        ({**SHAPES, "stem/kernel": (3, 5)}, r"'stem/kernel' is \(3, 4\); expected \(3, 5\)"),
        ({**SHAPES, "head": (2,)}, r"'head' is missing; expected \(2,\)"),
        ({"epoch": ()}, r"'stem/kernel' is \(3, 4\); expected no such array"),
    ],
)
def test_weights_of_another_space_are_refused(tmp_path: Path, shapes: dict[str, tuple[int, ...]], said: str) -> None:
    save_arrays(tmp_path / "w.npz", ARRAYS)
    with pytest.raises(UsageError, match=said):
        load_arrays(tmp_path / "w.npz", shapes)


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.npz"
    with pytest.raises(UsageError, match="no such file"):
        load_arrays(path, SHAPES)
    save_arrays(path, ARRAYS)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(UsageError, match="not a file of shared weights"):
        load_arrays(path, SHAPES)


def test_outputs_that_are_not_finite_fail_the_candidate() -> None:
    shared, images = FakeShared(is_finite=False), synthetic_data().val
    arch = shared.space.decode((0,) * len(shared.space.genes))
    shared.recalibrate(arch, images)
    with pytest.raises(CandidateError, match="not finite"):
        shared_accuracy(shared, arch, images)

"""What all tests share. No TensorFlow here, so that the tests without it start at once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

os.environ.setdefault("MPLBACKEND", "Agg")  # no window system; subprocesses of the tests inherit it
# No deadline: a busy machine is no failure. Under CI the examples are the same in every run.
settings.register_profile("litesmith", deadline=None, derandomize="CI" in os.environ, print_blob=True)
settings.load_profile("litesmith")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The data beside the clone (published tables, images, models); tests that need it are skipped without."""
    path = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not path.is_dir():
        pytest.skip("needs ../shared/data")
    return path

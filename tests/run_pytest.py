"""Entry point of Bazel's test targets: runs pytest on the folders or files given as arguments."""

from __future__ import annotations

import sys

import pytest

if __name__ == "__main__":
    sys.exit(pytest.main(["-p", "no:cacheprovider", *sys.argv[1:]]))

"""Plugin tables: names are checked without importing; a plugin is imported when it is used."""

from __future__ import annotations

import sys

import pytest

from core.errors import UsageError
from core.registry import check_name, load

TABLE = {"b": "core.errors:one_line", "a": "no.such.module:thing"}


def test_a_known_name_is_returned_without_importing_it():
    assert check_name(TABLE, "a", "config.x") == "a"
    assert "no.such.module" not in sys.modules


@pytest.mark.parametrize("look_up", [check_name, load])
@pytest.mark.parametrize("name", ["c", "", "A", "a "])
def test_an_unknown_name_is_refused_with_the_legal_ones(look_up, name):
    with pytest.raises(UsageError) as caught:
        look_up(TABLE, name, "config.x")
    assert str(caught.value) == f"config.x: {name!r} is not legal; expected one of a, b"


def test_load_imports_and_returns_the_attribute():
    from core.errors import one_line

    assert load(TABLE, "b", "config.x") is one_line
    with pytest.raises(ModuleNotFoundError):
        load(TABLE, "a", "config.x")

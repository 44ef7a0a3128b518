"""What a user reads: one line, with the value, its place and the legal ones."""

from __future__ import annotations

import math

import pytest

from core.checks import in_choices, in_range
from core.errors import (
    EXIT_FAILED,
    EXIT_USAGE,
    CandidateError,
    InvariantError,
    LitesmithError,
    UsageError,
    bad_value,
    one_line,
    one_of,
)


def test_exit_codes():
    assert (LitesmithError.exit_code, UsageError.exit_code) == (EXIT_FAILED, EXIT_USAGE) == (1, 2)
    assert CandidateError.exit_code == InvariantError.exit_code == EXIT_FAILED


def test_one_line_names_foreign_errors_and_keeps_our_own_text():
    assert one_line(UsageError("a: b")) == "a: b"
    assert one_line(ValueError("a\n  b\t c ")) == "ValueError: a b c"
    assert one_line(KeyError("key")) == "KeyError: 'key'"
    assert one_line(MemoryError()) == "MemoryError: MemoryError"
    assert one_line(LitesmithError()) == "LitesmithError"


@pytest.mark.parametrize("length", [0, 1, 286, 287, 288, 289, 300, 301, 100_000])
def test_one_line_has_at_most_300_characters(length):
    """The name of the class and ": " take 12 characters, so 288 are the longest that fit whole."""
    text = one_line(ValueError("x" * length))
    assert len(text) <= 300
    assert text.endswith("...") == (length > 288)


def test_bad_value_says_place_value_and_legal_values():
    assert (
        str(bad_value("config.x", "1", one_of(("b", "a", 3)))) == "config.x: '1' is not legal; expected one of 3, a, b"
    )


@pytest.mark.parametrize("value", [1, 1.0, 5, 5.5, 10])
def test_in_range_takes_both_ends(value):
    in_range("config.x", value, 1, 10)


@pytest.mark.parametrize("value", [0, math.nextafter(1, 0), 11, math.nan, math.inf, -math.inf, 10**400, -(10**400)])
def test_in_range_refuses_the_rest(value):
    with pytest.raises(UsageError) as caught:
        in_range("config.x", value, 1, 10)
    assert str(caught.value) == f"config.x: {value!r} is not legal; expected a number from 1 to 10"


def test_in_choices():
    in_choices("config.x", "a", ("a", "b"))
    with pytest.raises(UsageError, match=r"^config\.x: 'c' is not legal; expected one of a, b$"):
        in_choices("config.x", "c", iter(("b", "a")))

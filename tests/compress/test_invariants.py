from __future__ import annotations

import pytest

from compress.invariants import Invariants, LayerState, check
from core.errors import InvariantError

GOOD = LayerState("s0_b0_project_conv", 0.5, 16, 100)


def test_what_holds_passes() -> None:
    check([GOOD], Invariants((("s0_b0_project_conv", 0.5),), (("s0_b0_project_conv", 16),)), "quantize")


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (LayerState("head_conv", 0.48, 16, 100), ("sparsity 0.4800", "at least 0.5000")),
        (LayerState("head_conv", 0.5, 17, 100), ("17 distinct values", "at most 16")),
        (LayerState("head_conv", 1.0, 1, 100), ("whole", "100 weights")),
        (LayerState("other", 0.5, 16, 100), ("is gone",)),
    ],
)
def test_what_is_broken_names_layer_pass_found_and_required(state: LayerState, words: tuple[str, ...]) -> None:
    required = Invariants((("head_conv", 0.5),), (("head_conv", 16),))
    with pytest.raises(InvariantError) as error:
        check([GOOD, state], required, "quantize")
    for word in ("'head_conv'", "'quantize'", *words):
        assert word in str(error.value)


def test_any_layer_zeroed_whole_is_an_error_even_if_nothing_is_required() -> None:
    with pytest.raises(InvariantError, match=r"'cluster' zeroed layer 'stem_conv' whole"):
        check([LayerState("stem_conv", 1.0, 1, 216)], Invariants(), "cluster")


def test_later_promise_replaces_an_earlier_one_of_the_same_layer() -> None:
    merged = Invariants((("a", 0.5),), (("a", 16),)).merged(Invariants((("b", 0.3),), (("a", 8),)))
    assert merged == Invariants((("a", 0.5), ("b", 0.3)), (("a", 8),))

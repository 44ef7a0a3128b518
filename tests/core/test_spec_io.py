"""Canonical JSON: what is written is read back, equal values have one id, and what does not fit is named."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import UsageError
from core.spec_io import canonical_json, content_id, from_plain, to_plain


@dataclass(frozen=True, slots=True)
class Leaf:
    count: int
    share: float = 0.5


@dataclass(frozen=True, slots=True)
class Tree:
    name: str
    leaf: Leaf
    leaves: tuple[Leaf, ...] = ()
    pair: tuple[int, str] = (0, "")
    limit: int | None = None
    bias: float | None = None
    inner: Leaf | None = None
    on: bool = False
    table: dict[str, float] = field(default_factory=dict)
    free: Any = None


finite = st.floats(allow_nan=False, allow_infinity=False)
leaves = st.builds(Leaf, count=st.integers(), share=finite)
trees = st.builds(
    Tree,
    name=st.text(),
    leaf=leaves,
    leaves=st.lists(leaves, max_size=3).map(tuple),
    pair=st.tuples(st.integers(), st.text()),
    limit=st.none() | st.integers(),
    bias=st.none() | finite,
    inner=st.none() | leaves,
    on=st.booleans(),
    table=st.dictionaries(st.text(), finite, max_size=3),
)


@given(trees)
def test_round_trip_through_json_text(tree):
    assert from_plain(Tree, json.loads(canonical_json(tree))) == tree
    assert from_plain(Tree, json.loads(json.dumps(to_plain(tree)))) == tree


@given(trees, trees)
def test_one_id_exactly_for_equal_values(first, second):
    assert content_id(first) == content_id(from_plain(Tree, to_plain(first)))
    assert (content_id(first) == content_id(second)) == (first == second)


def test_equal_numbers_have_one_id():
    """100 and 100.0 are equal in Python, so a config written either way names the same work."""
    assert Leaf(1, 2) == Leaf(1, 2.0)
    assert content_id(Leaf(1, 2)) == content_id(Leaf(1, 2.0))
    assert content_id(Leaf(1, 0.0)) == content_id(Leaf(1, -0.0))
    assert content_id(Leaf(1, 0.1)) != content_id(Leaf(1, math.nextafter(0.1, 1)))


def test_a_bool_is_no_number():
    assert content_id([True]) != content_id([1])


def test_id_depends_on_neither_order_nor_run():
    assert content_id({"b": 1, "a": 2}) == content_id({"a": 2, "b": 1})
    # Written down, because artifacts of an earlier version are found again by these ids.
    assert canonical_json({"b": (1, 0.5), "a": None, "u": "é"}) == '{"a":null,"b":[1,0.5],"u":"\\u00e9"}'
    assert content_id({"b": (1, 0.5), "a": None, "u": "é"}) == "39091d2d60374af6"
    assert len(content_id("x", length=12)) == 12


def test_int_becomes_float_where_a_float_is_wanted():
    leaf = from_plain(Leaf, {"count": 3, "share": 1})
    assert (leaf.share, type(leaf.share)) == (1.0, float)


def test_defaults_and_finished_values_are_taken():
    leaf = Leaf(7)
    assert from_plain(Tree, {"name": "t", "leaf": leaf, "leaves": (leaf,)}) == Tree("t", leaf, (leaf,))


def test_paths_become_text():
    assert to_plain({"path": Path("a") / "b"}) == {"path": "a/b"}


GOOD = {"name": "t", "leaf": {"count": 1}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"nam": 1},
            "cfg.nam: unknown key; legal keys are bias, free, inner, leaf, leaves, limit, name, on, pair, table",
        ),
        ({"leaf": {"count": 1, "size": 2}}, "cfg.leaf.size: unknown key; legal keys are count, share"),
        ({"leaf": {}}, "cfg.leaf.count: missing"),
        ({"leaf": 3}, "cfg.leaf: 3 has the wrong type; expected the keys of Leaf"),
        ({"leaf": {"count": "1"}}, "cfg.leaf.count: '1' has the wrong type; expected int"),
        ({"leaf": {"count": True}}, "cfg.leaf.count: True has the wrong type; expected int"),
        ({"leaf": {"count": 1.0}}, "cfg.leaf.count: 1.0 has the wrong type; expected int"),
        ({"leaf": {"count": 1, "share": True}}, "cfg.leaf.share: True has the wrong type; expected float"),
        ({"leaf": {"count": 1, "share": 10**400}}, "cfg.leaf.share: "),
        ({"name": None}, "cfg.name: None has the wrong type; expected str"),
        ({"on": 1}, "cfg.on: 1 has the wrong type; expected bool"),
        ({"leaves": "ab"}, "cfg.leaves: 'ab' has the wrong type; expected a list"),
        ({"leaves": [{"count": 1}, {"count": None}]}, "cfg.leaves[1].count: None has the wrong type; expected int"),
        ({"pair": [1]}, "cfg.pair: [1] has the wrong type; expected 2 items"),
        ({"pair": [1, 2]}, "cfg.pair[1]: 2 has the wrong type; expected str"),
        ({"limit": "x"}, "cfg.limit: 'x' has the wrong type; expected int"),
        ({"inner": {"count": 1, "x": 2}}, "cfg.inner.x: unknown key; legal keys are count, share"),
        ({"table": [1]}, "cfg.table: [1] has the wrong type; expected a mapping"),
        ({"table": {"a": "b"}}, "cfg.table.a: 'b' has the wrong type; expected float"),
    ],
)
def test_what_does_not_fit_is_refused_by_place(change, message):
    with pytest.raises(UsageError) as caught:
        from_plain(Tree, {**GOOD, **change}, "cfg")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_the_place_is_the_class_where_none_is_given():
    with pytest.raises(UsageError, match=r"^Tree\.leaf: missing$"):
        from_plain(Tree, {"name": "t"})


@dataclass(frozen=True)
class Either:
    value: int | str | None


def test_a_union_of_many_names_them_all():
    with pytest.raises(UsageError, match=r"^Either\.value: 1\.5 has the wrong type; expected int or str or None$"):
        from_plain(Either, {"value": 1.5})
    assert from_plain(Either, {"value": None}) == Either(None)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_nan_and_infinity_have_no_canonical_form(value):
    for holder in (Leaf(1, value), [value], {"x": {"y": value}}):
        with pytest.raises(ValueError, match="JSON"):
            canonical_json(holder)


@pytest.mark.parametrize("value", [{1, 2}, b"bytes", Leaf, object(), 1j])
def test_other_types_are_refused(value):
    with pytest.raises(TypeError, match="no canonical JSON for"):
        to_plain([value])


def test_nothing_is_changed_in_place():
    data = {"name": "t", "leaf": {"count": 1}, "table": {"a": 1}}
    before = json.dumps(data)
    tree = from_plain(Tree, data)
    assert json.dumps(data) == before
    assert dataclasses.replace(tree, table={}) != tree

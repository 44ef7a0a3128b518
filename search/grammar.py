"""Architectures as text: one token a stage, so that a network fits on a page.

    input_r224_n1000_w1 stem_s2_c32 ir_r1_k3_s1_e1_c16 ir_r2_k3_s2_e6_c24 ... head_c1280

A stage is written block by block; equal neighbours are folded to one item with `r` repeats, of which only the first
has the stride `s` (as in MobileNet's tables). Items of one stage are joined by "+". An item holds the fields that its
operator reads (search.blocks.table.BLOCKS):

    k kernel_size   s stride   e expand_ratio   c out_channels   a start_kernel_size   x edges, a digit each
    optional: h48 hidden_channels (in place of e)   q12 se_channels (in place of se)
              se0.25 se_ratio   g3 groups   noskip   relu hswish swish linear (default: relu6)   valid explicit (same)

`input` may end in `biasbn` or `nobn` (norm) and in `xnnpack` (form); `stem` and `head` in an activation; `head` holds
`u1280` for each hidden layer, `unorm` if they are normalized, `flatten` or `scores` (pooling). `c0` is no stem or head
convolution.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from core.errors import CandidateError, UsageError, bad_value
from search.arch import ACTIVATIONS, CELL_EDGES, CELL_OPS, OPS, ArchSpec, BlockSpec, StageSpec, canonical
from search.blocks.table import BLOCKS
from search.choice import OneOf
from search.lowering import layers_of

_PART = re.compile(r"(se|[a-z])(\d{1,9}(?:\.\d+)?)", re.ASCII)
_KEYS = {
    "a": "start_kernel_size",
    "k": "kernel_size",
    "s": "stride",
    "e": "expand_ratio",
    "h": "hidden_channels",
    "c": "out_channels",
    "se": "se_ratio",
    "q": "se_channels",
    "g": "groups",
}
_OPTIONAL = {"h": 0, "se": 0.0, "q": 0, "g": 1}
_ACTIVATION_WORDS = {word: {"activation": word} for word in ACTIVATIONS if word != "relu6"}
_WORDS: dict[str, dict[str, Any]] = {
    **_ACTIVATION_WORDS,
    "noskip": {"skip": False},
    "valid": {"padding": "valid"},
    "explicit": {"padding": "explicit"},
}
_INPUT_WORDS: dict[str, dict[str, Any]] = {
    "biasbn": {"norm": "bias_bn"},
    "nobn": {"norm": "bias"},
    "xnnpack": {"form": "xnnpack"},
}
_STEM_WORDS: dict[str, dict[str, Any]] = {word: {"stem_activation": word} for word in _ACTIVATION_WORDS}
_HEAD_WORDS: dict[str, dict[str, Any]] = {
    **{word: {"head_activation": word} for word in _ACTIVATION_WORDS},
    "unorm": {"head_norm": True},
    "flatten": {"pooling": "flatten"},
    "scores": {"pooling": "scores"},
}
MAX_REPEATS = 1000


def to_text(arch: ArchSpec) -> str:
    """The canonical text of a network without OneOf."""
    arch = canonical(arch)
    tokens = [
        f"input_r{arch.resolution}_n{arch.num_classes}_w{_number(arch.width_multiplier)}",
        f"stem_s{arch.stem_stride}_c{arch.stem_channels}",
        f"head_c{arch.head_channels}" + "".join(f"_u{units}" for units in arch.head_units),
    ]
    ends = (_words(arch, words) for words in (_INPUT_WORDS, _STEM_WORDS, _HEAD_WORDS))
    first, stem, head = (token + end for token, end in zip(tokens, ends, strict=True))
    return " ".join([first, stem, *(_stage_text(stage) for stage in arch.stages), head])


def from_text(text: str) -> ArchSpec:
    """The network that `to_text` wrote.

    Raises UsageError naming the token that is malformed, or whose shapes do not fit (channels that the groups do not
    divide, a resolution too small for the strides).
    """
    tokens = text.split()
    if len(tokens) < 4:
        raise UsageError(f"architecture {text!r}: expected 'input_… stem_… STAGE … head_…'")
    size, norm = _end(tokens[0], "input", ("r", "n", "w"), _INPUT_WORDS)
    stem, stem_words = _end(tokens[1], "stem", ("s", "c"), _STEM_WORDS)
    head, head_words = _end(tokens[-1], "head", ("c",), _HEAD_WORDS, repeated="u")
    stages = tuple(_stage(token) for token in tokens[2:-1])
    fields = {**norm, **stem_words, **head_words, "head_units": tuple(head.get("u", ()))}
    try:
        arch = canonical(ArchSpec(stem["c"], stages, head["c"], size["w"], size["r"], size["n"], stem["s"], **fields))
    except UsageError as error:
        raise UsageError(f"architecture: '{tokens[0]} {tokens[1]} … {tokens[-1]}': {error}") from error
    try:
        layers_of(arch)
    except CandidateError as error:
        raise UsageError(f"architecture: {_place(tokens, str(error))!r}: {error}") from error
    return arch


def _words(spec: object, words: Mapping[str, Mapping[str, Any]]) -> str:
    """The words whose values a spec has."""
    having = (word for word, values in words.items() if all(getattr(spec, k) == v for k, v in values.items()))
    return "".join(f"_{word}" for word in having)


def _place(tokens: list[str], message: str) -> str:
    """The stage's token that a CandidateError of `layers_of` is about, from the layer's name that it begins with."""
    stage = re.match(r"s(\d+)_b\d+", message)
    return tokens[2 + int(stage[1])] if stage else " … ".join((tokens[0], tokens[-1]))


def _stage_text(stage: StageSpec) -> str:
    items: list[tuple[BlockSpec, int]] = []
    for block in stage.active:
        if items and items[-1][1] < MAX_REPEATS and block == dataclasses.replace(items[-1][0], stride=1):
            items[-1] = (items[-1][0], items[-1][1] + 1)
        else:
            items.append((block, 1))
    return "+".join(block_text(block, repeats) for block, repeats in items)


def block_text(block: BlockSpec, repeats: int = 1) -> str:
    """One item of a stage: a block and how often it is repeated. In a template a searched number is "*"."""
    read = BLOCKS[block.op].fields
    text = f"{block.op}_r{repeats}"
    for key, field in _KEYS.items():
        value = getattr(block, field)
        if field in read and value != _OPTIONAL.get(key) and not (key == "e" and _is_width(block.hidden_channels)):
            text += f"_{key}*" if isinstance(value, OneOf) else f"_{key}{_number(value)}"
    if "edges" in read:
        text += "_x" + "".join(str(CELL_OPS.index(edge)) for edge in block.edges)
    return text + _words(block, _WORDS)


def _stage(token: str) -> StageSpec:
    blocks: list[BlockSpec] = []
    for item in token.split("+"):
        blocks += _item(item, token)
    return StageSpec(tuple(blocks), len(blocks))


def _item(item: str, token: str) -> list[BlockSpec]:
    op, *parts = item.split("_")
    if op not in OPS:
        raise UsageError(f"architecture: {item!r}: {bad_value('op', op, 'one of ' + ', '.join(OPS))}")
    keys = ["r", *(key for key, field in _KEYS.items() if field in BLOCKS[op].fields)]
    keys += ["x"] if "edges" in BLOCKS[op].fields else []
    words = {word: values for word, values in _WORDS.items() if values.keys() <= set(BLOCKS[op].fields)}
    form = "_".join([op, *(f"[{key}…]" if key in _OPTIONAL else f"{key}…" for key in keys), *(f"[{w}]" for w in words)])
    numbers: dict[str, Any] = {}
    fields: dict[str, Any] = {"op": op}
    for part in parts:
        match = _PART.fullmatch(part)
        if part in words and not words[part].keys() & fields.keys():
            fields |= words[part]
        elif match is not None and match[1] in keys and match[1] not in numbers:
            numbers[match[1]] = match[2]
        else:
            raise UsageError(f"architecture: {part!r} in {token!r} is not legal; a stage is {form}")
    optional = {*_OPTIONAL, "e"} if _is_width(_value(numbers.get("h", "0"))) else {*_OPTIONAL}
    if missing := [key for key in keys if key not in numbers and key not in optional]:
        raise UsageError(f"architecture: {item!r} lacks {', '.join(missing)}; a stage is {form}")
    try:
        return _blocks(fields, numbers)
    except UsageError as error:
        raise UsageError(f"architecture: {item!r}: {error}") from error


def _blocks(fields: Mapping[str, Any], numbers: dict[str, str]) -> list[BlockSpec]:
    repeats, edges = _value(numbers.pop("r")), numbers.pop("x", None)
    values: dict[str, Any] = {_KEYS[key]: _value(number) for key, number in numbers.items()}
    if edges is not None:
        values["edges"] = _edges(edges)
    block = BlockSpec(**fields, **values)
    if not isinstance(repeats, int) or not 1 <= repeats <= MAX_REPEATS:
        raise bad_value("r", repeats, f"a whole number from 1 to {MAX_REPEATS}")
    return [block, *[dataclasses.replace(block, stride=1)] * (repeats - 1)]


def _edges(digits: str) -> tuple[str, ...]:
    if len(digits) != len(CELL_EDGES) or any(not "0" <= digit < str(len(CELL_OPS)) for digit in digits):
        raise bad_value("x", digits, f"{len(CELL_EDGES)} digits from 0 to {len(CELL_OPS) - 1}")
    return tuple(CELL_OPS[int(digit)] for digit in digits)


def _end(
    token: str, name: str, keys: tuple[str, ...], words: Mapping[str, Mapping[str, Any]], repeated: str = ""
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The numbers and the fields of a token that is no stage; `repeated` is a key that may occur several times."""
    first, *parts = token.split("_")
    numbers: dict[str, Any] = {}
    fields: dict[str, Any] = {}
    legal = first == name
    for part in parts:
        match = _PART.fullmatch(part)
        if part in words and not words[part].keys() & fields.keys():
            fields |= words[part]
        elif match is not None and match[1] == repeated:
            numbers.setdefault(repeated, []).append(_value(match[2]))
        elif match is not None and match[1] in keys and match[1] not in numbers:
            numbers[match[1]] = _value(match[2])
        else:
            legal = False
    if not legal or not numbers.keys() >= set(keys):
        form = "_".join([name, *(f"{key}1" for key in keys)])
        optional = "".join(f"[_{word}]" for word in ([f"{repeated}1"] if repeated else []) + list(words))
        raise UsageError(f"architecture: {token!r} is not legal; expected the form {form + optional!r}")
    return numbers, fields


def _value(text: str) -> int | float:
    return float(text) if "." in text else int(text)


def _is_width(value: Any) -> bool:
    """Whether hidden channels are a number that makes the expand ratio inactive."""
    return not isinstance(value, OneOf) and value > 0


def _number(value: float) -> str:
    """The shortest decimal that reads back as the same number, without an exponent."""
    return f"{Decimal(repr(float(value))):f}".removesuffix(".0")

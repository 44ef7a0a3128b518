"""Architectures as text: one token a stage, so that a network fits on a page.

    input_r224_n1000_w1 stem_s2_c32 ir_r1_k3_s1_e1_c16 ir_r2_k3_s2_e6_c24 ... head_c1280

A stage is written block by block; equal neighbours are folded to one item with `r` repeats, of which only the first
has the stride `s` (as in MobileNet's tables). Items of one stage are joined by "+". Optional parts: `se0.25`
(squeeze-excite ratio), `relu` (instead of relu6), `noskip`.
"""

from __future__ import annotations

import dataclasses
import re
from decimal import Decimal
from typing import Any

from core.errors import UsageError, bad_value
from search.arch import ArchSpec, BlockSpec, StageSpec, canonical

_NUMBER = r"(\d{1,9}(?:\.\d+)?)"
_PART = re.compile(f"(se|[rksec]){_NUMBER}", re.ASCII)
_HEAD_PART = re.compile(f"([rnwsc]){_NUMBER}", re.ASCII)
_FIELDS = {"k": "kernel_size", "s": "stride", "e": "expand_ratio", "c": "out_channels", "se": "se_ratio"}
_FORM = "ir_r2_k3_s1_e6_c40[_se0.25][_relu][_noskip]"
_WORDS: dict[str, dict[str, object]] = {"relu": {"activation": "relu"}, "noskip": {"skip": False}}
_REQUIRED = {"r", "k", "s", "e", "c"}
MAX_REPEATS = 1000


def to_text(arch: ArchSpec) -> str:
    """The canonical text of a network without OneOf."""
    arch = canonical(arch)
    head = f"input_r{arch.resolution}_n{arch.num_classes}_w{_number(arch.width_multiplier)}"
    stages = [_stage_text(stage) for stage in arch.stages]
    return " ".join([head, f"stem_s{arch.stem_stride}_c{arch.stem_channels}", *stages, f"head_c{arch.head_channels}"])


def from_text(text: str) -> ArchSpec:
    """The network that `to_text` wrote. Raises UsageError naming the token that is malformed."""
    tokens = text.split()
    if len(tokens) < 4:
        raise UsageError(f"architecture {text!r}: expected 'input_… stem_… STAGE … head_…'")
    size = _numbers(tokens[0], "input", ("r", "n", "w"))
    stem = _numbers(tokens[1], "stem", ("s", "c"))
    head = _numbers(tokens[-1], "head", ("c",))
    stages = tuple(_stage(token) for token in tokens[2:-1])
    try:
        return canonical(ArchSpec(stem["c"], stages, head["c"], size["w"], size["r"], size["n"], stem["s"]))
    except UsageError as error:
        raise UsageError(f"architecture: '{tokens[0]} {tokens[1]} … {tokens[-1]}': {error}") from error


def _stage_text(stage: StageSpec) -> str:
    items: list[tuple[BlockSpec, int]] = []
    for block in stage.active:
        if items and block == dataclasses.replace(items[-1][0], stride=1):
            items[-1] = (items[-1][0], items[-1][1] + 1)
        else:
            items.append((block, 1))
    return "+".join(_block_text(block, repeats) for block, repeats in items)


def _block_text(block: BlockSpec, repeats: int) -> str:
    text = (
        f"{block.op}_r{repeats}_k{block.kernel_size}_s{block.stride}"
        f"_e{_number(block.expand_ratio)}_c{block.out_channels}"
    )
    if block.se_ratio:
        text += f"_se{_number(block.se_ratio)}"
    if block.activation != "relu6":
        text += f"_{block.activation}"
    return text + ("" if block.skip else "_noskip")


def _stage(token: str) -> StageSpec:
    blocks: list[BlockSpec] = []
    for item in token.split("+"):
        blocks += _item(item, token)
    return StageSpec(tuple(blocks), len(blocks))


def _item(item: str, token: str) -> list[BlockSpec]:
    op, *parts = item.split("_")
    fields: dict[str, Any] = {"op": op}
    numbers: dict[str, Any] = {}
    for part in parts:
        match = _PART.fullmatch(part)
        if match is None and part not in _WORDS:
            raise UsageError(f"architecture: {part!r} in {token!r} is not legal; a stage is {_FORM}")
        if match is None:
            fields |= _WORDS[part]
        else:
            numbers[match[1]] = _value(match[2])
    if not numbers.keys() >= _REQUIRED or len(fields) + len(numbers) != len(parts) + 1:
        raise UsageError(f"architecture: {item!r} lacks a part or has one twice; a stage is {_FORM}")
    repeats = numbers.pop("r")
    try:
        block = BlockSpec(**fields, **{_FIELDS[key]: number for key, number in numbers.items()})
        if not isinstance(repeats, int) or not 1 <= repeats <= MAX_REPEATS:
            raise bad_value("r", repeats, f"a whole number from 1 to {MAX_REPEATS}")
        return [block, *[dataclasses.replace(block, stride=1)] * (repeats - 1)]
    except UsageError as error:
        raise UsageError(f"architecture: {item!r}: {error}") from error


def _numbers(token: str, name: str, keys: tuple[str, ...]) -> dict[str, Any]:
    first, *parts = token.split("_")
    matches = [_HEAD_PART.fullmatch(part) for part in parts]
    values = {match[1]: _value(match[2]) for match in matches if match}
    if first != name or set(values) != set(keys) or len(parts) != len(keys):
        form = "_".join([name, *(f"{key}1" for key in keys)])
        raise UsageError(f"architecture: {token!r} is not legal; expected the form {form!r}")
    return values


def _value(text: str) -> int | float:
    return float(text) if "." in text else int(text)


def _number(value: float) -> str:
    """The shortest decimal that reads back as the same number, without an exponent."""
    return f"{Decimal(repr(float(value))):f}".removesuffix(".0")

"""Architectures as text: one token a stage, so that a network fits on a page.

    input_r224_n1000_w1 stem_s2_c32 ir_r1_k3_s1_e1_c16 ir_r2_k3_s2_e6_c24 ... head_c1280

A stage is written block by block; equal neighbours are folded to one item with `r` repeats, of which only the first
has the stride `s` (as in MobileNet's tables). Items of one stage are joined by "+". Optional parts: `se0.25`
(squeeze-excite ratio), `relu` (instead of relu6), `noskip`.
"""

from __future__ import annotations

import dataclasses
import re

from core.errors import UsageError
from search.arch import ArchSpec, BlockSpec, StageSpec, canonical

_PART = re.compile(r"(se|[rksecnw])(\d+(?:\.\d+)?)")
_FIELDS = {"k": "kernel_size", "e": "expand_ratio", "c": "out_channels", "se": "se_ratio"}
_FORM = "ir_r2_k3_s1_e6_c40[_se0.25][_relu][_noskip]"


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
    return canonical(
        ArchSpec(
            stem_channels=int(stem["c"]),
            stages=tuple(_stage(token) for token in tokens[2:-1]),
            head_channels=int(head["c"]),
            width_multiplier=size["w"],
            resolution=int(size["r"]),
            num_classes=int(size["n"]),
            stem_stride=int(stem["s"]),
        )
    )


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
    values: dict[str, object] = {"op": op}
    repeats, stride = 1, 1
    for part in parts:
        match = _PART.fullmatch(part)
        if part == "relu":
            values["activation"] = "relu"
        elif part == "noskip":
            values["skip"] = False
        elif match is None or match[1] in "nw":
            raise UsageError(f"architecture: {part!r} in {token!r} is not legal; a stage is {_FORM}")
        elif match[1] == "r":
            repeats = int(float(match[2]))
        elif match[1] == "s":
            stride = int(float(match[2]))
        else:
            number = float(match[2])
            values[_FIELDS[match[1]]] = int(number) if match[1] in "kc" else number
    try:
        block = BlockSpec(**values)
        if repeats < 1:
            raise UsageError(f"r{repeats}: expected at least 1 block")
        return [dataclasses.replace(block, stride=stride), *[block] * (repeats - 1)]
    except UsageError as error:
        raise UsageError(f"architecture: {item!r}: {error}") from error


def _numbers(token: str, name: str, keys: tuple[str, ...]) -> dict[str, float]:
    first, *parts = token.split("_")
    matches = [_PART.fullmatch(part) for part in parts]
    values = {match[1]: float(match[2]) for match in matches if match}
    if first != name or set(values) != set(keys) or len(parts) != len(keys):
        form = "_".join([name, *(f"{key}1" for key in keys)])
        raise UsageError(f"architecture: {token!r} is not legal; expected the form {form!r}")
    return values


def _number(value: float) -> str:
    return f"{value:g}"

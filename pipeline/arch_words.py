"""What the tokens of an architecture say, in words, for the report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from search.arch import ArchSpec, BlockSpec, StageSpec
from search.blocks.table import BLOCKS
from search.grammar import from_text
from search.lowering import layers_of

_NAMES = {
    "ir": "inverted residual",
    "ir3": "MobileNetV3 block",
    "irg": "FBNet block",
    "fused": "fused inverted residual",
    "uib": "universal inverted bottleneck",
    "conv": "convolution",
    "ds": "depthwise-separable convolution",
    "max": "maximum pool",
    "avg": "average pool",
    "id": "identity",
    "bn": "batch normalization",
    "basic": "residual block",
    "basic8": "residual block",
    "bottleneck": "bottleneck block",
    "fire": "fire module",
    "shuffle1": "ShuffleNet unit",
    "shuffle2": "ShuffleNetV2 unit",
    "shufflex": "Xception-like ShuffleNetV2 unit",
    "cell": "NAS-Bench-201 cell",
    "reduce": "NAS-Bench-201 reduction",
}
_POOLINGS = {"mean": "global average pooling", "flatten": "flattening", "scores": "scores of each place and their mean"}


def network_words(arch: str) -> tuple[tuple[str, str, str], ...]:
    """Token by token: the grammar's text, what it says in words, the shape (height × width × channels) after it."""
    spec = from_text(arch)
    tokens = arch.split()
    classes = f"{spec.num_classes} classes, width multiplier {spec.width_multiplier:g}"
    stem = f"3×3 convolution, stride {spec.stem_stride}" if spec.stem_channels else "none"
    words = [f"RGB image, {classes}", stem, *(_stage_words(stage) for stage in spec.stages), _head_words(spec)]
    return tuple(zip(tokens, words, _shapes(spec), strict=True))


def _shapes(spec: ArchSpec) -> tuple[str, ...]:
    """The shape after each token. What has no layers of its own (an identity) leaves the one before."""
    layers = layers_of(spec)
    prefixes = ["image", "stem_", *(f"s{index}_b" for index in range(len(spec.stages)))]
    shapes = [layers[0].out_shape]
    for prefix in prefixes[1:]:
        found = [layer.out_shape for layer in layers if layer.name.startswith(prefix)]
        shapes.append(found[-1] if found else shapes[-1])
    shapes.append(layers[-1].out_shape)
    return tuple(" × ".join(str(side) for side in shape) for shape in shapes)


def _stage_words(stage: StageSpec) -> str:
    kinds = [block.op for block in stage.active]
    counts = {op: kinds.count(op) for op in dict.fromkeys(kinds)}
    parts = [f"{count} {_NAMES[op]}{'s' if count > 1 else ''}" for op, count in counts.items()]
    return ", ".join([" and ".join(parts), *_fields(stage.active)])


def _fields(blocks: tuple[BlockSpec, ...]) -> list[str]:
    first = blocks[0]
    kernels = _varying([block for block in blocks if block.kernel_size], "kernel_size", lambda side: f"{side}×{side}")
    words = [f"{kernels} kernel"] if kernels else []
    if expansions := _varying([b for b in blocks if not b.hidden_channels], "expand_ratio", lambda ratio: f"{ratio:g}"):
        words.append(f"expansion {expansions}")
    if widths := _varying([block for block in blocks if block.hidden_channels], "hidden_channels", str):
        words.append(f"{widths} channels inside")
    words += [f"stride {first.stride}"] if first.stride > 1 else []
    if groups := _varying([block for block in blocks if block.groups > 1], "groups", str):
        words.append(f"{groups} groups")
    gates = _varying([block for block in blocks if block.se_ratio], "se_ratio", lambda ratio: f"{ratio:g}")
    words += [f"squeeze-excite {gates}"] if gates else []
    if widths := _varying([block for block in blocks if block.se_channels], "se_channels", str):
        words.append(f"squeeze-excite of {widths} channels")
    skips = [block.skip for block in blocks if "skip" in BLOCKS[block.op].fields]
    return words + (["no skip connections"] if skips and not any(skips) else [])


def _varying(blocks: Sequence[BlockSpec], name: str, text: Callable[[Any], str]) -> str:
    """The values of a field that is read, each once; "" if no block reads it."""
    values = dict.fromkeys(getattr(block, name) for block in blocks if name in BLOCKS[block.op].fields)
    return "/".join(text(value) for value in values)


def _head_words(spec: ArchSpec) -> str:
    words = ["1×1 convolution"] if spec.head_channels else []
    words.append(_POOLINGS[spec.pooling])
    words += [f"hidden layer of {units}" for units in spec.head_units]
    return ", ".join([*words, *(["classifier"] if spec.pooling != "scores" else []), "softmax"])

"""The weights of a supernet's parts. No TensorFlow here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from search.supernet.parts import Branch, Ends, Width

RGB, STEM_KERNEL = 3, 3


@dataclass(frozen=True, slots=True)
class WeightSpec:
    """One weight of the supernet.

    Attributes:
      kind: "kernel", "depthwise", "dense", "bias", "gamma", "beta", "transform" (of kernel sizes), or of statistics
        "moving_mean", "moving_variance".
      shape: the largest.
      axes: for each axis the slot that holds how much of it is in use, None: all. Channels in use are the leading ones.
        On the first two axes of a kernel it is the side of the centre in use; on the first axis of a transform, whose
        rows are the places of a square kernel, likewise.
      streams: for each axis the stream of its channels, "" where it has none.
      active: the slot that is 1 where the weight is in use at all, "": always.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    axes: tuple[str | None, ...]
    streams: tuple[str, ...]
    active: str = ""


def weights_of_branch(branch: Branch) -> Iterator[WeightSpec]:
    """The weights of a branch in the order of execution."""
    yield from _expansion(branch)
    yield from _spatial(branch)
    if branch.squeeze is not None:
        active = branch.squeeze or branch.active
        yield from conv(f"{branch.name}/se_reduce", branch.hidden, branch.se, active)
        yield bias(f"{branch.name}/se_reduce", branch.se, active)
        yield from conv(f"{branch.name}/se_expand", branch.se, branch.hidden, active)
        yield bias(f"{branch.name}/se_expand", branch.hidden, active)
    gate = branch.own_width if branch.op == "fused" else ""
    if gate is not None:
        active = gate or branch.active
        yield from conv(f"{branch.name}/project_conv", branch.hidden, branch.outputs, active)
        yield from norm(f"{branch.name}/project_bn", branch.outputs, active)


def _expansion(branch: Branch) -> Iterator[WeightSpec]:
    if branch.op != "fused" and branch.own_width is not None:
        active = branch.own_width or branch.active
        yield from conv(f"{branch.name}/expand_conv", branch.inputs, branch.hidden, active)
        yield from norm(f"{branch.name}/expand_bn", branch.hidden, active)


def _spatial(branch: Branch) -> Iterator[WeightSpec]:
    name, hidden, active = f"{branch.name}/{branch.spatial}", branch.hidden, branch.active
    largest, *smaller = branch.kernel_sizes
    side = branch.side_slot(largest) if branch.kernel_slot else None
    if branch.op == "fused":
        yield from conv(name, branch.inputs, hidden, active, largest, side)
        yield from norm(f"{branch.name}/fused_bn", hidden, active)
    else:
        shape, axes = (largest, largest, hidden.size, 1), (side, side, hidden.slot, None)
        yield WeightSpec(f"{name}/kernel", "depthwise", shape, axes, ("", "", hidden.stream, ""), active)
        yield from norm(f"{branch.name}/dw_bn", hidden, active)
    for size in smaller:
        rows = branch.side_slot(size)
        yield WeightSpec(f"{name}/transform{size}", "transform", (size**2, size**2), (rows, None), ("", ""), active)


def weights_of_stem(ends: Ends) -> Iterator[WeightSpec]:
    """The weights before the blocks."""
    yield from conv("stem_conv", Width(RGB, None, "image"), ends.stem, "", STEM_KERNEL)
    yield from norm("stem_bn", ends.stem)


def weights_of_head(ends: Ends, head_norm: bool) -> Iterator[WeightSpec]:
    """The weights after the blocks."""
    inputs = ends.last
    if ends.head is not None:
        yield from conv("head_conv", inputs, ends.head)
        yield from norm("head_bn", ends.head)
        inputs = ends.head
    for index, units in enumerate(ends.units):
        if head_norm:
            yield from conv(f"units{index}_conv", inputs, units)
            yield from norm(f"units{index}_bn", units)
        else:
            yield from dense(f"units{index}", inputs, units)
        inputs = units
    yield from dense("logits", inputs, ends.classes)


def conv(
    name: str, inputs: Width, outputs: Width, active: str = "", size: int = 1, side: str | None = None
) -> Iterator[WeightSpec]:
    """A convolution's kernel."""
    shape, axes = (size, size, inputs.size, outputs.size), (side, side, inputs.slot, outputs.slot)
    yield WeightSpec(f"{name}/kernel", "kernel", shape, axes, ("", "", inputs.stream, outputs.stream), active)


def dense(name: str, inputs: Width, outputs: Width) -> Iterator[WeightSpec]:
    """A fully connected layer."""
    shape, axes = (inputs.size, outputs.size), (inputs.slot, outputs.slot)
    yield WeightSpec(f"{name}/kernel", "dense", shape, axes, (inputs.stream, outputs.stream))
    yield bias(name, outputs)


def bias(name: str, outputs: Width, active: str = "") -> WeightSpec:
    """A layer's bias."""
    return WeightSpec(f"{name}/bias", "bias", (outputs.size,), (outputs.slot,), (outputs.stream,), active)


def norm(name: str, channels: Width, active: str = "") -> Iterator[WeightSpec]:
    """What a batch normalization learns."""
    for kind in ("gamma", "beta"):
        yield WeightSpec(f"{name}/{kind}", kind, (channels.size,), (channels.slot,), (channels.stream,), active)


def statistics_of(weights: tuple[WeightSpec, ...]) -> Iterator[WeightSpec]:
    """The mean and the variance that belong to each batch normalization."""
    for spec in weights:
        if spec.kind == "gamma":
            layer = spec.name.removesuffix("/gamma")
            for kind in ("moving_mean", "moving_variance"):
                yield WeightSpec(f"{layer}/{kind}", kind, spec.shape, spec.axes, spec.streams, spec.active)

"""The parts of a supernet: branches (one operator at one place) and what is before and after. No TensorFlow here.

A gate says whether something is there: None never, "" always (while what it belongs to is), else the slot of the
setting that is 1 where it is.
"""

from __future__ import annotations

from dataclasses import dataclass

from search.arch import ArchSpec
from search.supernet.template import Place, Variants, values, widths

Gate = str | None


@dataclass(frozen=True, slots=True)
class Width:
    """Channels of a tensor.

    Attributes:
      size: how many at most.
      slot: holds how many are in use, always the leading ones; None: all are.
      stream: tensors of one stream have the same channels at the same places, as they are added or passed on; whoever
        permutes the channels of one permutes them all.
    """

    size: int
    slot: str | None
    stream: str


@dataclass(frozen=True, slots=True)
class Branch:
    """All blocks of one operator at one place; they share its weights.

    Attributes:
      stage, block: its place; `layer` is how its Keras layers' names begin, `name` how its weights' do.
      active: gate of the place having this operator; never None.
      own_width: gate of the expanding convolution (of "fused": the projecting one).
      squeeze, add: gates of squeeze-excite and addition.
      kernel_sizes: falling; where there are several, slot "NAME/kernel" holds the one in use.
      activations: where there are several, slot "NAME/activation" holds the index of the one in use.
    """

    stage: int
    block: int
    layer: str
    name: str
    op: str
    stride: int
    active: str
    inputs: Width
    hidden: Width
    outputs: Width
    se: Width
    own_width: Gate
    squeeze: Gate
    add: Gate
    kernel_sizes: tuple[int, ...]
    activations: tuple[str, ...]

    @property
    def kernel_slot(self) -> str | None:
        """The slot of the kernel size in use."""
        return f"{self.name}/kernel" if len(self.kernel_sizes) > 1 else None

    @property
    def activation_slot(self) -> str | None:
        """The slot of the activation in use."""
        return f"{self.name}/activation" if len(self.activations) > 1 else None

    def side_slot(self, kernel_size: int) -> str:
        """The slot of the side of the part in use of the kernel (of a transform's rows) of this size."""
        return f"{self.name}/side{kernel_size}"

    @property
    def spatial(self) -> str:
        """The layer with the elastic kernel, without its block's name."""
        return "fused_conv" if self.op == "fused" else "dw"

    @property
    def slots(self) -> tuple[str, ...]:
        """All slots that it reads."""
        found = [self.active, self.own_width, self.squeeze, self.add, self.kernel_slot, self.activation_slot]
        found += [width.slot for width in (self.inputs, self.hidden, self.outputs, self.se)]
        if self.kernel_slot:
            found += [self.side_slot(size) for size in self.kernel_sizes]
        return tuple(dict.fromkeys(slot for slot in found if slot))


@dataclass(frozen=True, slots=True)
class Ends:
    """What is before and after the blocks.

    `last` is the last block's outputs; `head` is None without a head convolution; `units` are the hidden layers.
    """

    stem: Width
    last: Width
    head: Width | None
    units: tuple[Width, ...]
    classes: Width

    @property
    def slots(self) -> tuple[str, ...]:
        """All slots that it reads."""
        found = [self.stem, self.last, *([self.head] if self.head else []), *self.units]
        return tuple(dict.fromkeys(width.slot for width in found if width.slot))


def width_of(sizes: tuple[int, ...], slot: str, stream: str) -> Width:
    """The channels of a tensor that may have so many."""
    return Width(max(sizes), slot if len(sizes) > 1 else None, stream)


def branches_of(places: tuple[Place, ...]) -> tuple[tuple[Branch, ...], ...]:
    """The branches at each place."""
    found = []
    stream = "stem"
    for place in places:
        if place.block == 0:
            before, stream = stream, _stream_of_stage(place, stream)
            found.append(_branches(place, before, stream))
        else:
            found.append(_branches(place, stream, stream))
    return tuple(found)


def _stream_of_stage(place: Place, before: str) -> str:
    """A new one, unless the largest block adds its inputs to its outputs."""
    adds = any(True in item.has_add and item.inputs[-1] == item.outputs[-1] for item in place.variants)
    return before if adds else f"s{place.stage}"


def _branches(place: Place, before: str, after: str) -> tuple[Branch, ...]:
    is_certain = not place.is_optional and len(place.variants) == 1
    return tuple(_branch(place, item, before, after, is_certain) for item in place.variants)


def _branch(place: Place, item: Variants, before: str, after: str, is_certain: bool) -> Branch:
    name = f"{place.name}/{item.op}"
    inputs, outputs = width_of(item.inputs, f"{name}/in", before), width_of(item.outputs, f"{name}/out", after)
    hidden = width_of(item.hidden, f"{name}/hidden", f"{name}/hidden")
    if True not in item.has_own_width:
        hidden = outputs if item.op == "fused" else inputs
    return Branch(
        place.stage,
        place.block,
        place.name,
        name,
        item.op,
        item.stride,
        active="" if is_certain else name,
        inputs=inputs,
        hidden=hidden,
        outputs=outputs,
        se=width_of(item.se or (1,), f"{name}/se", f"{name}/se"),
        own_width=_gate(item.has_own_width, f"{name}/own_width"),
        squeeze=_gate(item.has_se, f"{name}/squeeze"),
        add=_gate(item.has_add, f"{name}/add"),
        kernel_sizes=item.kernel_sizes,
        activations=item.activations,
    )


def _gate(options: frozenset[bool], slot: str) -> Gate:
    if len(options) > 1:
        return slot
    return "" if True in options else None


def ends_of(template: ArchSpec, places: tuple[Place, ...], stream: str) -> Ends:
    """The ends of a space's networks; `stream` is that of the last block's outputs."""
    outputs = last_widths(places)
    heads = values(template.head_channels)
    return Ends(
        stem=width_of(widths(template, template.stem_channels), "stem/out", "stem"),
        last=width_of(outputs, "last/out", stream),
        head=None if heads == (0,) else width_of(heads, "head/out", "head"),
        units=tuple(
            width_of(values(units), f"units{index}/out", f"units{index}")
            for index, units in enumerate(template.head_units)
        ),
        classes=Width(template.num_classes, None, "classes"),
    )


def last_widths(places: tuple[Place, ...]) -> tuple[int, ...]:
    """What the last stage's outputs may be wide."""
    last = [place for place in places if place.stage == places[-1].stage]
    return tuple(sorted({size for place in last for item in place.variants for size in item.outputs}))

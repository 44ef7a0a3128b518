"""A network cut into the blocks whose latencies are measured: stem, blocks, head. No TensorFlow here.

The cut is that of the latency lookup tables of ProxylessNAS and FBNet (Cai et al. 2019, arXiv:1812.00332, appendix B;
Wu et al. 2019, arXiv:1812.03443, section 3.2): a block has the same latency in every network, so a few hundred blocks
tell those of 10^10 and more networks. What the cut changes (fusion and caches across it) is left to
search.latency.table.fit_overhead.
"""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass

from core.checks import in_choices
from core.errors import bad_value
from search.arch import ArchSpec, BlockSpec, StageSpec, canonical, make_divisible
from search.grammar import block_text, from_text, to_text
from search.layers import Layer
from search.lowering import layers_of

DATA_TYPES = ("float32", "int8")
STEM, BLOCK, HEAD = "stem", "block", "head"
INPUT = "image"
HEAD_FIELDS = ("head_channels", "head_activation", "head_units", "head_norm", "pooling", "num_classes")

Shape = tuple[int, int, int]

_FEWEST_CLASSES = 2
_ANY_RESOLUTION = 224  # at which every token can be parsed
_LOWEST_RESOLUTION = 8  # of an ArchSpec


@dataclass(frozen=True, slots=True)
class BlockKey:
    """Everything that decides the latency of a part of a network on a given target.

    Attributes:
      part: STEM, BLOCK or HEAD.
      height, width, channels: of its input.
      token: the part in the grammar of search.grammar, its channels already multiplied by the width multiplier and its
        inactive fields left out.
      num_classes: of a head; else 0.
      norm, form: as in ArchSpec.
      data_type: "int8" (full-integer) or "float32".
    """

    part: str
    height: int
    width: int
    channels: int
    token: str
    num_classes: int
    norm: str
    form: str
    data_type: str

    @property
    def input_shape(self) -> Shape:
        """(height, width, channels)."""
        return self.height, self.width, self.channels

    @property
    def text(self) -> str:
        """One line that tells it from every other key, such as "int8 56x56x24 ir_r1_k3_s1_e6_c24"."""
        words = [self.data_type, "x".join(map(str, self.input_shape)), self.token]
        words += [f"n{self.num_classes}"] if self.num_classes else []
        words += [self.norm] if self.norm != "bn" else []
        return " ".join(words + ([self.form] if self.form != "plain" else []))


def blocks_of(arch: ArchSpec, data_type: str) -> tuple[BlockKey, ...]:
    """The parts of a network in the order of execution, a repeated one each time.

    A block that does nothing has no key. Raises CandidateError if the shapes of the network do not fit.
    """
    in_choices("latency blocks: data type", data_type, DATA_TYPES)
    arch = canonical(arch)
    cut = Cut(arch.norm, arch.form, data_type)
    stem, shape = cut.stem(arch)
    keys = [stem]
    for stage in arch.stages:
        for block in stage.active:
            key, shape = cut.block(shape, at_width(block, arch.width_multiplier))
            keys.append(key)
    keys.append(cut.head(shape, arch))
    return tuple(key for key in keys if key is not None)


def at_width(block: BlockSpec, width_multiplier: float) -> BlockSpec:
    """The block that has those channels without a width multiplier (see ArchSpec.scaled)."""
    if width_multiplier == 1:
        return block
    return dataclasses.replace(block, out_channels=make_divisible(block.out_channels * width_multiplier))


@dataclass(frozen=True, slots=True)
class Cut:
    """Makes the keys of the parts of networks that share a norm, a form and a data type.

    Its methods answer repeated questions at once, as a search asks them for one network after another. Each returns
    None in place of a key where the part has no layers.
    """

    norm: str
    form: str
    data_type: str

    def stem(self, arch: ArchSpec) -> tuple[BlockKey | None, Shape]:
        """The key of a network's stem, and the shape of what it makes."""
        image = (arch.resolution, arch.resolution, 3)
        if not arch.stem_channels:
            return None, image
        channels = arch.scaled(arch.stem_channels)
        return _stem(self, arch.resolution, channels, arch.stem_stride, arch.stem_activation)

    def block(self, shape: Shape, block: BlockSpec) -> tuple[BlockKey | None, Shape]:
        """The key of a block with an input of that shape, and the shape of its output. Raises CandidateError."""
        return _block(self, shape, block)

    def head(self, shape: Shape, arch: ArchSpec) -> BlockKey:
        """The key of a network's head (classifier and softmax included). Raises CandidateError."""
        network = dataclasses.replace(_smallest(self, shape[2]), **{name: getattr(arch, name) for name in HEAD_FIELDS})
        return _head(self, shape, network)

    def key(self, part: str, shape: Shape, token: str, num_classes: int = 0) -> BlockKey:
        """The key of a part with those of the cut."""
        return BlockKey(part, *shape, token, num_classes, self.norm, self.form, self.data_type)


@functools.lru_cache(maxsize=1 << 10)
def _stem(cut: Cut, resolution: int, channels: int, stride: int, activation: str) -> tuple[BlockKey, Shape]:
    image = (resolution, resolution, 3)
    arch = dataclasses.replace(_smallest(cut, channels), stem_stride=stride, stem_activation=activation)
    key = cut.key(STEM, image, to_text(arch).split()[1])
    return key, _own_layers(key, arch)[-1].out_shape


@functools.lru_cache(maxsize=1 << 16)
def _block(cut: Cut, shape: Shape, block: BlockSpec) -> tuple[BlockKey | None, Shape]:
    arch = canonical(dataclasses.replace(_smallest(cut, shape[2]), stages=(StageSpec((block,), 1),)))
    key = cut.key(BLOCK, shape, block_text(arch.stages[0].blocks[0]))
    layers = _own_layers(key, arch)
    return (key if len(layers) > 1 else None), layers[-1].out_shape


@functools.lru_cache(maxsize=1 << 12)
def _head(cut: Cut, shape: Shape, arch: ArchSpec) -> BlockKey:
    key = cut.key(HEAD, shape, to_text(arch).split()[-1], arch.num_classes)
    _own_layers(key, arch)
    return key


def _smallest(cut: Cut, channels: int) -> ArchSpec:
    """A network of next to nothing whose stage has so many input channels."""
    stages = (StageSpec((BlockSpec("id", out_channels=channels),), 1),)
    return ArchSpec(channels, stages, 0, 1.0, _ANY_RESOLUTION, _FEWEST_CLASSES, norm=cut.norm, form=cut.form)


def carrier(key: BlockKey, copies: int = 1) -> ArchSpec:
    """A network that holds the part, with its input shape, `copies` times in a row and little else.

    Raises UsageError if there are to be several copies of a part that cannot follow itself.
    """
    _check_copies(key, copies)
    return _sized(key, _parsed(key), copies)


def block_layers(key: BlockKey, copies: int = 1) -> tuple[Layer, ...]:
    """The part alone: an input layer INPUT of the part's input shape, then its layers; the last one is its output.

    Raises CandidateError if the shapes do not fit, UsageError as `carrier`.
    """
    _check_copies(key, copies)
    return _own_layers(key, _parsed(key), copies)


def _check_copies(key: BlockKey, copies: int) -> None:
    if copies != 1 and not (copies > 1 and is_chainable(key)):
        legal = "1 or more" if is_chainable(key) else "1: it cannot follow itself"
        raise bad_value(f"latency block {key.text!r}: copies", copies, legal)


def _parsed(key: BlockKey) -> ArchSpec:
    """The smallest network with the part's token."""
    stem = key.token if key.part == STEM else f"stem_s2_c{key.channels}"
    block = key.token if key.part == BLOCK else "id_r1_s1_c8"
    head = key.token if key.part == HEAD else "head_c0"
    classes = key.num_classes or _FEWEST_CLASSES
    arch = from_text(f"input_r{_ANY_RESOLUTION}_n{classes}_w1 {stem} {block} {head}")
    channels = arch.stem_channels if key.part == STEM else key.channels
    stages = arch.stages if key.part == BLOCK else (StageSpec((BlockSpec("id", out_channels=channels),), 1),)
    return dataclasses.replace(arch, stages=stages, norm=key.norm, form=key.form)


def _sized(key: BlockKey, arch: ArchSpec, copies: int) -> ArchSpec:
    """The network at the resolution, and with the strides before its block, that give the part its input shape."""
    if key.part == STEM:
        return dataclasses.replace(arch, resolution=key.height)
    halvings, resolution = 0, 2 * key.height
    while resolution < _LOWEST_RESOLUTION:
        halvings, resolution = halvings + 1, 2 * resolution
    before = (BlockSpec("id", stride=2, out_channels=key.channels),) * halvings
    blocks = (*before, *arch.stages[0].blocks * copies)
    return dataclasses.replace(arch, resolution=resolution, stages=(StageSpec(blocks, len(blocks)),))


def _own_layers(key: BlockKey, arch: ArchSpec, copies: int = 1) -> tuple[Layer, ...]:
    sized = _sized(key, arch, copies)
    first = len(sized.stages[0].blocks) - copies
    own = tuple(layer for layer in layers_of(sized) if _is_of(layer.name, key.part, first))
    names = {layer.name for layer in own}
    moved = [
        dataclasses.replace(layer, inputs=tuple(name if name in names else INPUT for name in layer.inputs))
        for layer in own
    ]
    return (Layer("input", INPUT, (), key.input_shape), *moved)


def _is_of(name: str, part: str, first: int) -> bool:
    """Whether a carrier's layer belongs to the part; `first` is the place of the first copy in its stage."""
    if name.startswith("stem_"):
        return part == STEM
    if name.startswith("s0_b"):
        return part == BLOCK and int(name.split("_")[1][1:]) >= first
    return part == HEAD and name != INPUT


@functools.lru_cache(maxsize=1 << 16)
def output_shape(key: BlockKey) -> Shape:
    """(height, width, channels) of the part's output. Raises CandidateError if the shapes do not fit."""
    return block_layers(key)[-1].out_shape


def is_chainable(key: BlockKey) -> bool:
    """Whether the part can follow itself: a block whose output has the shape of its input."""
    return key.part == BLOCK and output_shape(key) == key.input_shape


def io_types(key: BlockKey) -> tuple[str, str]:
    """The types of input and output that a file of the part alone should have.

    Those of an int8 block are int8: with uint8 or float32 the file would hold a QUANTIZE and a DEQUANTIZE that the
    network does not have. The stem reads, and the head writes, what the whole network does.
    """
    if key.data_type == "float32":
        return "float32", "float32"
    return ("uint8" if key.part == STEM else "int8"), ("uint8" if key.part == HEAD else "int8")

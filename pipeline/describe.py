"""A network as a page: its grammar lines, what each block costs, the totals, and what its authors published.

Reads specs alone; no TensorFlow.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from core.errors import UsageError, one_of
from core.progress import Reporter
from search.arch import ArchSpec, BlockSpec, StageSpec
from search.cost import Cost, cost, layer_costs
from search.grammar import block_text, from_text, to_text
from search.layers import Layer
from search.lowering import layers_of
from search.named import DEFAULT_CLASSES, DEFAULT_RESOLUTION, network, space
from search.networks import NETWORKS
from search.networks.published import PUBLISHED, Published, counted_params
from search.space import Gene, SearchSpace
from search.spaces import SPACES
from search.tf_graph import MODEL
from search.tflite_plan import alive_bytes, operators_of

SPACE_PREFIX = "space:"  # tells a space from the network of the same name
FORM = "input_rR_nN_wW stem_sS_cC STAGE ... head_cC"  # of a network's text, in short

_BLOCK = re.compile(r"s(\d+)_b(\d+)_")
_PART = re.compile(r"stem|head|pool|flatten|units\d+|scores|logits")


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line asks for; None leaves a value as the network has it."""

    resolution: int | None = None
    num_classes: int | None = None
    width_multiplier: float | None = None

    @property
    def values(self) -> dict[str, Any]:
        """The fields that are set."""
        return {name: value for name, value in dataclasses.asdict(self).items() if value is not None}


@dataclass(frozen=True, slots=True)
class Row:
    """One block, or one part of stem and head.

    Attributes:
      stage: "stem", the stage's index, or "head".
      block: its item of the grammar.
      out_shape: (height, width, channels).
      memory_bytes: of int8 activations that are alive at the block's own peak, its input and all else that is still
        needed included.
    """

    stage: str
    block: str
    out_shape: tuple[int, int, int]
    params: int
    macs: int
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class NetworkPage:
    """All that is told about a network; `published` only of a named one as it was published."""

    title: str
    arch: ArchSpec
    rows: tuple[Row, ...]
    totals: Cost
    published: Published | None = None

    @property
    def lines(self) -> tuple[str, ...]:
        """The network's text, a line for each stage; the lines in a row are the text itself."""
        return tuple(to_text(self.arch).split())


@dataclass(frozen=True, slots=True)
class SpacePage:
    """All that is told about a search space."""

    space: SearchSpace
    genes: tuple[Gene, ...]
    size: int


def describe(text: str, asked: Asked) -> NetworkPage | SpacePage:
    """The page of a network's name, a network's text, or a space's name (as "space:NAME" where a network has it too).

    Raises UsageError for anything else, and for a network that the asked values do not fit.
    """
    if len(text.split()) > 1 or text.startswith("input_"):
        return network_page("", dataclasses.replace(from_text(text), **asked.values))
    if text in NETWORKS:
        return named_page(text, asked)
    name = text.removeprefix(SPACE_PREFIX)
    if name in SPACES:
        return space_page(name, asked)
    raise UsageError(
        f"describe: {text!r} is not legal; expected a network ({one_of(NETWORKS)}), "
        f"a search space ({one_of(SPACES)}; space:NAME where a network has the name too), "
        f"or a network's text in one argument ({FORM!r})"
    )


def named_page(name: str, asked: Asked) -> NetworkPage:
    """The page of a reference network, by default as it was published."""
    published = PUBLISHED.get(name)
    values = {**_defaults(published), **asked.values}
    arch = network(name, **values)
    return dataclasses.replace(
        network_page(name, arch), published=published if values == _defaults(published) else None
    )


def network_page(title: str, arch: ArchSpec) -> NetworkPage:
    """The page of a network. Raises UsageError naming the place in its text if its shapes do not fit."""
    arch = from_text(to_text(arch))
    return NetworkPage(title, arch, tuple(_rows(arch)), cost(arch))


def space_page(name: str, asked: Asked) -> SpacePage:
    """The page of a search space. Raises UsageError if a width multiplier is asked for, which spaces do not have."""
    if asked.width_multiplier is not None:
        raise UsageError(f"--width_multiplier: {asked.width_multiplier} is not legal; expected none for a search space")
    values = {"resolution": DEFAULT_RESOLUTION, "num_classes": DEFAULT_CLASSES, **asked.values}
    found = space(name, int(values["resolution"]), int(values["num_classes"]))
    return SpacePage(found, found.genes, found.size)


def show(page: NetworkPage | SpacePage, reporter: Reporter) -> None:
    """Prints a page as wide as it is; a terminal that is narrower folds the cells."""
    if isinstance(page, NetworkPage):
        _show_network(page, reporter.console)
    else:
        _show_space(page, reporter.console)


def figure_text(value: int, bounds: tuple[int, int]) -> str:
    """A published number with the digits that it was printed with: "3.47M", "0.39G", "78,666".

    `bounds` are the exact numbers that it may be the rounding of; their distance is the last printed digit.
    """
    low, high = bounds
    if low == high:
        return f"{value:,}"
    digit = round(math.log10(high - low))
    exponent, unit = (9, "G") if digit > 6 else (6, "M")
    return f"{value / 10**exponent:.{exponent - digit}f}{unit}"


def published_lines(page: NetworkPage) -> tuple[str, ...]:
    """The published figures beside ours, and where they are from; empty if the page has none."""
    published = page.published
    if published is None:
        return ()
    parts = []
    if published.params is not None:
        ours = f"{counted_params(page.arch, published.counts):,} counted alike"
        parts.append(f"params {figure_text(published.params, published.params_range)} (ours {ours})")
    if published.macs is not None:
        differs = " (ours differ)" if "macs" in published.unmet else ""
        parts.append(f"MACs {figure_text(published.macs, published.macs_range)}{differs}")
    figures = [f"published   {', '.join(parts)}"] if parts else []
    notes = [f"note        {published.note}"] if published.note else []
    return (*figures, f"source      {published.source}", *notes)


def _defaults(published: Published | None) -> dict[str, Any]:
    resolution = published.resolution if published else DEFAULT_RESOLUTION
    num_classes = published.num_classes if published else DEFAULT_CLASSES
    return {"resolution": resolution, "num_classes": num_classes, "width_multiplier": 1.0}


def _rows(arch: ArchSpec) -> Iterable[Row]:
    layers = layers_of(arch)
    costs = {item.layer.name: item for item in layer_costs(layers)}
    parts: dict[str, list[Layer]] = {"stem": []} if arch.stem_channels else {}
    parts |= {f"s{i}_b{j}_": [] for i, stage in enumerate(arch.stages) for j in range(len(stage.active))}
    for layer in layers[1:]:  # the image is no block
        parts.setdefault(_part(layer.name), []).append(layer)
    memory = _memory(layers, list(parts))
    shape = layers[0].out_shape
    for part, members in parts.items():
        shape = members[-1].out_shape if members else shape  # an identity has no layers
        params, macs = (sum(getattr(costs[layer.name], name) for layer in members) for name in ("params", "macs"))
        yield Row(*_names(part, arch), shape, params, macs, memory.get(part, 0))


def _memory(layers: Sequence[Layer], parts: Sequence[str]) -> dict[str, int]:
    """The most bytes alive while an operator of each part runs; the conversions of image and scores are the ends'."""
    operators = operators_of(layers)
    found: dict[str, int] = {}
    for operator, alive in zip(operators, alive_bytes(operators), strict=True):
        part = _part(operator.output.removeprefix(f"{MODEL}/"), default=parts[-1] if found else parts[0])
        found[part] = max(found.get(part, 0), alive)
    return found


def _part(layer_name: str, default: str = "") -> str:
    """The block or other part that a layer belongs to, from the names that search.lowering gives."""
    match = _BLOCK.match(layer_name) or _PART.match(layer_name)
    return match[0] if match else default


def _names(key: str, arch: ArchSpec) -> tuple[str, str]:
    """(stage, block) as a row shows them."""
    if match := _BLOCK.fullmatch(key):
        stage = int(match[1])
        return match[1], block_text(arch.stages[stage].active[int(match[2])])
    if key == "stem":
        return "stem", to_text(arch).split()[1]
    if key.startswith("units"):
        return "head", f"u{arch.head_units[int(key.removeprefix('units'))]}"
    last = "mean" if arch.pooling == "scores" else f"n{arch.num_classes}"
    names = {"head": f"c{arch.head_channels}", "pool": "mean", "scores": f"n{arch.num_classes}", "logits": last}
    return "head", names.get(key, key)


def _show_network(page: NetworkPage, console: Console) -> None:
    arch = page.arch
    if page.title:
        print_line(
            console, f"{page.title} for {arch.resolution} x {arch.resolution} pixels, {arch.num_classes} classes"
        )
        print_line(console)
    for line in page.lines:
        print_line(console, line)
    print_line(console)
    table = Table(box=None, pad_edge=False)
    table.add_column("stage", no_wrap=True)
    table.add_column("block", overflow="fold")
    for heading in ("output", "params", "MACs", "memory, kB"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in page.rows:
        numbers = (f"{row.params:,}", f"{row.macs:,}", f"{row.memory_bytes / 1e3:,.1f}")
        table.add_row(row.stage, row.block, "x".join(map(str, row.out_shape)), *numbers)
    console.print(table, markup=False)
    print_line(console)
    totals = page.totals
    print_line(console, f"params      {totals.params:,}")
    print_line(console, f"MACs        {totals.macs:,}")
    print_line(console, f"peak memory {totals.peak_memory_bytes / 1e3:,.1f} kB of int8 activations")
    print_line(console, f"int8 size   {totals.int8_size_bytes / 1e3:,.1f} kB of .tflite, estimated")
    for line in published_lines(page):
        print_line(console, line)


def _show_space(page: SpacePage, console: Console) -> None:
    template = page.space.template
    print_line(console, f"search space {page.space.name} for {template.resolution} x {template.resolution} pixels")
    print_line(console)
    table = Table(box=None, pad_edge=False)
    table.add_column("gene", overflow="fold")
    table.add_column("choices", overflow="fold")
    for gene in page.genes:
        table.add_row(gene.path, ", ".join(map(_choice_text, gene.choices)))
    console.print(table, markup=False)
    print_line(console)
    print_line(console, f"{len(page.genes)} genes, {page.size:,} genotypes ({page.size:.1e})")


def _choice_text(choice: Any) -> str:
    """A choice in words; of a stage its first block, where "*" are numbers that later genes decide."""
    if isinstance(choice, StageSpec):
        return block_text(choice.blocks[0])
    return block_text(choice) if isinstance(choice, BlockSpec) else str(choice)


def print_line(console: Console, text: str = "") -> None:
    """One line as it is: neither folded nor taken for markup."""
    console.print(text, markup=False, emoji=False, soft_wrap=True)

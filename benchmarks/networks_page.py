"""docs/networks.md as text: what the reference networks cost, what their authors published, and what was measured."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from core.registry import load
from core.values import Measurement
from pipeline.describe import NetworkPage, figure_text
from pipeline.report_units import MISSING, latency, size
from search.networks import NETWORKS
from search.networks.published import Published, counted_params

HEADINGS = (
    "network",
    "resolution",
    "params",
    "counted alike",
    "published",
    "MACs",
    "published",
    "float32 .tflite",
    "int8 .tflite",
    "int8 latency",
)

INTRODUCTION = """\
# Reference networks

Written by `python -m benchmarks.networks`; do not edit. `python -m pipeline.main describe NAME` shows a network block
by block, with shapes and costs.

"""

COLUMNS = """\
- **resolution**: of the input in pixels, as published; three channels. 1,000 classes unless the network's section says
  otherwise, width multiplier 1.
- **params**, **MACs**: computed from the specification alone, and equal to those of the Keras model that it builds.
  Parameters are counted as Keras does, with four values for each channel of a batch normalization; a MAC is one
  multiplication with its addition in a convolution (a group sees only its own channels) or a fully connected layer.
- **published**: as printed in the source that the network's section names; **counted alike**: our parameters with two
  values for each channel of a batch normalization, or none, where the source counts so. Where ours rounds to another
  figure (≠), the section says why.
- **float32**, **int8 .tflite**: sizes after conversion with random weights, on which they do not depend; int8 is
  full-integer quantization, weights and activations.
- **int8 latency**: {conditions}

The exact figures (params, MACs and what was published) are kept true by `tests/test_docs_networks.py`; sizes and
latencies were measured.

Below, each network stands as the text that `describe`, trial logs and tests read: input, stem, a line for each stage,
head. An item such as `ir_r2_k3_s2_e6_c24` is an operator with its repeats, kernel size, stride (of the first), expand
ratio and output channels; `search/grammar.py` lists all letters and words.
"""

ENDING = """\
## Doing it again

```
python -m benchmarks.networks             # converts and measures what is new or changed, and writes this page
python -m benchmarks.networks --latency   # measures all latencies again; needs an idle machine
```

## Adding a network

A function of (resolution, num_classes, width_multiplier) that returns an `ArchSpec`, in a file of `search/networks/`;
a line in the table of `search/networks/__init__.py`; and what was published of it, in `search/networks/published.py`.
The conformance suite then trains, quantizes and converts it, and the command above adds it to this page.

## Adding a block

A function that lists the block's primitive layers, in a file of `search/blocks/`, and a line in the table of
`search/blocks/table.py` with the fields that it reads. Grammar, costs, Keras models, search spaces and the
conformance suite follow from these. Only a primitive layer that `search/layers.py` lacks also needs its Keras layer
in `search/build.py`, its cost in `search/cost.py`, and what the converter makes of it in `search/tf_graph.py` and
`search/tflite_plan.py`.
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """A network of NETWORKS: its page, and what was measured of it (None: not yet)."""

    name: str
    described: NetworkPage
    float32_size_bytes: int | None = None
    int8_size_bytes: int | None = None
    measured: Measurement | None = None

    @property
    def module(self) -> str:
        """The module that defines the network's family."""
        return NETWORKS[self.name].partition(":")[0]


def page(entries: Sequence[Entry]) -> str:
    """The whole page, in Markdown."""
    parts = [INTRODUCTION, _table(entries), "\n", COLUMNS.format(conditions=_conditions(entries)), "\n"]
    for module, family in groupby(sorted(entries, key=_family_order), key=lambda entry: entry.module):
        title = str(importlib.import_module(module).__doc__).splitlines()[0].rstrip(".")
        parts += [f"## {title}\n\n", *(section for entry in family for section in _section(entry))]
    return "".join([*parts, ENDING])


def _family_order(entry: Entry) -> int:
    modules = [value.partition(":")[0] for value in NETWORKS.values()]
    return modules.index(entry.module)


def _table(entries: Iterable[Entry]) -> str:
    rows = [HEADINGS, ("---", *["---:"] * (len(HEADINGS) - 1)), *(_cells(entry) for entry in entries)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _cells(entry: Entry) -> tuple[str, ...]:
    described, published = entry.described, entry.described.published
    return (
        f"[{entry.name}](#{entry.name})",
        str(described.arch.resolution),
        f"{described.totals.params:,}",
        _counted_alike(described),
        _published(published, "params"),
        f"{described.totals.macs:,}",
        _published(published, "macs"),
        MISSING if entry.float32_size_bytes is None else size(entry.float32_size_bytes),
        MISSING if entry.int8_size_bytes is None else size(entry.int8_size_bytes),
        _latency(entry.measured),
    )


def _counted_alike(described: NetworkPage) -> str:
    published = described.published
    if published is None or published.params is None:
        return MISSING
    return f"{counted_params(described.arch, published.counts):,}"


def _published(published: Published | None, figure: str) -> str:
    value = getattr(published, figure, None)
    if published is None or value is None:
        return MISSING
    return ("≠ " if figure in published.unmet else "") + figure_text(value, getattr(published, f"{figure}_range"))


def _latency(measured: Measurement | None) -> str:
    if measured is None:
        return MISSING
    return latency(measured.latency.median_us) + ("" if measured.verdict == "ok" else " (noisy)")


def _section(entry: Entry) -> Iterator[str]:
    published = entry.described.published
    yield f"### {entry.name}\n\n{_told_of(entry.name)}\n\n"
    if published:
        yield f"Figures: {published.source}{'; ' + published.note if published.note else ''}.\n\n"
    yield "```text\n" + "".join(f"{line}\n" for line in entry.described.lines) + "```\n\n"


def _told_of(name: str) -> str:
    """The docstring of a network's function; a family's function tells of all its sizes."""
    function = load(NETWORKS, name, "network")
    return inspect.getdoc(getattr(function, "func", function)) or ""


def _conditions(entries: Sequence[Entry]) -> str:
    """How the latencies were measured: what all measurements have in common, and in what they differ."""
    measured = [entry.measured for entry in entries if entry.measured]
    if not measured:
        return "not measured yet."
    hosts = sorted({item.conditions["host_cpu"] for item in measured})
    tools = sorted({item.tool for item in measured})
    threads = sorted({item.target.num_threads for item in measured})
    processes = sorted({item.latency.processes for item in measured})
    runs = sorted(item.latency.runs for item in measured)
    noisy = sum(item.verdict != "ok" for item in measured)
    text = (
        f"of one image on the host ({', '.join(hosts)}), threads: {_span(threads)}, pinned; {', '.join(tools)} with\n"
        f"  XNNPACK; median over {_span(processes)} fresh processes with {runs[0]:,} to {runs[-1]:,} runs in all. A "
        "host does\n  not rank int8 networks as a phone does."
    )
    text += f" {noisy} of {len(measured)} were disturbed and say so (noisy)." if noisy else ""
    parts = [(entry.name, entry.measured.conditions["delegate_partitions"]) for entry in entries if entry.measured]
    torn = [f"{name} ({count})" for name, count in parts if count not in ("0", "1", "unknown")]
    return text + (f"\n  XNNPACK took these not whole but in pieces: {', '.join(torn)}." if torn else "")


def _span(values: Sequence[int]) -> str:
    return str(values[0]) if len(values) == 1 else f"{values[0]} to {values[-1]}"

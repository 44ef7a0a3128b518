"""docs/networks.md tells the truth: its exact columns and its grammar lines are those of the specifications."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

import pytest

from benchmarks.networks import Converted, Results, convert_all, layers_id, write_page
from core import process
from core.progress import SilentReporter
from search.cost import cost
from search.grammar import from_text
from search.named import network
from search.networks import NETWORKS
from search.networks.published import PUBLISHED, counted_params
from tests.tree import ROOT

PAGE = ROOT / "docs" / "networks.md"
AGAIN = "run `python -m benchmarks.networks`, which writes the page"
MISSING = "–"


def table() -> dict[str, list[str]]:
    """The cells of each network's row after its name."""
    rows = re.findall(r"^\| \[(\w+)\]\(#\1\) \| (.*) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(dict(rows)) == len(rows), "a network has two rows"
    return {name: cells.split(" | ") for name, cells in rows}


def texts() -> dict[str, str]:
    """The grammar lines in each network's section."""
    sections = re.findall(
        r"^### (\w+)\n.*?```text\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    return dict(sections)


def test_the_page_has_every_network_once() -> None:
    assert list(table()) == list(NETWORKS), AGAIN
    assert sorted(texts()) == sorted(NETWORKS), AGAIN


@pytest.mark.parametrize("name", NETWORKS)
def test_exact_columns(name: str) -> None:
    published = PUBLISHED[name]
    arch = network(name, published.resolution, published.num_classes)
    resolution, params, alike, printed_params, macs, printed_macs, *_ = table()[name]
    assert (int(resolution), number(params), number(macs)) == (arch.resolution, cost(arch).params, cost(arch).macs), (
        AGAIN
    )
    for printed, value in ((printed_params, published.params), (printed_macs, published.macs)):
        assert printed == MISSING if value is None else number(printed.removeprefix("≠ ")) == value, AGAIN
    assert alike == MISSING if published.params is None else number(alike) == counted_params(arch, published.counts)


@pytest.mark.parametrize("name", NETWORKS)
def test_what_differs_from_the_published_is_marked_and_explained(name: str) -> None:
    _, _, alike, printed_params, macs, printed_macs, *_ = table()[name]
    for figure, ours, printed in (("params", alike, printed_params), ("macs", macs, printed_macs)):
        if printed != MISSING:
            low, high = getattr(PUBLISHED[name], f"{figure}_range")
            assert printed.startswith("≠ ") != (low <= number(ours) <= high), AGAIN
    if "≠" in printed_params + printed_macs:
        assert PUBLISHED[name].note


@pytest.mark.parametrize("name", NETWORKS)
def test_grammar_lines(name: str) -> None:
    published = PUBLISHED[name]
    assert from_text(texts()[name]) == network(name, published.resolution, published.num_classes), AGAIN


@pytest.mark.parametrize("name", NETWORKS)
def test_sizes_are_of_this_network(name: str) -> None:
    """A float file holds four bytes a parameter (batch norms are folded) and an int8 file about one."""
    float32, int8 = (megabytes(cell) for cell in table()[name][6:8])
    params = cost(network(name, PUBLISHED[name].resolution, PUBLISHED[name].num_classes)).params
    # 10 % for what folding takes away and 0.1 MB for the graph itself.
    assert float32 == pytest.approx(4e-6 * params, rel=0.1, abs=0.1)
    # Per-channel scales and 32-bit biases come on top: up to 40 % in networks of thin layers.
    assert 0.95e-6 * params - 0.1 < int8 < 1.4e-6 * params + 0.3


def test_finished_networks_are_kept_and_changed_ones_are_not(tmp_path: Path) -> None:
    results = Results(tmp_path)
    converted = Converted(layers_id("resnet8"), 400_000, 100_000, 1.5, {"tensorflow": "2"})
    results.keep_conversion("resnet8", converted, b"model")
    assert Results(tmp_path).converted("resnet8") == converted
    assert Results(tmp_path).converted("resnet18") is None
    results.keep_conversion("resnet18", converted, b"model")
    assert results.converted("resnet18") is None, "the record is of other layers"
    results.model("resnet8").unlink()
    assert results.converted("resnet8") is None, "there is nothing to measure"


def test_a_network_that_fails_does_not_stop_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results, done = Results(tmp_path), []

    def run(command: list[str], *, timeout_s: float) -> None:
        done.append(command[3])
        if command[3] == "--convert=resnet8":
            raise process.ProcessError("python: exit code -9: (no output)")

    monkeypatch.setattr(process, "run", run)
    failures = convert_all(["resnet8", "resnet18"], results, SilentReporter())
    assert done == ["--convert=resnet8", "--convert=resnet18"]
    assert failures == ["resnet8: python: exit code -9: (no output)"]


def test_what_is_not_measured_is_a_dash(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.keep_conversion("resnet8", Converted(layers_id("resnet8"), 412_000, 98_700, 1.5, {}), b"model")
    write_page(tmp_path / "page.md", results)
    rows = [line for line in (tmp_path / "page.md").read_text(encoding="utf-8").splitlines() if "](#" in line]
    ends = {row.split("[")[1].split("]")[0]: row.split(" | ")[7:] for row in rows}
    assert ends["resnet8"] == ["412\N{NO-BREAK SPACE}kB", "98.7\N{NO-BREAK SPACE}kB", "– |"]
    assert ends["resnet18"] == ["–", "–", "– |"]


def number(text: str) -> int:
    """The number of "3,538,984", "3.47M" or "0.39G"."""
    digits, exponent = text.replace(",", "").rstrip("MG"), {"M": 6, "G": 9}.get(text[-1], 0)
    return round(Decimal(digits) * 10**exponent)


def megabytes(cell: str) -> float:
    """The figure of a size such as "3.47 MB" or "98.1 kB"."""
    value, unit = cell.split()
    return float(value.replace(",", "")) * {"MB": 1.0, "kB": 1e-3}[unit]

"""`describe`: the page as values, the page as text, and what the command refuses."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from core.errors import UsageError
from core.progress import Reporter
from pipeline.describe import Asked, NetworkPage, SpacePage, describe, named_page, show
from search.cost import cost
from search.grammar import from_text
from search.named import network, space
from search.networks import NETWORKS
from search.networks.published import PUBLISHED
from search.spaces import SPACES

ROOT = Path(__file__).parents[2]
# Of CPU time, which other processes do not change; TensorFlow's import alone takes 4 s or more.
INSTANT_S = 2.0
TINY = "input_r32_n10_w1 stem_s2_c16 ir_r2_k3_s2_e6_c24+ir3_r1_k5_s1_e4_c24_se0.25_hswish head_c64_u32_relu"


def network_page(text: str, **values: float) -> NetworkPage:
    """The page of a network."""
    page = describe(text, Asked(**values))  # type: ignore[arg-type]
    assert isinstance(page, NetworkPage)
    return page


def printed(page: NetworkPage | SpacePage, width: int | None = None) -> list[str]:
    """The lines that `show` writes to a terminal of `width` columns, or to a pipe."""
    file = io.StringIO()
    console = Console(file=file, width=width or 200, force_terminal=False, highlight=False, soft_wrap=True)
    show(page, Reporter(console))
    return [line.rstrip() for line in file.getvalue().splitlines()]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command as a user meets it, into a pipe."""
    command = [sys.executable, "-m", "pipeline.main", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_rows_of_a_network_add_up_to_its_cost(name: str) -> None:
    page = network_page(name)
    assert sum(row.params for row in page.rows) == page.totals.params
    assert sum(row.macs for row in page.rows) == page.totals.macs
    assert max(row.memory_bytes for row in page.rows) == page.totals.peak_memory_bytes
    assert page.totals == cost(page.arch)
    blocks = [block for stage in page.arch.stages for block in stage.active]
    assert len([row for row in page.rows if row.stage.isdecimal()]) == len(blocks)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_lines_of_a_network_are_its_text(name: str) -> None:
    page = network_page(name)
    assert from_text("\n".join(page.lines)) == page.arch
    assert network_page(" ".join(page.lines)).rows == page.rows


def test_a_network_is_described_as_published_unless_asked_otherwise() -> None:
    published = named_page("efficientnet_lite4", Asked())
    assert published.arch == network("efficientnet_lite4", PUBLISHED["efficientnet_lite4"].resolution, 1000)
    assert published.published is PUBLISHED["efficientnet_lite4"]
    other = network_page("efficientnet_lite4", resolution=64, num_classes=7, width_multiplier=0.5)
    assert other.arch == network("efficientnet_lite4", 64, 7, 0.5)
    assert other.published is None, "the published figures are of another network"


def test_every_network_says_where_it_is_from() -> None:
    silent = [name for name in NETWORKS if not any(line.startswith("source ") for line in printed(network_page(name)))]
    assert not silent


def test_mobilenet_v2_is_the_one_of_keras() -> None:
    """3,538,984 parameters are those of tf_keras.applications.MobileNetV2; the paper's table 4 has 300 M MACs."""
    text = printed(network_page("mobilenet_v2"))
    assert "params      3,538,984" in text
    assert "MACs        300,774,272" in text
    assert "stem_s2_c32" in text


def test_rows_name_stage_block_and_shape() -> None:
    rows = [(row.stage, row.block, row.out_shape) for row in network_page(TINY).rows]
    assert rows == [
        ("stem", "stem_s2_c16", (16, 16, 16)),
        ("0", "ir_r1_k3_s2_e6_c24", (8, 8, 24)),
        ("0", "ir_r1_k3_s1_e6_c24", (8, 8, 24)),
        ("0", "ir3_r1_k5_s1_e4_c24_se0.25_hswish", (8, 8, 24)),
        ("head", "c64", (8, 8, 64)),
        ("head", "mean", (1, 1, 64)),
        ("head", "u32", (1, 1, 32)),
        ("head", "n10", (1, 1, 10)),
    ]


def test_a_block_without_layers_keeps_its_row() -> None:
    page = network_page("input_r32_n10_w1 stem_s2_c16 id_r1_s1_c16 ds_r1_k3_s1_c16 head_c0")
    assert [row.block for row in page.rows][1:3] == ["id_r1_s1_c16", "ds_r1_k3_s1_c16"]
    assert [(row.params, row.macs, row.out_shape) for row in page.rows][1:2] == [(0, 0, (16, 16, 16))]


def test_a_text_takes_the_asked_values() -> None:
    page = network_page(TINY, resolution=64, num_classes=3)
    assert page.lines[0] == "input_r64_n3_w1"
    assert page.rows[-1].out_shape == (1, 1, 3)


@pytest.mark.parametrize("name", ["vgg16", "mobilenet_v3_large", "efficientnet_b7", "squeezenet_1_1"])
@pytest.mark.parametrize("width", [80, None])
def test_nothing_is_cut_off(name: str, width: int | None) -> None:
    """In 80 columns the cells of a table are folded, in a pipe each row is a line; no character is lost on either."""
    page = network_page(name)
    lines = printed(page, width)
    start = next(index for index, line in enumerate(lines) if line.startswith("stage"))
    table = lines[start + 1 : lines.index("", start)]
    assert max(map(len, lines[start : start + 1 + len(table)])) <= (width or 200)
    firsts = [line.split() for line in table if not line.startswith(" ")]
    assert [cells[0] for cells in firsts] == [row.stage for row in page.rows]
    for cells, row in zip(firsts, page.rows, strict=True):
        shape = "x".join(map(str, row.out_shape))
        assert cells[2:] == [shape, f"{row.params:,}", f"{row.macs:,}", f"{row.memory_bytes / 1e3:,.1f}"]
    # The pieces of a folded cell stand one below the other; together they are the blocks.
    pieces = [line.split()[1 if not line.startswith(" ") else 0] for line in table]
    assert "".join(pieces) == "".join(row.block for row in page.rows)
    if width is None:
        assert len(table) == len(page.rows)


@pytest.mark.parametrize("name", SPACES)
def test_a_space_lists_its_genes(name: str) -> None:
    page = describe(f"space:{name}", Asked(resolution=32, num_classes=10))
    assert isinstance(page, SpacePage)
    expected = space(name, 32, 10)
    assert (page.space, page.genes, page.size) == (expected, expected.genes, expected.size)
    lines = printed(page, 80)
    assert all(any(gene.path in line for line in lines) for gene in page.genes)
    assert any(f"{page.size:,} genotypes" in line for line in lines)
    assert not any("Spec(" in line or "OneOf" in line for line in lines)


def test_a_name_of_both_is_the_network() -> None:
    assert isinstance(describe("mobilenet_v2", Asked()), NetworkPage)
    only = [name for name in SPACES if name not in NETWORKS]
    assert all(isinstance(describe(name, Asked()), SpacePage) for name in only)


@pytest.mark.parametrize(
    ("text", "asked", "parts"),
    [
        ("mobilenet_v9", Asked(), ("'mobilenet_v9'", "mobilenet_v2", "vgg16", "space:NAME", "input_rR_nN_wW")),
        ("", Asked(), ("''", "mobilenet_v2")),
        ("space:vgg16", Asked(), ("'space:vgg16'",)),
        ("input_r32_n10_w1", Asked(), ("expected", "stem_", "head_")),
        (TINY.replace("k5", "k4"), Asked(), ("ir3_r1_k4", "kernel_size", "4")),
        (TINY.replace("ir_", "irr_"), Asked(), ("irr_r2", "op")),
        (TINY.replace("r32", "r8").replace("ir_r2_k3_s2", "max_r5_k5_s1_valid+ir_r2_k3_s2"), Asked(), ("max_r5_k5",)),
        ("vgg16", Asked(resolution=16), ("max_r1_k2_s2_valid", "does not fit")),
        ("mobilenet_v2", Asked(resolution=4), ("resolution", "4", "from 8")),
        (TINY, Asked(resolution=4), ("resolution", "4", "from 8")),
        ("mobilenet_v2", Asked(num_classes=1), ("num_classes", "1", "from 2")),
        ("mobilenet_v2", Asked(width_multiplier=0.0), ("width_multiplier", "0", "from 0.05")),
        ("space:mobilenet_v2", Asked(width_multiplier=0.5), ("--width_multiplier", "0.5", "search space")),
        ("space:mobilenet_v2", Asked(resolution=1), ("resolution", "1", "from 8")),
    ],
)
def test_what_it_cannot_describe_is_refused_in_one_line(text: str, asked: Asked, parts: tuple[str, ...]) -> None:
    with pytest.raises(UsageError) as error:
        describe(text, asked)
    message = str(error.value)
    assert "\n" not in message
    assert all(part in message for part in parts), message


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("describe",), ("describe", "none")),
        (("describe", "vgg16", "alexnet"), ("vgg16 alexnet", "quotes")),
        (("describe", "mobilenet_v9"), ("mobilenet_v9", "mobilenet_v2")),
        (("describe", "vgg16", "--resolution=x"), ("resolution", "x", "whole number")),
        (("describe", "vgg16", "--width_multiplier=x"), ("width_multiplier", "x", "number")),
        (("run", "--config=configs/demo.py", "--workdir=w", "--resolution=32"), ("--resolution", "describe")),
    ],
)
def test_a_bad_command_is_one_line_and_ends_with_2(arguments: tuple[str, ...], parts: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("litesmith: ")
    assert all(part in line for part in parts), line


def test_the_command_is_instant_and_prints_the_page() -> None:
    before = os.times()
    done = run("describe", "efficientnet_b7")
    after = os.times()
    seconds = after.children_user + after.children_system - before.children_user - before.children_system
    assert seconds < INSTANT_S
    assert done.returncode == 0
    assert done.stderr == ""
    assert [line.rstrip() for line in done.stdout.splitlines()] == printed(network_page("efficientnet_b7"))


def test_describing_brings_no_tensorflow() -> None:
    """Networks and spaces are loaded by name, so importing the module alone would not show it."""
    code = (
        "import json, sys\n"
        "from pipeline.describe import Asked, describe\n"
        "for name in json.loads(sys.argv[1]):\n"
        "    describe(name, Asked())\n"
        "heavy = {'tensorflow', 'tf_keras', 'keras', 'keras_tuner', 'tensorflow_model_optimization'}\n"
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))) or None)\n"
    )
    names = [*NETWORKS, *(f"space:{name}" for name in SPACES)]
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(names)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert done.returncode == 0

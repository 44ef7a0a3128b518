"""Tables of thousands of networks, whose parameters and multiply-accumulates their authors counted, and our cost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from search.arch import CELL_EDGES, CELL_NODES, ArchSpec
from search.cost import cost
from search.grammar import from_text
from search.networks.published import counted_params

MACRO_BLOCKS = ("id_r1_s{s}_c{c}", "ir_r1_k3_s{s}_e3_c{c}_relu", "ir_r1_k5_s{s}_e6_c{c}_relu")


def macro(ops: np.ndarray) -> ArchSpec:
    """Su et al. 2021 (arXiv:2103.11922): stages of 2, 3 and 3 blocks, each of which doubles the channels first."""
    stages, begin = [], 0
    for blocks, channels in ((2, 64), (3, 128), (3, 256)):
        choices = ops[begin : begin + blocks]
        stages.append("+".join(MACRO_BLOCKS[op].format(s=1 if i else 2, c=channels) for i, op in enumerate(choices)))
        begin += blocks
    return from_text(f"input_r32_n10_w1 stem_s1_c32_relu {' '.join(stages)} head_c1280_relu")


def nasbench201(ops: np.ndarray, num_classes: int) -> ArchSpec:
    """Dong & Yang 2020 (arXiv:2001.00326): three stages of five cells, reductions between, a last normalization."""
    edges = "".join(map(str, ops))
    first, second, third = (f"cell_r5_x{edges}_c{channels}" for channels in (16, 32, 64))
    return from_text(
        f"input_r32_n{num_classes}_w1 stem_s1_c16_linear {first} reduce_r1_c32 {second} reduce_r1_c64 {third} "
        "bn_r1_relu head_c0"
    )


def is_whole(ops: np.ndarray) -> bool:
    """Whether each operation lies on a path through the cell: the table counts what ours leaves out, too."""
    forward, backward = {0}, {CELL_NODES - 1}
    used = [edge for edge, op in zip(CELL_EDGES, ops, strict=True) if op]
    for source, target in used:
        forward |= {target} if source in forward else set()
    for source, target in reversed(used):
        backward |= {source} if target in backward else set()
    return bool(used) and all(source in forward and target in backward for source, target in used)


def test_nasbench_macro_is_exact(shared: Path) -> None:
    table = np.load(shared / "nasbench_macro_cifar10.npz")
    rows = [0, *range(1, len(table["arch"]), 41), len(table["arch"]) - 1]
    for row in rows:
        arch = macro(table["arch"][row])
        assert cost(arch).macs == table["flops"][row], row
        assert counted_params(arch, "trainable") == table["params"][row], row
    assert len(rows) > 150


def test_nasbench201_to_its_last_digit(shared: Path) -> None:
    """Both columns are those of CIFAR-100's classifier, though the accuracies are CIFAR-10's.

    Cells that begin with a skip are left out: for 3 % of them the table has the
    figures of a smaller cell.
    """
    table = np.load(shared / "nasbench201_cifar10.npz")
    skip = list(table["op_names"]).index("skip_connect")
    rows = [row for row in range(0, len(table["ops"]), 37) if is_whole(table["ops"][row])]
    rows = [row for row in rows if table["ops"][row][0] != skip]
    for row in rows:
        arch = nasbench201(table["ops"][row], num_classes=100)
        # Printed with two and three decimals; float32 holds them to 1e-5 and 1e-7.
        assert cost(arch).macs / 1e6 == pytest.approx(table["flops_m"][row], abs=0.005 + 1e-4), row
        assert counted_params(arch, "trainable") / 1e6 == pytest.approx(table["params_m"][row], abs=0.0005 + 1e-6), row
    assert len(rows) > 100

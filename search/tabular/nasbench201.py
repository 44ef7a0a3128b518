"""NAS-Bench-201 (Dong & Yang 2020, https://arxiv.org/abs/2001.00326): 15,625 cells of six edges, on CIFAR-10.

A cell has four nodes; each edge i -> j with i < j applies one of five operations, a node sums what arrives.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import bad_value
from search.oracles.choice_space import Axis, ChoiceSpace
from search.tabular.evaluator import Figure, TabularEvaluator
from search.tabular.table import LATENCY, Table, read_arrays, require

EDGES = ("edge_0_1", "edge_0_2", "edge_1_2", "edge_0_3", "edge_1_3", "edge_2_3")  # the order of the file's `ops`
NONE, SKIP = "none", "skip_connect"
OPS = (NONE, SKIP, "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
TARGETS = ("pixel3", "raspi4", "samsung_s7")
SHORTEST_MS = 0.5  # a cell measured as faster is disconnected: its latency says nothing
SPACE = ChoiceSpace(tuple(Axis(edge, OPS) for edge in EDGES))

_ACCURACIES = ("c10_val_12ep", "c10_test_12ep", "c10_test_200ep")
_COLUMNS = (*_ACCURACIES, "c10_train_s_per_epoch", "flops_m", "params_m", "c10_zc_naswot", "c10_zc_logsynflow")
_PATHS = (("edge_0_3",), ("edge_0_1", "edge_1_3"), ("edge_0_2", "edge_2_3"), ("edge_0_1", "edge_1_2", "edge_2_3"))
_WORDS = tuple(word for length in range(4) for word in itertools.product(OPS[2:], repeat=length))


def read(path: Path) -> Table:
    """The table of nasbench201_cifar10.npz.

    Accuracies (`c10_val_12ep`, `c10_test_12ep`, `c10_test_200ep`) are in percent, `c10_train_s_per_epoch` in seconds,
    `flops_m` and `params_m` in millions, `c10_zc_naswot` and `c10_zc_logsynflow` are zero-cost scores; the latencies of
    disconnected cells are NaN. Raises UsageError if the file is another one.
    """
    arrays = read_arrays(path)
    require(path, arrays, ("ops", "op_names", *_COLUMNS, *(f"lat_ms_{target}" for target in TARGETS)))
    if tuple(arrays["op_names"].tolist()) != OPS:
        raise bad_value(f"{path}: op_names", arrays["op_names"].tolist(), ", ".join(OPS))
    columns = {name: arrays[name].astype(np.float64) for name in _COLUMNS}
    latencies = {target: arrays[f"lat_ms_{target}"].astype(np.float64) for target in TARGETS}
    disconnected = (latencies["pixel3"] < SHORTEST_MS) | (latencies["raspi4"] < SHORTEST_MS)
    for target, milliseconds in latencies.items():
        columns[LATENCY + target] = np.where(disconnected, np.nan, 1000 * milliseconds)
    return Table("NAS-Bench-201", SPACE, arrays["ops"].astype(np.int16), columns)


def evaluator(table: Table, target: str | None = None) -> TabularEvaluator:
    """What a search may see: the validation accuracy (0..1) of 12 epochs, MACs, parameters, a target's latency."""
    metrics = {
        "val_accuracy": Figure("c10_val_12ep", 0.01),
        "macs": Figure("flops_m", 1e6),
        "params": Figure("params_m", 1e6),
    }
    return TabularEvaluator(table, metrics, target, {"train": Figure("c10_train_s_per_epoch")})


def path_encoding(values: Mapping[str, Any]) -> list[float]:
    """How often each sequence of operations leads from the cell's input to its output: 40 counts.

    Skip connections are left out of a sequence, and a path with a `none` does not exist. Cells that compute the same
    are mostly encoded the same (after the path encoding of White et al. 2021, https://arxiv.org/abs/1910.11858).
    """
    counts = dict.fromkeys(_WORDS, 0.0)
    for path in _PATHS:
        operations = [values[edge] for edge in path]
        if NONE not in operations:
            counts[tuple(name for name in operations if name != SKIP)] += 1
    return list(counts.values())

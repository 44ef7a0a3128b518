"""NAS-Bench-Macro (Su et al. 2021, https://arxiv.org/abs/2103.11922): 6,561 stacks of eight layers, on CIFAR-10."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from core.errors import bad_value
from search.oracles.choice_space import Axis, ChoiceSpace
from search.tabular.evaluator import Figure, TabularEvaluator
from search.tabular.table import Table, read_arrays, require

OPS = ("identity", "MB3_K3", "MB6_K5")
SPACE = ChoiceSpace(tuple(Axis(f"layer_{number}", OPS) for number in range(8)))


def read(path: Path) -> Table:
    """The table of nasbench_macro_cifar10.npz.

    `mean_acc` and the three trainings' `test_acc_0` to `test_acc_2` are in percent; `params` and `macs` are counts (the
    file calls MACs "flops"). Raises UsageError if the file is another one.
    """
    arrays = read_arrays(path)
    require(path, arrays, ("arch", "op_names", "test_acc", "mean_acc", "params", "flops"))
    if tuple(arrays["op_names"].tolist()) != OPS:
        raise bad_value(f"{path}: op_names", arrays["op_names"].tolist(), ", ".join(OPS))
    columns = {f"test_acc_{run}": arrays["test_acc"][:, run].astype(np.float64) for run in range(3)}
    columns["mean_acc"] = arrays["mean_acc"].astype(np.float64)
    columns |= {"params": arrays["params"].astype(np.float64), "macs": arrays["flops"].astype(np.float64)}
    return Table("NAS-Bench-Macro", SPACE, arrays["arch"].astype(np.int16), columns)


def evaluator(table: Table) -> TabularEvaluator:
    """What a search may see: the mean accuracy (0..1; the file has no validation accuracy), MACs and parameters."""
    return TabularEvaluator(
        table, {"val_accuracy": Figure("mean_acc", 0.01), "macs": Figure("macs"), "params": Figure("params")}
    )

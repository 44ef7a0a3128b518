"""Tables of known results: the format, refusals, the two readers."""

from __future__ import annotations

import numpy as np
import pytest

from core.errors import CandidateError, UsageError
from search.evaluate import Evaluation
from search.oracles.choice_space import Axis, ChoiceSpace
from search.tabular import nasbench201, nasbench_macro
from search.tabular.evaluator import Figure, TabularEvaluator
from search.tabular.table import Table, read_table, write_table

SPACE = ChoiceSpace((Axis("op", ("conv", "skip")), Axis("width", (8, 16, 24), ordered=True)))
ROWS = np.array([[0, 0], [0, 2], [1, 1]], dtype=np.int16)
COLUMNS = {
    "accuracy": np.array([50.0, 70.0, np.nan]),
    "curve": np.array([[0.1, 0.2], [0.3, 0.5], [0.2, 0.6]]),
    "latency_us_phone": np.array([10.0, 30.0, np.nan]),
}
TABLE = Table("toy", SPACE, ROWS, COLUMNS)
ARRAYS = {
    "names": np.array(["op", "width"]),
    "choices:op": np.array(["conv", "skip"]),
    "choices:width": np.array([8, 16, 24]),
    "rows": ROWS,
    "accuracy": COLUMNS["accuracy"],
}


def test_figures_are_looked_up():
    assert TABLE.value("accuracy", (0, 2)) == 70
    assert [TABLE.value("curve", (0, 2), epochs) for epochs in (1, 2, 9, None)] == [0.3, 0.5, 0.5, 0.5]
    assert TABLE.cost("accuracy")({"op": "conv", "width": 24}) == 70
    assert [TABLE.genotype(number) for number in range(3)] == [(0, 0), (0, 2), (1, 1)]


@pytest.mark.parametrize("genotype", [(1, 0), (1, 1)])
def test_what_is_not_known_is_the_candidates_fault(genotype):
    with pytest.raises(CandidateError, match=r"toy: .*'op': 'skip'"):
        TABLE.value("accuracy", genotype)


def test_latencies_are_measured_targets_with_budgets():
    assert TABLE.targets == ("phone",)
    budget = TABLE.latency_budget("phone", 20)
    widths = {
        (op, width): budget.feasible({"op": op, "width": width}) for op in ("conv", "skip") for width in (8, 16, 24)
    }
    assert [known for known, feasible in widths.items() if feasible] == [("conv", 8)]
    with pytest.raises(UsageError, match=r"toy: target: 'watch' is not legal; expected .*phone"):
        TABLE.latency_budget("watch", 20)


def test_the_evaluator_gives_metrics_and_what_they_would_have_cost():
    evaluator = TabularEvaluator(
        TABLE, {"val_accuracy": Figure("accuracy", 0.01)}, "phone", {"train": Figure("accuracy")}
    )
    expected = Evaluation({"val_accuracy": 0.01 * 70, "latency_us": 30.0}, {"train": 210.0})
    assert evaluator.look_up((0, 2), epochs=3) == expected
    assert evaluator.of_values({"op": "conv", "width": 24}, epochs=3) == expected
    with pytest.raises(UsageError, match="column: 'latency_us_watch' is not legal"):
        TabularEvaluator(TABLE, {}, "watch")


def test_a_learning_curve_is_read_at_its_epoch():
    evaluator = TabularEvaluator(TABLE, {"val": Figure("curve"), "first": Figure("curve", epochs=1)})
    assert evaluator.look_up((1, 1), 2).metrics == {"val": 0.6, "first": 0.2}


def test_a_table_is_written_and_read(tmp_path):
    write_table(tmp_path / "toy.npz", TABLE)
    again = read_table(tmp_path / "toy.npz")
    assert (again.space, again.rows.tolist()) == (SPACE, ROWS.tolist())
    assert {name: column.tolist() for name, column in again.columns.items() if name != "accuracy"} == {
        name: column.tolist() if name == "curve" else pytest.approx(column.tolist(), nan_ok=True)
        for name, column in COLUMNS.items()
        if name != "accuracy"
    }
    assert np.array_equal(again.column("accuracy"), COLUMNS["accuracy"], equal_nan=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"names": None}, "holds no array 'names'"),
        ({"choices:op": None}, "holds no list 'choices:op'"),
        ({"choices:op": np.array(["conv", "conv"])}, "'?choices:op'? holds a value twice"),
        ({"rows": ROWS.astype(float)}, "rows of type: .*float64.* expected whole numbers"),
        ({"rows": ROWS[:, :1]}, "rows of shape"),
        ({"rows": ROWS[[0, 0, 1]]}, "a network has several rows"),
        ({"rows": ROWS + 1}, "row 1, width: .*3.* is not legal; expected an index from 0 to 2"),
        ({"accuracy": np.array([1.0, 2.0])}, "column accuracy of shape"),
        ({"accuracy": np.array(["a", "b", "c"])}, "column accuracy of type"),
    ],
)
def test_a_wrong_table_is_refused_in_one_line(tmp_path, changes, message):
    arrays = {name: array for name, array in (ARRAYS | changes).items() if array is not None}
    np.savez(tmp_path / "table.npz", **arrays)
    with pytest.raises(UsageError, match=message) as caught:
        read_table(tmp_path / "table.npz")
    assert "\n" not in str(caught.value)
    assert "table.npz" in str(caught.value)


@pytest.mark.parametrize("content", [None, b"", b"PK no archive", b"\x93NUMPY"])
def test_a_file_that_is_no_table_is_refused(tmp_path, content):
    path = tmp_path / "table.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=r"table\.npz: "):
        read_table(path)


def test_another_benchmarks_file_is_refused(tmp_path):
    np.savez(tmp_path / "x.npz", **ARRAYS)
    for reader in (nasbench201.read, nasbench_macro.read):
        with pytest.raises(UsageError, match=r"x\.npz: it holds no array '\w+'; it has accuracy, choices:op"):
            reader(tmp_path / "x.npz")


def test_nasbench201(shared):
    table = nasbench201.read(shared / "nasbench201_cifar10.npz")
    best = table.genotype(6111)
    assert table.column("c10_test_200ep").max() == table.value("c10_test_200ep", best)
    assert len(table.rows) == table.space.size == 15_625
    assert table.value("c10_test_200ep", best) == pytest.approx(94.373, abs=5e-4)  # the README's three decimals
    assert table.targets == ("pixel3", "raspi4", "samsung_s7")
    known = ~np.isnan(table.column("latency_us_pixel3"))
    assert (~known).sum() == 273, "disconnected cells"
    assert np.median(table.column("latency_us_pixel3")[known]) == pytest.approx(10_720, abs=5)  # published as 10.72 ms
    metrics = nasbench201.evaluator(table, "pixel3").look_up(best, epochs=12)
    assert metrics.metrics["val_accuracy"] == pytest.approx(0.8438, abs=5e-5)
    assert metrics.seconds["train"] > 12


def test_nasbench_macro(shared):
    table = nasbench_macro.read(shared / "nasbench_macro_cifar10.npz")
    assert len(table.rows) == table.space.size == 6_561
    best = table.genotype(int(table.column("mean_acc").argmax()))
    assert table.value("mean_acc", best) == pytest.approx(93.13, abs=5e-3)
    assert nasbench_macro.evaluator(table).look_up(best, 1).metrics["val_accuracy"] == pytest.approx(0.9313, abs=5e-5)


def test_paths_through_a_cell():
    """What a skip or a none does to a cell's function, it does to its encoding."""

    def encoded(*ops: str) -> list[float]:
        return nasbench201.path_encoding(dict(zip(nasbench201.EDGES, ops, strict=True)))

    none, skip, conv = nasbench201.NONE, nasbench201.SKIP, "nor_conv_3x3"
    assert sum(encoded(none, none, none, none, none, none)) == 0
    assert encoded(none, none, none, conv, conv, conv) == encoded(skip, none, none, none, conv, conv)
    assert encoded(conv, conv, conv, conv, conv, conv) != encoded(conv, conv, conv, conv, conv, skip)
    assert len(encoded(skip, skip, skip, skip, skip, skip)) == 40

"""The parts of benchmarks.search_strategies that its figures hang on. No search is run here."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import search_cases
from benchmarks.search_cases import CASES, EPOCHS, planted_curves
from benchmarks.search_results import BEGIN, END, Rows, as_csv, case_table, paired_p, summarize, write_docs
from benchmarks.search_strategies import arguments, log_path, missing
from core.errors import UsageError
from core.workspace import AppendLog
from search.oracles import ORACLES
from search.settings import TRANSFER_ORACLES


def record(budget: int, seed: int, rows: list[int]) -> dict[str, object]:
    whole = [EPOCHS] * len(rows)
    return {"budget": budget, "seed": seed, "rows": rows, "epochs": whole, "trained": whole, "suggest_s": 0.002}


def test_p_of_few_pairs_is_exact():
    """Of 2^4 signs two, all plus and all minus, are as far from 0 as four equal differences."""
    assert paired_p(np.full(4, 1.5), np.zeros(4)) == 2 / 16
    assert paired_p(np.array([1.0, -1.0]), np.zeros(2)) == 1
    assert paired_p(np.zeros(5), np.zeros(5)) == 1


def test_p_of_many_pairs_agrees_with_the_t_test():
    """Fifty normal differences: two-sided p of Student's test is 0.0269 (t = 2.28, 49 degrees of freedom)."""
    differences = np.random.default_rng(3).standard_normal(50)
    differences = (differences - differences.mean()) / differences.std(ddof=1) + 2.28 / np.sqrt(50)
    # Deviation of 100,000 draws: 0.0005; the two tests themselves differ by a few per cent of p.
    assert paired_p(differences, np.zeros(50)) == pytest.approx(0.0269, abs=0.005)


def test_every_strategy_is_in_some_case():
    run = {strategy.partition("+")[0] for case in CASES.values() for strategy in case.strategies}
    assert run | set(TRANSFER_ORACLES) == set(ORACLES)


def test_planted_curves_end_at_the_table_and_repeat(shared):
    table = CASES["nasbench201"].table
    curves = planted_curves(table)
    np.testing.assert_array_equal(curves[:, -1], table.column("c10_val_12ep"))
    np.testing.assert_array_equal(curves, planted_curves(table))
    assert not np.array_equal(curves, planted_curves(table, seed=1))
    # As the docstring says; ties are rare enough for this simple rank.
    ranks = [column.argsort().argsort() for column in curves.T]
    assert np.corrcoef(ranks[1], ranks[11])[0, 1] == pytest.approx(0.47, abs=0.01)
    assert np.corrcoef(ranks[3], ranks[11])[0, 1] == pytest.approx(0.62, abs=0.01)


def test_the_score_is_the_test_figure_of_what_validation_chooses(shared):
    case = CASES["nasbench201"]
    validation = case.table.column("c10_val_12ep")
    rows = [3, 6111, 77, 12000]
    chosen = max(rows, key=lambda row: validation[row])
    assert case.score(rows, [EPOCHS] * 4) == case.table.column("c10_test_200ep")[chosen]
    assert case.best == pytest.approx(94.373, abs=5e-4)  # the issue's, rounded to thousandths


def test_the_limit_is_counted_and_bounds_the_best(shared):
    case = CASES["nasbench201_pixel3"]
    slow = int(np.nanargmax(case.latency_us))
    unknown = int(np.flatnonzero(np.isnan(case.latency_us))[0])
    fast = int(np.nanargmin(case.latency_us))
    assert case.violations([slow, unknown, fast]) == 2
    assert case.best == pytest.approx(93.66, abs=5e-3)  # the issue's


def test_the_whole_table_has_the_whole_hypervolume(shared):
    rows = np.arange(15625)
    assert CASES["front"].score(rows, []) == pytest.approx(100)
    by_validation = CASES["front_by_validation"].score(rows, [])
    assert 0 < by_validation < 100, "what validation takes for the front misses some of it"


def test_tables_have_differences_costs_and_fewer_seeds(shared):
    case = CASES["nasbench201"]
    best, worst = (int(pick(case.table.column("c10_val_12ep"))) for pick in (np.argmax, np.argmin))
    records = {
        ("nasbench201", "random"): [record(150, seed, [worst, worst]) for seed in range(8)],
        ("nasbench201", "bayesian"): [record(150, seed, [worst, best]) for seed in range(2)],
        ("nasbench201", "surrogate_bayes"): [record(150, seed, [worst, best]) for seed in range(8)],
    }
    summaries = summarize(records)
    gain = case.table.column("c10_test_200ep")[best] - case.table.column("c10_test_200ep")[worst]
    surrogate = next(summary for summary in summaries if summary.strategy == "surrogate_bayes")
    assert surrogate.difference == pytest.approx(gain)
    assert surrogate.p == 2 / 2**8
    assert surrogate.cell(8).endswith("*")
    assert surrogate.cell(9).endswith("* (n=8)")
    per_epoch = case.table.column("c10_train_s_per_epoch")
    assert surrogate.hours == pytest.approx(EPOCHS * (per_epoch[best] + per_epoch[worst]) / 3600)
    table = case_table(case, summaries, 150)
    assert [row[0] for row in table.rows] == ["random", "bayesian", "surrogate_bayes"]
    assert table.rows[1][1].endswith("(n=2)")
    assert all(len(row) == len(table.headings) for row in table.rows)
    lines = as_csv(summaries, {"random": {"suggest_s": 0.001, "bytes_per_trial": 5000.0}}).splitlines()
    assert len(lines) == 4
    assert lines[1].endswith("1.0,5000.0")


def test_finished_searches_are_not_run_again(tmp_path):
    words = [f"--out={tmp_path}", "--seeds=4", "--budgets=50,100", "--cases=front", "--only=random"]
    options = arguments(words)
    assert [(batch.first_seed, batch.end_seed) for batch in missing(options)] == [(0, 4)]
    log = AppendLog(log_path(tmp_path, "front", "random"))
    for seed in range(4):
        for budget in (50, 100):
            assert list(missing(options)), "not before the last one"
            log.append(record(budget, seed, [1]))
    assert not list(missing(options))
    with open(log.path, "ab") as file:
        file.write(b'{"budget": 50, "se')  # what a kill leaves
    assert not list(missing(options))


def test_docs_are_filled_between_the_markers(tmp_path):
    path = tmp_path / "search.md"
    path.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write_docs(path, [Rows("Title", ("strategy", "100"), (("random", "93.73 ± 0.35"),))])
    text = path.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
    assert "| random | 93.73 ± 0.35 |" in text
    path.write_text("no markers")
    with pytest.raises(UsageError, match="no lines"):
        write_docs(path, [])
    assert path.read_text() == "no markers"


@pytest.mark.parametrize("word", ["--budgets=a", "--budgets=1", "--cases=none", "--only=none", "--seeds=0"])
def test_bad_options_are_refused(word):
    with pytest.raises(UsageError, match=word.partition("=")[0]):
        arguments([word])


def test_missing_tables_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(search_cases, "DATA", tmp_path)
    with pytest.raises(UsageError, match=r"nasbench201_cifar10\.npz"):
        search_cases.check_data()


def test_a_missing_table_ends_the_transfer_benchmark_in_one_line(tmp_path, monkeypatch, capsys):
    from benchmarks import transfer  # Keras Tuner takes seconds to import

    monkeypatch.setattr(transfer, "DATA", tmp_path)
    monkeypatch.setattr(transfer, "_REAL", SimpleNamespace(value=False))
    assert transfer.main([]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{tmp_path / 'nasbench201_cifar10.npz'}: no such file")


def test_cases_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        CASES["front"].name = "other"

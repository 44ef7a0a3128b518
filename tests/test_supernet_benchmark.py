"""The parts of benchmarks.supernet that its figures hang on. Nothing is trained here."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.parts import make_missing
from benchmarks.search_results import Rows
from benchmarks.supernet import BEGIN, END, PARTS, arguments, finished, pin, write_docs
from benchmarks.supernet_place import FULL, SMOKE, standard_error
from benchmarks.supernet_ranking import tau
from core.errors import CandidateError, UsageError
from core.progress import SilentReporter
from core.spec_io import content_id
from core.workspace import atomic_write_json

TABLE = Rows("What it shows", ("name", "value"), (("one", "1"), ("two", "2")))


@pytest.mark.parametrize("words", [["--only=speed,none"], ["--data=mnist"], ["--seed=-1"], ["--smoke", "--write_docs"]])
def test_wrong_options_are_refused(words: list[str]) -> None:
    with pytest.raises(UsageError, match=r"^--"):
        arguments(words)


def test_a_look_does_not_mix_with_the_figures() -> None:
    assert arguments([]).only == list(PARTS)
    assert arguments(["--smoke"]).out != arguments([]).out


def test_results_of_other_settings_are_not_taken_up(tmp_path: Path) -> None:
    pin(tmp_path, content_id(SMOKE))
    pin(tmp_path, content_id(SMOKE))
    with pytest.raises(UsageError, match="other settings"):
        pin(tmp_path, content_id(FULL))


def test_finished_tables_come_back_and_go_into_the_page(tmp_path: Path) -> None:
    atomic_write_json(tmp_path / "part_memory.json", [TABLE])
    assert finished(tmp_path) == [TABLE]
    page = tmp_path / "page.md"
    page.write_text(f"before\n\n{BEGIN}\nold\n{END}\n\nafter\n")
    write_docs({"fashion_mnist-seed1": finished(tmp_path), "nothing yet": []}, page)
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text
    assert "### fashion_mnist-seed1" in text and "| two | 2 |" in text and "nothing yet" not in text
    write_docs({"fashion_mnist-seed1": finished(tmp_path)}, page)
    assert page.read_text() == text
    page.write_text("no marks")
    with pytest.raises(UsageError, match="expected one"):
        write_docs({}, page)


def test_tau_counts_pairs() -> None:
    """Of the six pairs of four networks five are in the same order: (5 - 1) / 6."""
    assert tau([1, 2, 3, 4], [0.5, 0.6, 0.8, 0.7]) == pytest.approx(4 / 6)  # floats of a fraction
    assert tau([1, 2, 3], [0.3, 0.2, 0.1]) == pytest.approx(-1)


def test_the_standard_error_is_that_of_a_proportion() -> None:
    """90 % of 10,000: 0.3 points."""
    assert standard_error(0.9, 10_000) == pytest.approx(0.003)


def test_what_is_there_is_kept_and_a_part_that_fails_keeps_none_from_being_made(tmp_path: Path) -> None:
    def make(name: str) -> list[Rows]:
        if name == "speed":
            raise CandidateError("diverged")
        return [TABLE]

    shown: list[list[Rows]] = []
    paths = {name: tmp_path / f"part_{name}.json" for name in ("ranking", "speed", "memory")}
    atomic_write_json(paths["ranking"], [])
    assert make_missing("part", paths, make, shown.append, SilentReporter())
    assert finished(tmp_path) == [TABLE] and shown == [[TABLE]] and not paths["speed"].exists()
    del paths["speed"]
    assert not make_missing("part", paths, make, shown.append, SilentReporter())
    assert shown == [[TABLE]]

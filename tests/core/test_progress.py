"""Progress: plain lines where nobody watches, a live bar on a terminal."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from core.progress import Reporter, SilentReporter


def plain(interval_s: float = 0.0) -> tuple[Reporter, io.StringIO]:
    file = io.StringIO()
    return Reporter(Console(file=file, width=200), interval_s), file


def terminal() -> tuple[Reporter, io.StringIO]:
    file = io.StringIO()
    return Reporter(Console(file=file, width=200, force_terminal=True)), file


def test_plain_lines_tell_done_elapsed_and_remaining():
    reporter, file = plain()
    with reporter.task("search", 3) as task:
        task.advance(note="score 0.5")
        task.advance(2)
    first, last = file.getvalue().splitlines()
    assert re.fullmatch(r"\[ +0 s\] search 1/3 \(0 s, about 0 s left\)  score 0\.5", first)
    assert re.fullmatch(r"\[ +0 s\] search 3/3 \(0 s\)", last)


def test_plain_lines_come_at_most_once_an_interval_and_at_the_end():
    reporter, file = plain(interval_s=3600.0)
    with reporter.task("train", 100) as task:
        for _ in range(100):
            task.advance()
    assert [line.partition("] ")[2] for line in file.getvalue().splitlines()] == ["train 100/100 (0 s)"]


@pytest.mark.parametrize("make", [plain, terminal])
@pytest.mark.parametrize("total", [0, 2])
def test_nothing_done_yet_and_nothing_to_do(make, total):
    """A resumed search with nothing in its log advances by 0."""
    reporter, _ = make()
    with reporter.task("search", total) as task:
        task.advance(0)
        task.advance(0, "resumed")


@pytest.mark.parametrize("make", [plain, terminal])
def test_text_is_shown_as_it_is(make):
    """Brackets and colons are no markup and no emoji: a file name may hold both."""
    reporter, file = make()
    text = "npz:a:smile:[red]/b[/red] [1/2]"
    reporter.line(text)
    with reporter.task(text, 1) as task:
        task.advance(note=text)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", file.getvalue())
    assert shown.count(text) >= 2


def test_long_lines_are_not_folded():
    file = io.StringIO()
    reporter = Reporter(Console(file=file, width=40, soft_wrap=True))
    reporter.line("x" * 500)
    assert len(file.getvalue().splitlines()) == 1


def test_terminal_shows_a_bar_and_no_clock_on_lines():
    reporter, file = terminal()
    reporter.line("begin")
    assert file.getvalue() == "begin\n"
    with reporter.task("search", 2) as task:
        task.advance(note="score 0.5")
        task.advance()
    shown = file.getvalue()
    assert "search" in shown
    assert "2/2" in shown
    assert "\x1b[" in shown  # moves the cursor: the bar is redrawn in place
    assert re.search(r"0:00:0\d", shown)  # elapsed and remaining time


def test_the_bar_is_closed_by_an_exception():
    reporter, file = terminal()
    with pytest.raises(KeyboardInterrupt), reporter.task("search", 2):
        raise KeyboardInterrupt
    assert file.getvalue().count("\x1b[?25l") == file.getvalue().count("\x1b[?25h") == 1  # the cursor is back
    with reporter.task("again", 1) as task:
        task.advance()


def test_a_short_inner_task_is_silent_and_a_long_one_tells_its_progress():
    reporter, file = plain(interval_s=3600.0)
    with reporter.task("search", 1) as outer:
        with reporter.task("training", 2) as inner:
            inner.advance(2)
        outer.advance()
    assert [line.partition("] ")[2] for line in file.getvalue().splitlines()] == ["search 1/1 (0 s)"]
    reporter, file = plain(interval_s=0.0)
    with reporter.task("search", 1), reporter.task("training", 2) as inner:
        inner.advance(2)
    assert "training 2/2" in file.getvalue()


def test_an_inner_bar_is_a_row_of_the_outer_display():
    reporter, file = terminal()
    with reporter.task("search", 2) as outer:
        for _ in range(2):
            with reporter.task("training", 1) as inner:
                inner.advance()
            outer.advance()
    assert "search" in file.getvalue()
    assert file.getvalue().count("\x1b[?25l") == file.getvalue().count("\x1b[?25h") == 1  # one live display


def test_silent(capfd):
    reporter = SilentReporter()
    reporter.line("x")
    with reporter.task("y", 1) as task:
        task.advance(note="z")
    assert capfd.readouterr() == ("", "")

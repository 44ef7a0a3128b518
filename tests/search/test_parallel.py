"""Searches in real worker processes: results in any order, workers that die, measuring alone, no orphans."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from core.errors import LitesmithError, UsageError
from core.progress import Reporter
from search.evaluate import Candidate
from search.objective import FAILED_SCORE
from search.parallel import WorkerPool, threads_per_worker
from search.space import Genotype
from search.trials import FAILED, OK, TrialLog
from tests.search.known_answers import SPACE, A, B, C, D, E, F, KnownAnswers, answer, name, search

ROOT = Path(__file__).parents[2]
# What an idle machine does in well under a second; only a hanging test waits so long.
PATIENCE_S = 60.0


@pytest.fixture
def script(tmp_path: Path) -> KnownAnswers:
    (tmp_path / "notes").mkdir()
    return KnownAnswers(tmp_path / "notes")


def scripted(script: KnownAnswers, **changes: object) -> KnownAnswers:
    return KnownAnswers(**({"notes": script.notes} | changes))  # type: ignore[arg-type]


def candidate(genotype: Genotype) -> Candidate:
    return Candidate(SPACE.decode(genotype), name(genotype), genotype, seed=1)


def wait_for(condition: object) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.005)


def state(pid: int) -> str:
    """The letter of proc(5), "Z" also for one that is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "Z"


def is_alive(pid: int) -> bool:
    return state(pid) != "Z"


def test_results_are_logged_in_the_order_of_completion(script: KnownAnswers, tmp_path: Path) -> None:
    """The first suggestion takes longer than all others, which the second worker evaluates meanwhile."""
    genotypes = (A, B, C, D)
    trials = search(scripted(script, sleep_s={name(A): 1.5}), genotypes, tmp_path / "log")
    assert [trial.oracle_id for trial in trials] == ["01", "02", "03", "00"]
    assert [trial.index for trial in trials] == [0, 1, 2, 3]
    assert [trial.asked for trial in trials] == [2, 3, 4, None]  # the last: nothing was under way beside it
    assert TrialLog(tmp_path / "log").trials == trials
    for trial in trials:
        assert (trial.status, trial.genotype) == (OK, genotypes[int(trial.oracle_id)])
    assert len(script.pids()) == 2


def test_workers_are_fresh_processes_with_their_share_of_the_cores(script: KnownAnswers, tmp_path: Path) -> None:
    with WorkerPool(script, 2, tmp_path) as pool:
        for genotype in (A, B):
            pool.submit(name(genotype), candidate(genotype), 1)
        found = dict(pool.wait() for _ in range(2))
        pids = script.pids()
        assert os.getpid() not in pids and len(pids) == 2
        for pid in pids:
            environment = dict(
                entry.split("=", 1) for entry in Path(f"/proc/{pid}/environ").read_text().split("\0") if entry
            )
            assert environment["TF_NUM_INTRAOP_THREADS"] == environment["OMP_NUM_THREADS"] == str(threads_per_worker(2))
            assert os.getsid(pid) == pid != os.getsid(0)  # Ctrl-C on our terminal does not reach it
    assert found[name(A)].evaluation.metrics == answer(candidate(A))
    assert not any(map(is_alive, pids))
    assert threads_per_worker(1) == len(os.sched_getaffinity(0)) and threads_per_worker(10_000) == 1


@pytest.mark.parametrize("end", ["SIGKILL", "SIGSEGV", "exit 3"])
def test_the_trial_of_a_worker_that_died_is_tried_again(script: KnownAnswers, tmp_path: Path, end: str) -> None:
    script = scripted(script, ends={name(A): (end, end)})
    trials = search(script, (A, B, C), tmp_path / "log")
    assert {trial.oracle_id: trial.status for trial in trials} == {"00": OK, "01": OK, "02": OK}
    assert [len(script.evaluations(genotype)) for genotype in (A, B, C)] == [3, 1, 1]


def test_a_trial_whose_workers_die_thrice_has_failed(script: KnownAnswers, tmp_path: Path) -> None:
    script = scripted(script, ends={name(A): ("SIGKILL",) * 9, name(B): ("exit 3",) * 9, name(C): ("candidate",)})
    file = io.StringIO()
    trials = search(script, (A, B, C, D), tmp_path / "log", reporter=Reporter(Console(file=file, width=300)))
    by_id = {trial.oracle_id: trial for trial in trials}
    assert [by_id[key].status for key in sorted(by_id)] == [FAILED, FAILED, FAILED, OK]
    assert [by_id[key].reason for key in sorted(by_id)] == [
        "3 worker processes died of it, the last: killed by SIGKILL (perhaps out of memory)",
        "3 worker processes died of it, the last: exit code 3: no more of it",
        "diverged",
        "",
    ]
    assert by_id["00"].score == FAILED_SCORE and by_id["00"].metrics == {}
    assert len(script.evaluations(A)) == 3
    again = "a worker process died: killed by SIGKILL (perhaps out of memory); its trial is tried again"
    assert file.getvalue().count(again) == 2


@pytest.mark.parametrize(("start", "error"), [("usage", UsageError), ("disk", OSError), ("error", LitesmithError)])
def test_an_evaluator_that_cannot_be_made_ends_the_search(script, tmp_path, start, error) -> None:
    with pytest.raises(error, match=r"^(x: 1 is not legal|.*No space left.*|ZeroDivisionError: by zero)$"):
        search(scripted(script, start=start), (A, B), tmp_path / "log")
    assert not (tmp_path / "log").exists()


def test_workers_that_die_at_the_start_end_the_search_and_not_the_trials(script, tmp_path) -> None:
    with pytest.raises(
        LitesmithError, match=r"^search: worker processes die before they are ready: exit code 3: no mor"
    ):
        search(scripted(script, start="exit 3"), (A, B), tmp_path / "log")
    assert not (tmp_path / "log").exists()


@pytest.mark.parametrize(("end", "error"), [("usage", UsageError), ("disk", OSError)])
def test_what_is_not_the_candidates_fault_ends_the_search_and_a_rerun_goes_on(script, tmp_path, end, error) -> None:
    script = scripted(script, ends={name(B): (end,)}, sleep_s={name(A): 1.0})
    with pytest.raises(error, match=r"^(x: 1 is not legal|\[Errno 28\] No space left on device: '/full')$"):
        search(script, (A, B, C), tmp_path / "log")
    assert not any(map(is_alive, script.pids()))
    assert {trial.status for trial in search(script, (A, B, C), tmp_path / "log")} == {OK}


def test_nothing_else_computes_while_one_measures(script: KnownAnswers, tmp_path: Path) -> None:
    """Two workers note the time every millisecond, a third measures twice for 0.2 s; and nobody is left stopped."""
    script = scripted(
        script, measured=(name(A), name(B)), sleep_s={name(A): 0.2, name(B): 0.2, name(C): 1.5, name(D): 1.5}
    )
    trials = search(script, (C, D, A, B, E), tmp_path / "log", num_workers=3)
    assert {trial.status for trial in trials} == {OK}
    spans = [tuple(map(int, script.evaluations(genotype)[0].read_text().split())) for genotype in (A, B)]
    ticks = [int(line) for genotype in (C, D) for line in script.evaluations(genotype)[0].read_text().split()]
    assert len(ticks) > 100
    for began, ended in spans:
        assert not [tick for tick in ticks if began < tick < ended]
    (first, second) = sorted(spans)
    assert first[1] < second[0], "nor do two measure at once"


def kill_the_measuring_worker(script: KnownAnswers) -> None:
    wait_for(lambda: script.evaluations(A))
    pid = int(script.evaluations(A)[0].name.split("-")[2])
    others = [child.pid for child in psutil.Process().children() if child.pid != pid]
    wait_for(lambda: "T" in map(state, others))
    os.kill(pid, signal.SIGKILL)


def test_a_worker_that_is_killed_while_it_measures_stops_nobody_for_ever(script: KnownAnswers, tmp_path: Path) -> None:
    script = scripted(script, measured=(name(A),), sleep_s={name(A): 0.5, name(B): 0.5})
    with WorkerPool(script, 2, tmp_path) as pool:
        for genotype in (A, B):
            pool.submit(name(genotype), candidate(genotype), 1)
        threading.Thread(target=kill_the_measuring_worker, args=(script,), daemon=True).start()
        found = dict(pool.wait() for _ in range(2))
    assert all(attempt.evaluation for attempt in found.values())
    assert len(script.evaluations(A)) == 2


SEARCH = """
import signal, sys
from pathlib import Path
from tests.search.known_answers import *
signal.signal(signal.SIGINT, signal.default_int_handler)  # it is ignored where the tests run in the background
folder = Path(sys.argv[1])
script = KnownAnswers(folder / "notes", sleep_s={name(C): 600.0, name(D): 600.0}, measured=eval(sys.argv[2]))
search(script, (A, B, C, D, E, F), folder / "log")
"""


def begin(folder: Path, measured: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
    """A search in a process of its own that has two finished trials and two that never end.

    D begins when A and B have ended; if it is measured the other worker is then stopped.
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", SEARCH, str(folder), repr(measured)]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, start_new_session=True)
    notes = KnownAnswers(folder / "notes")
    try:
        wait_for(lambda: len(TrialLog(folder / "log").trials) == 2 and notes.evaluations(D))
        wait_for(lambda: "T" in map(state, workers_of(process)) if measured else notes.evaluations(C))
    except BaseException:
        process.kill()
        raise
    return process


def workers_of(process: subprocess.Popen[bytes]) -> list[int]:
    return [child.pid for child in psutil.Process(process.pid).children(recursive=True)]


@pytest.mark.parametrize(
    ("number", "measuring"),
    [(signal.SIGKILL, False), (signal.SIGKILL, True), (signal.SIGTERM, True), (signal.SIGINT, True)],
)
def test_no_worker_outlives_the_search(script, tmp_path, number, measuring) -> None:
    """Also one that is stopped while another measures. A rerun suggests what was under way again, and goes on."""
    process = begin(tmp_path, (name(D),) if measuring else ())
    pids = workers_of(process)
    assert len(pids) == 2 and all(map(is_alive, pids))
    process.send_signal(number)
    errors = process.communicate(timeout=PATIENCE_S)[1].decode()
    assert process.returncode == -number
    assert ("KeyboardInterrupt" in errors) == (number == signal.SIGINT)
    wait_for(lambda: not any(map(is_alive, pids)))
    before = TrialLog(tmp_path / "log").trials
    genotypes = (A, B, C, D, E, F)
    trials = search(KnownAnswers(script.notes), genotypes, tmp_path / "log")
    assert trials[:2] == before
    assert sorted(trial.oracle_id for trial in before) == ["00", "01"]
    assert sorted(trial.oracle_id for trial in trials) == ["00", "01", "02", "03", "04", "05"]
    assert all(trial.genotype == genotypes[int(trial.oracle_id)] for trial in trials)
    assert [len(script.evaluations(genotype)) for genotype in (A, B, D, E, F)] == [1, 1, 2, 1, 1]

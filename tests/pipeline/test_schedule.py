"""Scheduled runs on a real Prefect server, with a stand-in for the pipeline; and what the command line refuses."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from core.errors import UsageError
from pipeline import run_process, schedule
from pipeline.run_process import RunProcess, StageLine, stage_line

ROOT = Path(__file__).resolve().parents[2]
PREFECT_PYTHON = ROOT / ".venv-schedule" / "bin" / "python"
STAND_IN = ROOT / "tests" / "pipeline" / "stand_in_pipeline.py"
CASES = ROOT / "tests" / "pipeline" / "schedule_cases.py"
# A server starts in 5 s on an idle computer; this only ends a server that hangs.
TIMEOUT_S = 900
QUIET = {"DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "PREFECT_LOGGING_LEVEL": "ERROR"}


def stage(name: str, state: str = "to do", failed_in: str = "", retry: bool = False) -> dict[str, Any]:
    """A stage as the plan's JSON has it."""
    failure = {"stage": failed_in, "reason": f"{failed_in} is broken", "retry": retry} if failed_in else None
    return {"name": name, "state": state, "seconds": 1.0, "summary": "well", "failure": failure}


FRESH = [stage("data"), stage("w0.qat"), stage("w0.qat.convert"), stage("report")]
DONE = [stage(known["name"], "done") for known in FRESH]
BEGIN = ["[     0 s] [1/4] data", "[     1 s] [1/4] data: 30 images (1.0 s)", "[     1 s] [2/4] w0.qat"]
REST = [
    "[     2 s] [2/4] w0.qat: 91 % (1.0 s)",
    "[     2 s] [3/4] w0.qat.convert",
    "[     2 s] [3/4] w0.qat.convert: 20 kB (0.1 s)",
    "[     2 s] [4/4] report",
    "[     3 s] [4/4] report: written (1.0 s)",
]
PUBLISHED = "[     3 s] published: tiny-1 in /store; channel latest is tiny-1 (sequence 1)"
BEFORE = [f"[     0 s] [{number}/4] {known['name']}: done before" for number, known in enumerate(FRESH, 1)]
GOOD = {"before": FRESH, "out": [*BEGIN, *REST, PUBLISHED], "code": 0, "after": DONE}
# The recipe fails for good, its conversion is not done, and the rest is published all the same.
RECIPE = {
    "before": FRESH,
    "out": [
        *BEGIN,
        "[     2 s] [2/4] w0.qat: FAILED: loss is nan (1.0 s)",
        "[     2 s] [3/4] w0.qat.convert",
        "[     2 s] [3/4] w0.qat.convert: FAILED: not done, because w0.qat failed (0.0 s)",
        *REST[3:],
        PUBLISHED,
    ],
    "err": ["litesmith: w0.qat: loss is nan"],
    "code": 1,
    "after": [DONE[0], stage("w0.qat", "failed", "w0.qat"), stage("w0.qat.convert", "failed", "w0.qat"), DONE[3]],
}
CUT = {
    "before": FRESH,
    "out": [*BEGIN, "[     2 s] epoch 1/3"],
    "err": ["litesmith: w0.qat: disk full (model.npz)"],
    "code": 1,
    "after": [DONE[0], *FRESH[1:]],
}
AGAIN = {"before": [DONE[0], *FRESH[1:]], "out": [BEFORE[0], BEGIN[2], *REST, PUBLISHED], "code": 0, "after": DONE}
BENCH = {**RECIPE, "after": [*RECIPE["after"][:1], stage("w0.qat", "failed", "w0.qat", retry=True), *DONE[2:]]}
REGRESSION = {
    "before": DONE,
    "out": BEFORE,
    "err": ["litesmith: regression: accuracy", "litesmith: not published: 1 regression against tiny-0"],
    "code": 1,
    "after": DONE,
}
NOTHING_NEW = {
    "before": DONE,
    "out": [*BEFORE, "[     3 s] nothing new: /store has tiny-1, of the same inputs; channel latest is tiny-1"],
    "code": 0,
    "after": DONE,
}
SCENARIOS = {
    "published": [GOOD],
    "nothing_new": [NOTHING_NEW],
    "recipe": [RECIPE],
    "recipe_before": [{**NOTHING_NEW, "before": RECIPE["after"], "after": RECIPE["after"], "code": 1}],
    "again": [CUT, AGAIN],
    "always": [CUT],
    "bench": [BENCH, GOOD],
    "regression": [REGRESSION],
    "refused": [{"refused": "config.search.space: 'x' is not legal; expected y"}],
}


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What Prefect shows of each scenario, run with a store, at most two retries and no delay between them."""
    if not PREFECT_PYTHON.is_file():
        pytest.skip("needs Prefect (`make schedule`)")
    folder = tmp_path_factory.mktemp("schedule")
    for name, attempts in SCENARIOS.items():
        (folder / name).mkdir()
        (folder / name / "scenario.json").write_text(json.dumps({"attempts": attempts}))
        (folder / name / "flags.txt").write_text("--once\n--store=/store\n--retry_delay_s=0\n")
    home = {"PREFECT_HOME": str(folder / "home"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [PREFECT_PYTHON, CASES, *(folder / name for name in SCENARIOS)],
        env={**os.environ, **QUIET, **home, run_process.PYTHON_VARIABLE: str(stand_in(folder))},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    for name in SCENARIOS:
        found[name]["calls"] = (folder / name / "run" / "calls.txt").read_text().splitlines()
    return found


def stand_in(folder: Path) -> Path:
    """A program that stands in for the pipeline's Python."""
    path = folder / "python"
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{STAND_IN}" "$@"\n')
    path.chmod(0o755)
    return path


def runs(case: dict[str, Any]) -> list[str]:
    """The calls that were runs, not questions."""
    return [call for call in case["calls"] if call.startswith("run ") and "--dry_run" not in call]


def test_each_stage_is_a_task_and_publishing_is_the_last(shown: dict[str, Any]) -> None:
    case = shown["published"]
    assert case["code"] == 0
    assert case["state"] == ["COMPLETED", "Published", "tiny-1 in /store; channel latest is tiny-1 (sequence 1)"]
    assert [task[0] for task in case["tasks"]] == ["data", "w0.qat", "w0.qat.convert", "report", "publish"]
    assert case["tasks"][0][1:] == ["COMPLETED", "Completed", "30 images (1.0 s)"]
    assert case["tasks"][4][1:3] == ["COMPLETED", "Published"]
    table = json.loads(case["artifacts"]["litesmith-stages"])
    assert [(row["name"], row["state"]) for row in table] == [(known["name"], "done") for known in FRESH]
    (run,) = runs(case)
    assert "--config.release.store=/store" in run


def test_the_same_inputs_publish_nothing_new(shown: dict[str, Any]) -> None:
    case = shown["nothing_new"]
    assert case["code"] == 0
    assert case["state"][:2] == ["COMPLETED", "Nothing new"]
    assert [task[2] for task in case["tasks"]] == ["Done before"] * 4 + ["Nothing new"]


def test_a_recipe_that_fails_for_good_is_named_and_not_tried_again(shown: dict[str, Any]) -> None:
    case = shown["recipe"]
    assert case["code"] == 1
    assert case["state"][:2] == ["FAILED", "Failed"]
    assert case["state"][2].startswith("w0.qat: loss is nan (1.0 s); published: tiny-1 in /store")
    states = {task[0]: task[1:3] for task in case["tasks"]}
    assert states["w0.qat"] == ["FAILED", "Failed"]
    assert states["w0.qat.convert"] == ["CANCELLED", "Not done"]
    assert states["publish"] == ["COMPLETED", "Published"]
    assert len(runs(case)) == 1


def test_a_failure_of_an_earlier_run_is_shown_again(shown: dict[str, Any]) -> None:
    case = shown["recipe_before"]
    states = {task[0]: task[1:] for task in case["tasks"]}
    assert states["w0.qat"] == ["FAILED", "Failed", "w0.qat is broken"]
    assert states["w0.qat.convert"][1] == "Not done"
    assert (case["code"], len(runs(case))) == (1, 1)


def test_a_stage_that_stops_the_run_is_tried_again_from_there(shown: dict[str, Any]) -> None:
    case = shown["again"]
    assert case["code"] == 0
    assert case["state"][1] == "Published"
    states = [(task[0], task[2], task[3]) for task in case["tasks"]]
    assert states[:4] == [
        ("data", "Completed", "30 images (1.0 s)"),
        ("w0.qat", "Failed", "disk full (model.npz)"),
        ("data", "Done before", "well"),
        ("w0.qat", "Completed", "91 % (1.0 s)"),
    ]
    assert len(runs(case)) == 2


def test_a_lasting_failure_shows_the_stage_and_the_end_of_the_log(shown: dict[str, Any]) -> None:
    case = shown["always"]
    assert case["code"] == 1
    assert case["state"] == ["FAILED", "Failed", "w0.qat: disk full (model.npz)"]
    assert len(runs(case)) == 3
    page = case["artifacts"]["litesmith-failure"]
    assert page.startswith("## w0.qat failed\n\ndisk full (model.npz)\n")
    assert "[     2 s] epoch 1/3\nlitesmith: w0.qat: disk full (model.npz)\n" in page


def test_a_recorded_failure_that_another_run_may_not_have_is_tried_again(shown: dict[str, Any]) -> None:
    case = shown["bench"]
    assert (case["code"], len(runs(case)), case["state"][1]) == (0, 2, "Published")


def test_a_regression_is_not_published_and_not_tried_again(shown: dict[str, Any]) -> None:
    case = shown["regression"]
    assert case["state"] == ["FAILED", "Failed", "publish: not published: 1 regression against tiny-0"]
    assert case["tasks"][-1][1:3] == ["FAILED", "Not published"]
    assert (case["code"], len(runs(case))) == (1, 1)


def test_what_is_refused_is_not_tried_again(shown: dict[str, Any]) -> None:
    case = shown["refused"]
    assert case["code"] == 2
    assert case["state"] == ["FAILED", "Refused", "config.search.space: 'x' is not legal; expected y"]
    assert case["tasks"] == []
    assert len(case["calls"]) == 1


def test_runs_of_one_computer_share_a_concurrency_limit(shown: dict[str, Any]) -> None:
    assert shown["published"]["limits"] == {f"litesmith-{socket.gethostname()}": 1}


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        (["--workdir=w", "--once"], ("--config: missing",)),
        (["--config=c", "--once"], ("--workdir: missing",)),
        (["--config=c", "--workdir=w"], ("--cron, --once", "one of them")),
        (["--config=c", "--workdir=w", "--once", "--cron=0 3 * * *"], ("--cron, --once", "one of them")),
        (["--config=c", "--workdir=w", "--once", "--retries=x"], ("--retries", "'x'")),
        (["--config=c", "--workdir=w", "--once", "--retries=-1"], ("--retries", "-1", "from 0 to 100")),
        (["--config=c", "--workdir=w", "--once", "--retry_delay_s=nan"], ("--retry_delay_s", "nan", "from 0")),
        (["--config=c", "--workdir=w", "--cron=0 3 * * *", "--timezone=Mars/Base"], ("--timezone", "Mars/Base", "tz")),
        (["--config=c", "--workdir=w", "--cron=0 3 * * *", "--timezone=../x"], ("--timezone", "../x", "tz")),
        (["--config=c", "--workdir=w", "--once", "now"], ("unexpected now", "flags only")),
    ],
)
def test_bad_usage_is_one_line(flags: list[str], parts: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert schedule.main(flags) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("litesmith: ")
    assert all(part in line for part in parts), line


def test_without_prefect_the_command_says_what_sets_it_up(capsys: pytest.CaptureFixture[str]) -> None:
    assert schedule.main(["--config=c", "--workdir=w", "--once"]) == 2
    assert "`make schedule`" in capsys.readouterr().err


def test_other_flags_go_to_the_run() -> None:
    settings = schedule.parse(["--config=c", "--workdir=w", "--once", "--config.search.max_trials=3", "--serial=X"])
    assert settings.overrides == ["--config.search.max_trials=3", "--serial=X"]


def test_lines_of_other_work_are_no_stage() -> None:
    assert stage_line("[    12 s] [3/9] w0.float: 91 % (3.0 s)") == StageLine("w0.float", "91 % (3.0 s)")
    assert stage_line("[     0 s] [3/9] w0.float") == StageLine("w0.float", None)
    assert stage_line("[     0 s] [3/9] w0.qat: FAILED: a: b (1 s)") == StageLine("w0.qat", "FAILED: a: b (1 s)")
    for line in ("[    12 s] trial 3/9", "litesmith: w0.float: disk full", "[    12 s] see [3/9] w0.float", ""):
        assert stage_line(line) is None


def test_a_child_does_not_outlive_its_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sleeper = tmp_path / "python"
    sleeper.write_text("#!/bin/sh\nsleep 1000 &\necho $!\nwait\n")
    sleeper.chmod(0o755)
    monkeypatch.setenv(run_process.PYTHON_VARIABLE, str(sleeper))
    with RunProcess(("run",)) as run:
        grandchild = int(next(run.lines()))
    assert run.wait() < 0
    wait_for(lambda: is_dead(grandchild))  # it has been sent its signal, and dies when the kernel next runs it


def is_dead(pid: int) -> bool:
    """Whether a process is gone, but for being waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_a_missing_interpreter_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(run_process.PYTHON_VARIABLE, str(tmp_path / "none"))
    with pytest.raises(UsageError, match=r"LITESMITH_PYTHON: no Python at .*none"):
        run_process.ask(("status", "--json"))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A Prefect server as docs/scheduling.md starts it; gives the environment of its clients."""
    if not PREFECT_PYTHON.is_file():
        pytest.skip("needs Prefect (`make schedule`)")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/api"
    env = {**os.environ, **QUIET, "PREFECT_HOME": str(tmp_path / "home"), "PREFECT_API_URL": url}
    command = [PREFECT_PYTHON, "-m", "prefect", "server", "start", f"--port={port}"]
    with open(tmp_path / "server.log", "w") as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_for(lambda: asked(f"{url}/health") is True)
        yield env
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def asked(url: str, question: dict[str, Any] | None = None) -> Any:
    """The JSON at a URL; None if nobody answers."""
    content = None if question is None else json.dumps(question).encode()
    request = urllib.request.Request(url, content, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)
    except OSError:
        return None


def wait_for(found: Callable[[], Any]) -> Any:
    """What `found` gives once it is true."""
    end = time.monotonic() + TIMEOUT_S
    while not (value := found()):
        assert time.monotonic() < end
        time.sleep(0.5)
    return value


@pytest.mark.slow
def test_a_served_schedule_runs_when_its_time_comes(server: dict[str, str], tmp_path: Path) -> None:
    # The plan that the command checks before it waits is a first attempt, the run is the second.
    (tmp_path / "scenario.json").write_text(json.dumps({"attempts": [CUT, GOOD]}))
    flags = [f"--config={tmp_path / 'scenario.json'}", f"--workdir={tmp_path / 'digits'}", "--store=/store"]
    env = {**server, run_process.PYTHON_VARIABLE: str(stand_in(tmp_path))}
    command = [PREFECT_PYTHON, "-m", "pipeline.schedule", *flags, "--cron=* * * * *"]
    question = {"flow_runs": {"state": {"type": {"any_": ["COMPLETED", "FAILED", "CRASHED"]}}}}
    with open(tmp_path / "serve.log", "w") as log:
        process = subprocess.Popen(command, env=env, cwd=ROOT, stdout=log, stderr=log, start_new_session=True)
    try:
        url = f"{server['PREFECT_API_URL']}/flow_runs/filter"
        (run,) = wait_for(lambda: asked(url, question))[:1]
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert (run["state"]["type"], run["state"]["name"]) == ("COMPLETED", "Published"), run["state"]
    assert run["deployment_id"] is not None
    assert run["parameters"]["store"] == "/store"


@pytest.mark.slow
def test_runs_on_growing_data_publish_what_is_new(server: dict[str, str], tmp_path: Path) -> None:
    from tests.pipeline.release_runs import write_images, write_model  # TensorFlow, which no other test here needs

    images, store = write_images(tmp_path / "images.npz"), tmp_path / "store"
    model = write_model(tmp_path / "model.keras")
    # Five runs of a model on a busy computer may well be slower than those before.
    settings = (f"data.name=directory:{tmp_path / 'images'}", f"model.file={model}", "release.allow_regression=True")
    flags = [f"--config.{text}" for text in settings]
    told = []
    for count in (90, 90, 120):
        write_folders(images, tmp_path / "images" / "train", count)
        command = [PREFECT_PYTHON, "-m", "pipeline.schedule", "--once", "--config=tests/testdata/squares.py", *flags]
        command += [f"--workdir={tmp_path / 'run'}", f"--store={store}", "--retries=0"]
        done = subprocess.run(command, env=server, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S)
        assert done.returncode == 0, done.stdout + done.stderr
        told.append(done.stdout.splitlines()[-1].partition(":")[0])
    assert told == ["Published", "Nothing new", "Published"]
    assert len(list((store / "releases").iterdir())) == 2
    status = subprocess.run(
        [sys.executable, "-m", "pipeline.main", "status", "--json", f"--workdir={tmp_path / 'run'}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(status.stdout)
    assert (found["state"], found["publication"]["outcome"]) == ("done", "published")
    assert found["publication"]["release"] == found["release"]
    assert found["unused"]["folders"] == len(found["stages"])  # those of the first 90 images


def write_folders(images: Path, folder: Path, count: int) -> None:
    """Adds what is missing of the first `count` training images of an .npz, as PNG files in a folder for each class."""
    with np.load(images) as known:
        for row, (pixels, label) in enumerate(zip(known["x_train"][:count], known["y_train"], strict=False)):
            path = folder / str(label) / f"{row}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                Image.fromarray(pixels).save(path)

"""The ssh runner against a real sshd that runs the real tools."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from android_bench.connections import Connections
from android_bench.protocol import measure
from android_bench.runners.ssh import SshRunner, make
from android_bench.session import FELL_BACK, THROTTLED, SessionPlan
from android_bench.settings import BenchConfig
from android_bench.ssh.link import open_link
from android_bench.ssh.scripts import FOLDER_PREFIX
from core.errors import UsageError
from core.values import Target
from tests.android_bench.sshd import Sshd

# As little as shows that a session was run.
PLAN = SessionPlan(warmup_runs=1, runs=5, min_seconds=0.0)
BOARD = Target("pi", kind="ssh", num_threads=1, cpu_mask=(0,))
LOGS = Path(__file__).resolve().parents[3] / "shared" / "benchmark_model_logs"


@pytest.fixture(autouse=True)
def nothing_is_left(board: Sshd) -> Iterator[None]:
    yield
    assert board.left_behind() == ([], [])


def connections(board: Sshd, **changes: object) -> Connections:
    found = Connections(hosts={"pi": "board"}, ssh_config=board.config)
    return replace(found, **changes)  # type: ignore[arg-type]


def runner(board: Sshd, target: Target = BOARD, **changes: object) -> SshRunner:
    return make(target, connections(board, **changes))


def test_litert_interpreter_is_the_first_choice(board: Sshd, tiny_models: dict[str, Path]) -> None:
    measured = runner(board)
    with measured.exclusive(BOARD):
        state = measured.state(BOARD)
        sessions = [measured.run(tiny_models[name], BOARD, PLAN) for name in ("small", "small_uint8")]
    assert measured.tool.startswith("ai-edge-litert ") and measured.tool.endswith(" Interpreter")
    for session in sessions:
        assert len(session.durations_ns) == PLAN.runs and min(session.durations_ns) > 0
        assert session.concerns == () and session.conditions["cores_allowed"] == "0"
        # A process with an interpreter and NumPy; see the host runner's test.
        assert 20e6 < session.peak_memory_bytes < 200e6
    for key in ("machine", "kernel", "cores_online", "governor", "load_average", "memory_free_mib", "disk_free_mib"):
        assert state.conditions[key]
    assert (state.conditions["pinned_to"], state.conditions["locked_for_others"]) == ("0", "yes")
    assert "emulated" not in state.conditions


def test_compiled_model(board: Sshd, tiny_models: dict[str, Path]) -> None:
    target = replace(BOARD, tool="compiled_model")
    measured = runner(board, target)
    session = measured.run(tiny_models["small"], target, PLAN)
    assert len(session.durations_ns) == PLAN.runs and session.conditions["tool"] == "CompiledModel"


def test_litert_benchmark_to_the_last_digit(board: Sshd, tiny_models: dict[str, Path]) -> None:
    """Its figures are multiples of 10 us in its own file; a model of a few microseconds needs more."""
    target = replace(BOARD, tool="litert_benchmark")
    measured = runner(board, target)
    with measured.exclusive(target):
        session = measured.run(tiny_models["small"], target, PLAN)
    summary = session.summary
    assert summary is not None and summary.runs == PLAN.runs and summary.p95_us is not None
    assert 0 < summary.min_us <= summary.median_us <= summary.p95_us <= summary.max_us
    assert summary.median_us % 10 != 0
    assert session.concerns == () and 20e6 < session.peak_memory_bytes < 300e6
    assert measured.tool.startswith("litert-benchmark of ai-edge-litert ")


def test_without_xnnpack_nothing_is_delegated(board: Sshd, tiny_models: dict[str, Path]) -> None:
    target = replace(BOARD, delegate="cpu")
    session = runner(board, target).run(tiny_models["small"], target, PLAN)
    assert session.conditions["delegate_partitions"] == "0" and session.concerns == ()


def _replay(board: Sshd, log: str, name: str = "benchmark_model") -> Path:
    """A program that says what a recorded run of benchmark_model said, and keeps how it was called."""
    path = LOGS / log
    if not path.exists():
        pytest.skip(f"needs the recorded log {log}")
    code = next(line for line in path.read_text().splitlines() if line.startswith("# exit code: "))
    profile = LOGS / "36_op_profile.pb"
    text = (
        f'for flag; do case "$flag" in --op_profiling_output_file=*) cp {profile} "${{flag#*=}}" ;; esac; done\n'
        f'echo "$0 $*" >>{board.folder}/calls\n'
        f"sed '1,3d; /^# --- stderr ---$/,$d' {path}\n"
        f"sed '1,/^# --- stderr ---$/d' {path} >&2\nexit {code.split()[-1]}"
    )
    return board.program(name, text)


def test_benchmark_model_is_sent_once(board: Sshd, tiny_models: dict[str, Path], tmp_path: Path) -> None:
    program = _replay(board, "30_xnnpack-f32.txt").rename(tmp_path / "benchmark_model")
    target = replace(BOARD, tool="benchmark_model", num_threads=1)
    measured = runner(board, target, benchmark_model={"": str(program)}, remote_python={"": "none"})
    (board.folder / "calls").unlink(missing_ok=True)
    with measured.exclusive(target):
        first = measured.run(tiny_models["small"], target, PLAN)
        profiled = measured.run(tiny_models["small"], target, replace(PLAN, profile=True))
    assert first.summary is not None and first.summary.median_us == 4056.0
    assert first.ops == () and len(profiled.ops) > 1
    assert sum(op.share for op in profiled.ops) == pytest.approx(1.0)
    one, two = (board.folder / "calls").read_text().splitlines()
    assert one.split()[0] == two.split()[0] and one.split()[0].startswith(str(board.tmp))
    assert {"--num_threads=1", "--num_runs=5", "--use_xnnpack=true"} <= set(one.split())
    assert measured.tool.startswith("benchmark_model ")


def test_benchmark_model_that_is_installed_there(board: Sshd, tiny_models: dict[str, Path]) -> None:
    program = _replay(board, "30_xnnpack-f32.txt")
    target = replace(BOARD, tool="benchmark_model")
    try:
        session = runner(board, target).run(tiny_models["small"], target, PLAN)
    finally:
        program.unlink()
    assert session.summary is not None and session.summary.runs == 50


def test_a_silent_fall_back_is_a_concern(board: Sshd, tiny_models: dict[str, Path]) -> None:
    program = _replay(board, "40_nnapi.txt")  # its exit code is 0
    target = replace(BOARD, tool="benchmark_model", delegate="nnapi")
    try:
        session = runner(board, target).run(tiny_models["small"], target, PLAN)
    finally:
        program.unlink()
    assert [concern.kind for concern in session.concerns] == [FELL_BACK]


def test_the_whole_protocol(board: Sshd, tiny_models: dict[str, Path]) -> None:
    config = BenchConfig(processes=2, warmup_runs=1, runs=5, min_seconds=0.0, max_cool_down_seconds=0.0)
    measured = measure(tiny_models["small"], BOARD, config, runner(board))
    assert (measured.latency.processes, measured.latency.runs) == (2, 10)
    assert measured.latency.low_us <= measured.latency.median_us <= measured.latency.high_us
    assert measured.tool.startswith("ai-edge-litert ") and measured.conditions["pinned_to"] == "0"


def test_firmware_of_a_raspberry_pi(board: Sshd) -> None:
    bits = board.folder / "bits"
    text = f'case $1 in measure_temp) echo "temp=48.3\'C" ;; get_throttled) echo "throttled=$(cat {bits})" ;; esac'
    program = board.program("vcgencmd", text)
    measured = runner(board)
    try:
        with measured.exclusive(BOARD):
            bits.write_text("0x0")
            before = measured.state(BOARD)
            bits.write_text("0x40004")
            after = measured.state(BOARD)
    finally:
        program.unlink()
    assert before.conditions["temperature_c"].endswith("firmware 48.3")
    assert before.wait_for == "" and THROTTLED not in [concern.kind for concern in before.concerns]
    assert after.wait_for == "the board's firmware says: throttled"
    assert THROTTLED in [concern.kind for concern in after.concerns]


def test_another_processor_than_the_targets(board: Sshd) -> None:
    target = replace(BOARD, abi="riscv64")
    with pytest.raises(UsageError, match=r"target pi \(board\): abi of the target is 'riscv64', but the board says "):
        runner(board, target).state(target)


def test_boards_wait_for_each_other(board: Sshd) -> None:
    entered = threading.Event()

    def other() -> None:
        with open_link("other", "board", board.config):
            entered.set()

    with open_link("pi", "board", board.config) as link:
        assert link.locked
        thread = threading.Thread(target=other)
        thread.start()
        # If the lock did nothing this would see the event soon; a slow machine can only make it pass.
        assert not entered.wait(1.0)
    thread.join(timeout=60)
    assert entered.is_set()


def test_what_a_board_that_lost_its_power_kept_is_removed(board: Sshd) -> None:
    stale, others = board.tmp / f"{FOLDER_PREFIX}0123456789abcdef", board.tmp / "litesmith-ssh-other"
    for folder in (stale, others):
        folder.mkdir()
        (folder / "model.tflite").write_bytes(b"left")
    with open_link("pi", "board", board.config) as link:
        assert {path.name for path in board.tmp.iterdir()} == {Path(link.folder).name, others.name}
    shutil.rmtree(others)


def test_a_file_is_sent_once(board: Sshd, tmp_path: Path) -> None:
    one, same = tmp_path / "one.bin", tmp_path / "same.bin"
    one.write_bytes(bytes(range(256)) * 1000)
    same.write_bytes(one.read_bytes())
    with open_link("pi", "board", board.config) as link:
        assert link.send(one) == link.send(same)
        (there,) = Path(link.folder).iterdir()
        assert there.read_bytes() == one.read_bytes() and there.stat().st_mode & 0o077 == 0


def test_a_target_without_host() -> None:
    with pytest.raises(UsageError, match=r"target pi: no host; name it by --ssh=pi=\[user@\]host"):
        make(BOARD, Connections())


@pytest.mark.parametrize("host", ["-oProxyCommand=reboot", "pi @host", ""])
def test_a_host_that_is_none(host: str, board: Sshd) -> None:
    with pytest.raises(UsageError, match="is not legal; expected"), open_link("pi", host, board.config):
        pass

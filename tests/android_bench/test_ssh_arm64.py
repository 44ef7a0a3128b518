"""An arm64 userland under emulation as an edge board: the outputs are this computer's, the latency is marked."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from android_bench.connections import Connections
from android_bench.protocol import measure
from android_bench.runners.ssh import make
from android_bench.settings import BenchConfig
from android_bench.ssh.link import open_link
from benchmarks.arm64 import EMULATOR, EMULATOR_PACKAGE, LITERT, RUNTIME, WORKER, arm64_runtime
from benchmarks.arm64_worker import scores
from core.process import ProcessError
from core.values import Target
from tests.android_bench.sshd import Sshd, running_sshd

pytestmark = pytest.mark.slow
BOARD = Target("pi", kind="ssh", abi="aarch64", num_threads=1)
CONFIG = BenchConfig(processes=1, warmup_runs=1, runs=3, min_seconds=0.0)


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    if shutil.which(EMULATOR) is None:
        pytest.skip(f"needs the Debian package {EMULATOR_PACKAGE}")
    try:
        runtime = arm64_runtime(RUNTIME)
    except ProcessError as error:
        pytest.skip(f"needs {LITERT} for arm64 and Debian's arm64 packages: {error}")
    with running_sshd(tmp_path_factory.mktemp("sshd")) as server:
        server.program("arm64-python", f'exec {shlex.join(runtime.command())} "$@"')
        yield server


def test_an_emulated_latency_is_marked(board: Sshd, tiny_models: dict[str, Path]) -> None:
    runner = make(
        BOARD, Connections(hosts={"pi": "board"}, ssh_config=board.config, remote_python={"pi": "arm64-python"})
    )
    measured = measure(tiny_models["small"], BOARD, CONFIG, runner)
    assert measured.latency.runs == CONFIG.runs
    assert measured.conditions["emulated"].startswith("emulated: aarch64 programs on a processor of kind ")
    assert measured.verdict.startswith("noisy: emulated: ")
    assert "the figure says nothing of a real device" in measured.verdict
    assert runner.tool == f"ai-edge-litert {LITERT.partition('==')[2]} Interpreter"
    assert board.left_behind() == ([], [])


def test_the_outputs_are_this_computers(board: Sshd, tiny_models: dict[str, Path], tmp_path: Path) -> None:
    images = np.random.default_rng(1).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)
    models = [tiny_models[name] for name in ("small", "small_uint8")]
    with open_link("pi", "board", board.config) as link:
        worker, pictures, *there = [link.send(path) for path in (WORKER, tmp_path / "images.npy", *models)]
        done = link.run("scoring", shlex.join(["arm64-python", worker, pictures, "scores.npz", *there]), 300.0)
        assert done.returncode == 0, done.stderr
        with np.load(Path(link.folder) / "scores.npz", allow_pickle=False) as found:
            floats, integers = found["model_0"], found["model_1"]
    # Sums in another order: a few float32 roundings of values of about 1.
    np.testing.assert_allclose(floats, scores(str(models[0]), images), atol=1e-5)
    # Integers that fall between two may be rounded to either: kernels differ in how they multiply by a scale.
    np.testing.assert_allclose(integers.astype(int), scores(str(models[1]), images).astype(int), atol=1)
    assert np.ptp(integers) > 100  # the outputs are not all alike, which would be equal anywhere

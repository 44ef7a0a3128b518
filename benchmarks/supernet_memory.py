"""Part "memory" of benchmarks.supernet: peak memory and time of a training step, each way in a process of its own.

    python -m benchmarks.supernet_memory DATA_FOLDER WAY STEPS

trains for a few short epochs (of "progressive": all phases) and prints one line of JSON. Each is compared with the
largest network of its space, trained alone.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.search_results import Rows
from core import process
from core.tracking import Tracker

BATCH = 64
EPOCHS, EPOCHS_OF_PHASES = 3, 6  # the last is timed: the first one traces; every phase has its own
TIMEOUT_S = 1800.0
HEADINGS = ("what is trained", "step, ms", "to alone", "peak memory, MB", "beyond the libraries, to alone")
ROOT = Path(__file__).resolve().parents[1]
ALONE, LARGEST, MIXED_ALONE = "alone", "largest", "mixed_alone"
ELASTIC = {
    ALONE: "the largest network alone",
    LARGEST: "the largest network in the supernet",
    "single_path": "a random network (single_path)",
    "progressive": "a random network and its teacher (progressive)",
    "sandwich": "largest, smallest and a random network (sandwich)",
}
MIXED = {
    MIXED_ALONE: "the largest network alone",
    "darts": "all candidates, in steps of weights and architecture (darts)",
    "proxyless": "a path, and two candidates at each place (proxyless)",
}


def memory(place: Any) -> list[Rows]:
    """A table for each space, with a row for each way."""
    from benchmarks.supernet_place import ELASTIC_SPACE, MIXED_SPACE

    data = place.data  # prepared before the processes read it
    folder = place.folder / f"data-{place.data_name}"
    steps = place.scale.memory_steps
    tables = []
    for name, ways in ((ELASTIC_SPACE, ELASTIC), (MIXED_SPACE, MIXED)):
        found = {way: place.kept(f"memory_{way}", partial(_run, folder, way, steps)) for way in ways}
        alone = next(iter(found.values()))
        title = (
            f"{name}: a training step of {BATCH} images of {data.resolution} pixels, 2 cores; peak memory of the "
            f"process, of which libraries and images take {alone['before_mb']:.0f} MB"
        )
        rows = tuple(_row(text, found[way], alone) for way, text in ways.items())
        tables.append(Rows(title, HEADINGS, rows))
    return tables


def _row(text: str, found: dict[str, float], alone: dict[str, float]) -> tuple[str, ...]:
    beyond = [one["peak_mb"] - one["before_mb"] for one in (found, alone)]
    return (
        text,
        f"{found['step_ms']:.0f}",
        f"{found['step_ms'] / alone['step_ms']:.2f}x",
        f"{found['peak_mb']:.0f}",
        f"{beyond[0] / beyond[1]:.2f}x",
    )


def _run(folder: Path, way: str, steps: int) -> dict[str, float]:
    words = [sys.executable, "-m", "benchmarks.supernet_memory", str(folder), way, str(steps)]
    done = process.run(words, timeout_s=TIMEOUT_S, env={"PYTHONPATH": str(ROOT)})
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _peak_mb() -> float:
    """Of this process. Not getrusage: on Linux its ru_maxrss begins with what the parent had at the start."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM"))


def _measure(folder: Path, way: str, steps: int) -> dict[str, float]:
    """Milliseconds of a step in the last epoch, and megabytes."""
    from benchmarks.supernet_place import ELASTIC_SPACE, MIXED_SPACE
    from pipeline.data import load
    from search.named import space

    data = load(folder)
    searched = space(MIXED_SPACE if way in MIXED else ELASTIC_SPACE, data.resolution, data.num_classes)
    before_mb = _peak_mb()
    trainer = _alone if way in (ALONE, MIXED_ALONE) else _mixed if way in MIXED else _shared
    seconds = trainer(searched, data, way, steps)
    return {"before_mb": before_mb, "peak_mb": _peak_mb(), "step_ms": 1000 * seconds / steps}


def _alone(searched: Any, data: Any, way: str, steps: int) -> float:
    """Seconds of the last epoch."""
    from core.keras_env import keras

    from search.build import build
    from search.settings import TrainConfig
    from search.supernet.layout import layout_of
    from search.train import fit, labels_supervision

    starts: list[float] = []
    clock = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: starts.append(time.perf_counter()),
        on_epoch_end=lambda epoch, logs: starts.append(time.perf_counter()),
    )
    fit(
        build(layout_of(searched).largest),
        data.train.first(BATCH * steps),
        TrainConfig(epochs=EPOCHS, batch_size=BATCH),
        labels_supervision(data.num_classes),
        seed=1,
        augment=data.augment,
        callbacks=[clock],
    )
    return starts[-1] - starts[-2]


def _shared(searched: Any, data: Any, way: str, steps: int) -> float:
    """Seconds of the last epoch."""
    from core.progress import Task
    from search.supernet.genotypes import largest_genotype
    from search.supernet.network import ElasticNetwork
    from search.supernet.settings import SupernetConfig
    from search.supernet.train import ElasticTraining

    config = SupernetConfig(
        method="single_path" if way == LARGEST else way,
        full_epochs=1,
        epochs=EPOCHS_OF_PHASES if way == "progressive" else EPOCHS,
        train_images=BATCH * steps,
        batch_size=BATCH,
    )
    sampler: Callable[[int], Any] | None = (lambda step: [largest_genotype(searched)]) if way == LARGEST else None
    clock = _Clock()
    training = ElasticTraining(ElasticNetwork(searched, 1), data, config, seed=1, sampler=sampler, tracker=clock)
    while training.steps_left:
        training.run_epoch(Task())
    return clock.seconds


def _mixed(searched: Any, data: Any, way: str, steps: int) -> float:
    """Seconds of the last epoch, in which each step trains the weights and then the architecture."""
    from search.supernet.darts import train_darts
    from search.supernet.mixed import MixedNetwork
    from search.supernet.proxyless import train_proxyless
    from search.supernet.settings import SupernetConfig

    config = SupernetConfig(
        method=way,
        epochs=EPOCHS,
        train_images=2 * BATCH * steps,  # half of them are the architecture's
        batch_size=BATCH,
        warmup_share=0.0,
        recalibration_images=BATCH,
        val_images=BATCH,
    )
    train, clock = train_darts if way == "darts" else train_proxyless, _Clock()
    with tempfile.TemporaryDirectory() as folder:
        train(MixedNetwork(searched, 1), data, config, seed=1, checkpoint=Path(folder) / "search.npz", tracker=clock)
    return clock.seconds


class _Clock(Tracker):
    """Keeps how long the last epoch took."""

    seconds = 0.0

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self.seconds = values["train/seconds"]


if __name__ == "__main__":
    print(json.dumps(_measure(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))))

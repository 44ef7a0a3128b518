"""Part "memory" of benchmarks.supernet: peak memory and time of a training step, each way in a process of its own.

    python -m benchmarks.supernet_memory DATA_FOLDER WAY STEPS

trains for a few short epochs (of "progressive": all phases) and prints one line of JSON.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.search_results import Rows
from core import process

BATCH = 64
EPOCHS, EPOCHS_OF_PHASES = 3, 6  # the last is timed: the first one traces; every phase has its own
TIMEOUT_S = 1800.0
ROOT = Path(__file__).resolve().parents[1]
ALONE, LARGEST = "alone", "largest"
WAYS = {
    ALONE: "the largest network alone",
    LARGEST: "the largest network in the supernet",
    "single_path": "a random network (single_path)",
    "progressive": "a random network and its teacher (progressive)",
    "sandwich": "largest, smallest and a random network (sandwich)",
}


def memory(place: Any) -> list[Rows]:
    """A row for each way."""
    data = place.data  # prepared before the processes read it
    folder = place.folder / f"data-{place.data_name}"
    steps = place.scale.memory_steps
    found = {way: place.kept(f"memory_{way}", partial(_run, folder, way, steps)) for way in WAYS}
    alone = found[ALONE]
    rows = tuple(
        (
            text,
            f"{found[way]['step_ms']:.0f}",
            f"{found[way]['step_ms'] / alone['step_ms']:.2f}x",
            f"{found[way]['peak_mb']:.0f}",
            f"{(found[way]['peak_mb'] - found[way]['before_mb']) / (alone['peak_mb'] - alone['before_mb']):.2f}x",
        )
        for way, text in WAYS.items()
    )
    title = (
        f"A training step of {BATCH} images of {data.resolution} pixels, 2 cores; peak memory of the process, of which "
        f"libraries and images take {alone['before_mb']:.0f} MB"
    )
    headings = ("what is trained", "step, ms", "to alone", "peak memory, MB", "beyond the libraries, to alone")
    return [Rows(title, headings, rows)]


def _run(folder: Path, way: str, steps: int) -> dict[str, float]:
    words = [sys.executable, "-m", "benchmarks.supernet_memory", str(folder), way, str(steps)]
    done = process.run(words, timeout_s=TIMEOUT_S, env={"PYTHONPATH": str(ROOT)})
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def _measure(folder: Path, way: str, steps: int) -> dict[str, float]:
    """Milliseconds of a step in the last epoch, and megabytes."""
    from benchmarks.supernet_place import ELASTIC_SPACE
    from pipeline.data import load
    from search.named import space

    data = load(folder)
    searched = space(ELASTIC_SPACE, data.resolution, data.num_classes)
    before_mb = _peak_mb()
    trainer = _alone if way == ALONE else _shared
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
    training = ElasticTraining(ElasticNetwork(searched, 1), data, config, seed=1, sampler=sampler)
    took = 0.0
    while training.steps_left:
        began = time.perf_counter()
        training.run_epoch(Task())
        took = time.perf_counter() - began
    return took


if __name__ == "__main__":
    print(json.dumps(_measure(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))))

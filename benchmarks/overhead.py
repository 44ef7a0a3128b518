"""What our search loop costs over the same trainings in a bare script.

    python -m benchmarks.overhead [--rounds=3] [--trials=6] [--epochs=6]

Both sides train the same networks for as many steps on the same 3,600 MNIST images with the same augmentation, and
find each network's validation accuracy. The bare side is a loop over `model.fit` as one would write it by hand; ours
adds Keras Tuner's oracle (its import too), checkpoints, the durable trial log and progress. The sides take turns in
fresh processes; TensorFlow's import is in neither figure. The cost is computed (MACs), so nothing is converted or
measured on either side. About 10 minutes on 2 idle cores (7 with --trials=4). Allowed: 5 % more wall
time (ratio 1.05). Measured with --trials=4: ratios 0.85, 0.96 and 0.90, ours being faster because it neither shuffles
image by image nor traces an evaluation.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from absl import app, flags
from rich.console import Console
from rich.table import Table

from search.settings import SearchConfig

LIMIT = 1.05
SEED = 1

_ROUNDS = flags.DEFINE_integer("rounds", 3, "how often each side is timed", lower_bound=1)
_TRIALS = flags.DEFINE_integer("trials", 6, "networks trained by each side", lower_bound=1)
_EPOCHS = flags.DEFINE_integer("epochs", 6, "epochs of each training", lower_bound=1)
_SIDE = flags.DEFINE_enum("side", None, ["ours", "bare"], "run one side and print its seconds (used by the benchmark)")
_FOLDER = flags.DEFINE_string("folder", None, "where the prepared images are (used by the benchmark)")


def ours(data_directory: Path) -> float:
    """Seconds of our search over the networks that random search suggests."""
    from core.keras_env import tf

    from core.progress import SilentReporter

    del tf  # imported before the clock starts
    started = time.perf_counter()
    from android_bench.settings import BenchConfig
    from pipeline.data import load
    from pipeline.evaluators import TrainEvaluator
    from search.loop import run_search
    from search.named import space
    from search.oracles.strategy import Strategy

    config, data = _search_config(), load(data_directory)
    named = space(config.space, data.resolution, data.num_classes)
    with tempfile.TemporaryDirectory() as scratch:
        strategy = Strategy(config, named, SEED)
        evaluator = TrainEvaluator(config, BenchConfig(), data, Path(scratch))
        log = Path(scratch, "trials.jsonl")
        run_search(config, named, strategy, evaluator, log, seed=SEED, reporter=SilentReporter())
        (data_directory / "architectures.json").write_text(json.dumps(_architectures(log)))
    return time.perf_counter() - started


def bare(data_directory: Path) -> float:
    """Seconds of the same trainings with nothing around them."""
    from core.keras_env import keras, reset, tf

    from pipeline.data import load
    from search.build import build
    from search.grammar import from_text
    from search.inputs import augmented
    from search.loop import training_seed

    architectures = json.loads((data_directory / "architectures.json").read_text())
    started = time.perf_counter()
    config, data = _search_config(), load(data_directory)
    images, labels = data.train.rgb(), data.train.labels
    val_images, val_labels = data.val.rgb().astype("float32") / 255, data.val.labels
    for text in architectures:
        reset(training_seed(SEED, text))
        model = build(from_text(text))
        batches = tf.data.Dataset.from_tensor_slices((images, labels)).shuffle(len(images), seed=SEED)
        batches = batches.batch(config.batch_size, drop_remainder=True).enumerate()
        batches = batches.map(lambda i, xy: (tf.cast(augmented(xy[0], data.augment, SEED, i), tf.float32) / 255, xy[1]))
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.AdamW(config.learning_rate), loss, metrics=["accuracy"])
        model.fit(batches.prefetch(2), epochs=config.epochs, verbose=0)
        model.evaluate(val_images, val_labels, batch_size=256, verbose=0)
    return time.perf_counter() - started


def main(argv: list[str]) -> None:
    """Runs both sides in turns and prints a table; exits 1 if the median ratio is above the limit."""
    del argv
    if _SIDE.value:
        side = ours if _SIDE.value == "ours" else bare
        print(json.dumps(side(Path(_FOLDER.value))))
        return
    console = Console()
    table = Table("round", "our search, s", "bare script, s", "ratio", title="search loop against bare trainings")
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        _prepare(Path(folder))
        for number in range(1, _ROUNDS.value + 1):
            seconds = {side: _timed(side, folder) for side in ("ours", "bare")}
            ratios.append(seconds["ours"] / seconds["bare"])
            table.add_row(str(number), f"{seconds['ours']:.1f}", f"{seconds['bare']:.1f}", f"{ratios[-1]:.3f}")
    ratio = statistics.median(ratios)
    table.add_row("median", "", "", f"{ratio:.3f}")
    console.print(table)
    sys.exit(0 if ratio <= LIMIT else 1)


def _search_config() -> SearchConfig:
    return SearchConfig(oracle="random", cost="macs", max_trials=_TRIALS.value, epochs=_EPOCHS.value)


def _architectures(log: Path) -> list[str]:
    return [json.loads(line)["arch"] for line in log.read_text().splitlines()]


def _prepare(folder: Path) -> None:
    from core.progress import SilentReporter
    from pipeline.data import DataConfig, prepare

    prepare(DataConfig(), SEED, folder, SilentReporter())


def _timed(side: str, folder: str) -> float:
    command = [sys.executable, "-m", "benchmarks.overhead", f"--side={side}", f"--folder={folder}"]
    command += [f"--trials={_TRIALS.value}", f"--epochs={_EPOCHS.value}"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    app.run(main)

"""How well latencies of whole networks are predicted from a few that were measured, on real phones and boards.

    python -m benchmarks.latency_predictor [--seeds=20] [--data=FOLDER]

About 2 minutes on an idle machine. Two public tables of measurements, on a Pixel 3 and on a Raspberry Pi 4: 5,000
networks of FBNet's space and the cells of NAS-Bench-201 (those measured as faster than 0.5 ms are disconnected, and
left out). For each seed a random subset is seen and all other networks are predicted. "Within 10 %" is the share of
networks whose prediction is off by at most a tenth, "in interval" of those whose latency is in the predicted 95 %
interval. Beside it is a ridge regression: on which operation is where (FBNet), and on the operations of each pair of
edges (NAS-Bench-201), with the penalty, of four, that does best on the networks to be predicted. The exit code is 1 if
a median is below its limit.

Measured, Pixel 3 and Raspberry Pi 4, median rank correlation of 20 subsets: FBNet 0.9990 and 0.9978 with 50 seen (ridge
0.51 and 0.52), 1.0000 with 100 (0.72), 1.0000 with 250 (0.9998); NAS-Bench-201 0.962 and 0.967 with 300 (0.948, 0.953).
The FBNet latencies are sums of parts, so that they have no noise; those of NAS-Bench-201 are of whole networks.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from core.errors import LitesmithError, one_line
from search.latency.cells import cell_features
from search.latency.features import Features, arch_features
from search.latency.predictor import LatencyPredictor
from search.named import space
from search.tabular import nasbench201
from search.tabular.table import LATENCY, read_arrays, require

Array = NDArray[np.float64]

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
FBNET_FILE, CELLS_FILE = "fbnet_latency_pixel3_raspi4.npz", "nasbench201_cifar10.npz"
DEVICES = ("pixel3", "raspi4")
PENALTIES = (0.1, 1.0, 3.0, 10.0)
WITHIN = 0.1
WIDTH = 150  # columns where no terminal tells its own


@dataclass(frozen=True, slots=True)
class Data:
    """Networks of one space measured on several devices.

    Attributes:
      name: of the space.
      features: what the predictor sees.
      plain: what the ridge regression sees, [networks, numbers].
      latencies_us: by device.
      limits: networks seen -> the lowest rank correlation and share within 10 % that are expected.
    """

    name: str
    features: Features
    plain: Array
    latencies_us: dict[str, Array]
    limits: dict[int, tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Score:
    """How good the predictions of one subset are."""

    spearman: float
    within: float
    mae_us: float
    in_interval: float = float("nan")


def main() -> int:
    """Predicts, prints the table, and returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20, help="random subsets of each size")
    parser.add_argument("--data", type=Path, default=DATA, help="the folder of the two .npz files")
    arguments = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    table = Table(title=f"Latency predicted from few networks: median (worst) of {arguments.seeds} random subsets")
    for column in ("space", "device", "seen", "Spearman", "ridge", "within 10 %", "ridge", "MAE, us", "in interval"):
        table.add_column(column, justify="left" if column in ("space", "device") else "right")
    reached = True
    try:
        for data in (fbnet(arguments.data), cells(arguments.data)):
            for device in data.latencies_us:
                for seen, limits in data.limits.items():
                    console.print(f"{data.name}, {device}, {seen} seen")
                    ours, ridge = compare(data, device, seen, arguments.seeds)
                    table.add_row(*row(data.name, device, seen, ours, ridge))
                    reached &= median(ours, "spearman") >= limits[0] and median(ours, "within") >= limits[1]
    except LitesmithError as error:
        console.print(one_line(error), markup=False)
        return error.exit_code
    console.print(table)
    return 0 if reached else 1


def fbnet(folder: Path, step: int = 1) -> Data:
    """FBNet's space: 22 positions, nine operations; every `step`-th network. Raises UsageError without the file."""
    arrays = read_arrays(folder / FBNET_FILE)
    require(folder / FBNET_FILE, arrays, ("ops", *(f"lat_ms_{device}" for device in DEVICES)))
    ops = arrays["ops"][::step].astype(np.int64)
    named = space("fbnet", 224, 1000)  # whose genes and choices have the order of the file
    features = arch_features([named.decode(tuple(row)) for row in ops.tolist()])
    latencies = {device: 1000 * arrays[f"lat_ms_{device}"][::step].astype(np.float64) for device in DEVICES}
    return Data("fbnet", features, one_hot(ops), latencies, {50: (0.9, 0), 100: (0.9, 0), 250: (0.99, 0.99)})


def cells(folder: Path, step: int = 1) -> Data:
    """NAS-Bench-201's connected cells, every `step`-th of them. Raises UsageError without the file."""
    table = nasbench201.read(folder / CELLS_FILE)
    known = np.flatnonzero(~np.isnan(table.column(LATENCY + DEVICES[0])))[::step]
    ops = table.rows[known].astype(np.int64)
    latencies = {device: table.column(LATENCY + device)[known] for device in DEVICES}
    return Data("nasbench201", cell_features(ops), one_hot_pairs(ops), latencies, {300: (0.96, 0)})


def one_hot(ops: NDArray[np.int64]) -> Array:
    """Which operation is where: [networks, positions] indices -> [networks, positions * operations]."""
    return np.eye(ops.max() + 1)[ops].reshape(len(ops), -1)


def one_hot_pairs(ops: NDArray[np.int64]) -> Array:
    """`one_hot`, and the same of the operations of each two positions."""
    base = int(ops.max()) + 1
    first, second = np.triu_indices(ops.shape[1], k=1)
    pairs = np.eye(base**2)[ops[:, first] * base + ops[:, second]].reshape(len(ops), -1)
    return np.hstack([one_hot(ops), pairs])


def compare(data: Data, device: str, seen: int, seeds: int) -> tuple[list[Score], list[Score]]:
    """The scores of the predictor and of the ridge regression, one for each seed."""
    latencies = data.latencies_us[device]
    ours, plain = [], []
    for seed in range(seeds):
        order = np.random.default_rng(seed).permutation(len(latencies))
        known, others = order[:seen], order[seen:]
        ours.append(score(data.features, latencies, known, others))
        fitted = (ridge(data.plain, latencies, known, others, penalty) for penalty in PENALTIES)
        plain.append(max((_score(values, latencies[others]) for values in fitted), key=lambda found: found.spearman))
    return ours, plain


def score(features: Features, latencies: Array, known: NDArray[np.int64], others: NDArray[np.int64]) -> Score:
    """Of the predictor that has seen `known` on `others`."""
    predictor = LatencyPredictor.fit(features.rows(known), latencies[known])
    found = predictor.predict(features.rows(others))
    inside = (found.low_us <= latencies[others]) & (latencies[others] <= found.high_us)
    return _score(found.latency_us, latencies[others], float(inside.mean()))


def ridge(plain: Array, latencies: Array, known: NDArray[np.int64], others: NDArray[np.int64], penalty: float) -> Array:
    """The predictions of a ridge regression for `others`."""
    middle, mean = plain[known].mean(axis=0), latencies[known].mean()
    seen = plain[known] - middle
    dual = np.linalg.solve(seen @ seen.T + penalty * np.eye(len(known)), latencies[known] - mean)
    return np.asarray(mean + (plain[others] - middle) @ (seen.T @ dual), dtype=np.float64)


def spearman(a: Array, b: Array) -> float:
    """The correlation of the ranks; ties, of which measured latencies have hardly any, take theirs by place."""
    return float(np.corrcoef(a.argsort().argsort(), b.argsort().argsort())[0, 1])


def _score(predicted: Array, true: Array, in_interval: float = float("nan")) -> Score:
    errors = np.abs(predicted - true)
    return Score(spearman(predicted, true), float(np.mean(errors <= WITHIN * true)), float(errors.mean()), in_interval)


def median(scores: list[Score], name: str) -> float:
    """The median of one figure."""
    return statistics.median(getattr(score, name) for score in scores)


def row(name: str, device: str, seen: int, ours: list[Score], plain: list[Score]) -> tuple[str, ...]:
    """A line of the table."""

    def cell(scores: list[Score], figure: str, form: str, worst: Callable[..., float] = min) -> str:
        values = [getattr(score, figure) for score in scores]
        return f"{statistics.median(values):{form}} ({worst(values):{form}})"

    return (
        name,
        device,
        str(seen),
        cell(ours, "spearman", ".4f"),
        cell(plain, "spearman", ".4f"),
        cell(ours, "within", ".1%"),
        cell(plain, "within", ".1%"),
        cell(ours, "mae_us", ".0f", max),
        cell(ours, "in_interval", ".1%"),
    )


if __name__ == "__main__":
    sys.exit(main())

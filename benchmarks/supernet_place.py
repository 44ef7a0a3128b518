"""What the parts of benchmarks.supernet have in common: settings, data, trainings done once, latency tables."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from core.keras_env import reset

from android_bench.latency_table.build import build_table
from android_bench.latency_table.units import data_type_of
from android_bench.settings import BenchConfig
from android_bench.targets import resolve_target
from benchmarks.compression_cases import Workplace
from core.progress import Reporter
from core.spec_io import content_id
from core.workspace import AppendLog, atomic_write_json, read_json
from deploy.schemes import FULL_INTEGER
from search.arch import ArchSpec
from search.build import build
from search.cost import cost
from search.dataset import ImageData
from search.latency.reachable import distinct_blocks
from search.latency.table import BlockLatency, LatencyTable, read_latency_table, write_latency_table
from search.named import space
from search.settings import TrainConfig
from search.space import SearchSpace
from search.supernet.network import ElasticNetwork
from search.supernet.settings import SupernetConfig
from search.supernet.train import ElasticTraining
from search.train import accuracy, fit, labels_supervision

ELASTIC_SPACE, MIXED_SPACE = "ofa_small", "proxyless_small"


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is trained and compared.

    Attributes:
      proxy_images, proxy_epochs: of a network that is trained alone to be ranked.
      ranked: settings of the supernet whose networks are ranked: the same images.
      networks, training_seeds: how many networks are ranked, and with which seeds each is trained alone.
      deployed: settings of the supernet of the wall-time comparison; winners are trained on the same images.
      trial_epochs: of the search that trains each candidate.
      calibrations: networks that a latency table's overhead is fitted to; 0: nothing is measured, each block takes a
        microsecond.
      darts, proxyless: settings of the differentiable searches.
      random: networks that theirs are compared with.
      memory_steps: of an epoch in which time and memory are measured.
    """

    proxy_images: int
    proxy_epochs: int
    ranked: SupernetConfig
    networks: int
    training_seeds: tuple[int, ...]
    deployed: SupernetConfig
    trial_epochs: int
    calibrations: int
    darts: SupernetConfig
    proxyless: SupernetConfig
    random: int
    memory_steps: int


FULL = Scale(
    proxy_images=10_000,
    proxy_epochs=5,
    ranked=SupernetConfig(train_images=10_000, full_epochs=10, epochs=40, val_images=None),
    networks=24,
    training_seeds=(1, 2),
    deployed=SupernetConfig(full_epochs=4, epochs=10),
    trial_epochs=3,
    calibrations=12,
    darts=SupernetConfig(method="darts", train_images=10_000, epochs=10),
    # A candidate's weights are trained in one of seven steps, its place in the mixture in two: larger rates.
    proxyless=SupernetConfig(
        method="proxyless", train_images=10_000, epochs=100, learning_rate=6e-3, architecture_learning_rate=0.02
    ),
    random=24,
    memory_steps=30,
)
SMOKE = Scale(
    proxy_images=256,
    proxy_epochs=1,
    ranked=SupernetConfig(train_images=256, full_epochs=1, epochs=5, val_images=100, recalibration_images=64),
    networks=6,
    training_seeds=(1, 2),
    deployed=SupernetConfig(
        train_images=256,
        full_epochs=1,
        epochs=5,
        val_images=100,
        recalibration_images=64,
        predictor_networks=10,
        fine_tune_epochs=1,
    ),
    trial_epochs=1,
    calibrations=0,
    darts=SupernetConfig(method="darts", train_images=256, epochs=2, recalibration_images=64, val_images=100),
    proxyless=SupernetConfig(method="proxyless", train_images=256, epochs=2, recalibration_images=64, val_images=100),
    random=2,
    memory_steps=4,
)


@dataclass(frozen=True, slots=True)
class Alone:
    """A network trained alone: its accuracy on all validation images (0..1), and what building and training took."""

    val_accuracy: float
    seconds: float


@dataclass(frozen=True)
class Place:
    """The folder of one data set and one seed, with what is finished in it."""

    folder: Path
    scale: Scale
    data_name: str
    seed: int
    reporter: Reporter

    @cached_property
    def data(self) -> ImageData:
        """The images. Raises UsageError if they are not on this computer."""
        return Workplace(self.folder, 1.0, self.reporter).data(self.data_name)

    def space(self, name: str) -> SearchSpace:
        """A named space for the images."""
        return space(name, self.data.resolution, self.data.num_classes)

    def kept(self, name: str, make: Callable[[], Any]) -> Any:
        """A JSON value that was made before, else a new one."""
        path = self.folder / f"{name}.json"
        if not path.exists():
            atomic_write_json(path, make())
        return read_json(path)

    def alone(self, arch: ArchSpec, seed: int, epochs: int) -> Alone:
        """A network trained on the proxy task, once."""
        log = AppendLog(self.folder / "alone.jsonl")
        key = [content_id(arch), seed, epochs]
        for record in log.read():
            if record["key"] == key:
                return Alone(record["val_accuracy"], record["seconds"])
        began = time.perf_counter()
        reset(seed)
        model = build(arch)
        fit(
            model,
            self.data.train.first(self.scale.proxy_images),
            TrainConfig(epochs=epochs),
            labels_supervision(self.data.num_classes),
            seed=seed,
            augment=self.data.augment,
            reporter=self.reporter,
            label=f"  training {key[0]} alone",
        )
        seconds = time.perf_counter() - began
        found = Alone(accuracy(model, self.data.val), seconds)
        log.append({"key": key, "val_accuracy": found.val_accuracy, "seconds": seconds})
        return found

    def supernet(self, name: str, config: SupernetConfig) -> tuple[ElasticNetwork, float]:
        """An elastic supernet trained by `config`, once, and the seconds that it took, interruptions apart."""
        network = ElasticNetwork(self.space(ELASTIC_SPACE), self.seed)
        training = ElasticTraining(network, self.data, config, seed=self.seed)
        checkpoint, log = self.folder / f"{name}.npz", AppendLog(self.folder / f"{name}.jsonl")
        if checkpoint.exists():
            training.restore(checkpoint)
        with self.reporter.task(f"supernet {name}", training.steps_left) as task:
            while training.steps_left:
                began, epoch = time.perf_counter(), training.epoch
                training.run_epoch(task)
                log.append({"epoch": epoch, "seconds": time.perf_counter() - began, "traces": training.traces})
                training.save(checkpoint)
        seconds = {record["epoch"]: record["seconds"] for record in log.read()}  # the last of a repeated epoch
        return network, sum(seconds.values())

    def training_traces(self, name: str) -> int:
        """How often the functions of a supernet's training were traced, at most, in one process."""
        return max(int(record["traces"]) for record in AppendLog(self.folder / f"{name}.jsonl").read())

    def table(self, name: str) -> LatencyTable:
        """The latency table of a space on this computer: full-integer, one thread."""
        path = self.folder / f"table_{name}.json"
        if not path.exists():
            table = self._measured(name) if self.scale.calibrations else _unmeasured(self.space(name))
            write_latency_table(path, table)
        return read_latency_table(path)

    def _measured(self, name: str) -> LatencyTable:
        config = BenchConfig()
        return build_table(
            self.space(name),
            FULL_INTEGER,
            resolve_target("host", config),
            config,
            self.folder / f"table_{name}.work",
            reporter=self.reporter,
            seed=self.seed,
            whole_networks=self.scale.calibrations,
        )


def _unmeasured(searched: SearchSpace) -> LatencyTable:
    data_type = data_type_of(FULL_INTEGER)
    blocks = (BlockLatency(key.text, 1.0, 1.0, 1.0, 0) for key in distinct_blocks(searched, data_type))
    return LatencyTable(searched.name, data_type, {"verdict": "not measured"}, "", "", tuple(blocks))


def macs(arch: ArchSpec) -> float:
    """Multiply-accumulates of one image."""
    return float(cost(arch).macs)


def percent(value: float) -> str:
    """A share as per cent."""
    return f"{100 * value:.2f}"


def standard_error(value: float, count: int) -> float:
    """Of an accuracy (0..1) on `count` images."""
    return math.sqrt(value * (1 - value) / count)

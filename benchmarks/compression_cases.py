"""The cases of benchmarks.compression: networks, recipes, and what they are compared with."""

from __future__ import annotations

import dataclasses
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from core.keras_env import keras, reset

import numpy as np

from android_bench.protocol import search_latency_us
from android_bench.settings import BenchConfig
from benchmarks.compression_plain import plain_pcqat, plain_qat
from compress.distill import distillation_supervision
from compress.distill_config import DistillConfig
from compress.finetune import FineTune
from compress.invariants import Invariants
from compress.model_cost import ModelCost, model_cost
from compress.recipe import CompressConfig, parse_recipe
from compress.run import apply_pass
from compress.settings import is_sparse_step
from compress.storage import load_model, save_model
from core.errors import UsageError
from core.progress import Reporter
from core.spec_io import from_plain
from core.workspace import atomic_write_bytes, atomic_write_json, committed_directory, read_json
from deploy.calibration import representative_images
from deploy.conversion import convert_any
from deploy.convert import convert
from deploy.interpreter import accuracy
from deploy.release import zipped_bytes
from deploy.schemes import FLOAT32, FULL_INTEGER, MIXED
from deploy.validate import validate
from pipeline.data import DataConfig, load, prepare
from search.build import build
from search.dataset import ImageData
from search.named import network
from search.settings import TrainConfig
from search.train import fit, labels_supervision

SHARED = Path(__file__).resolve().parents[2] / "shared"
SEED = 1
LATENCY_ROUNDS = 5
IMPORTANCES = ("l1", "random")
STRUCTURED_EPOCHS = 3  # after each of two rounds
LATENCY_PIXELS = 112  # on which networks for 28 or 32 pixels take more than a millisecond
LATENCY = BenchConfig(processes=1)


@dataclass(frozen=True, slots=True)
class Row:
    """One compressed network. Accuracies (0..1) are of the .tflite on the test images, None without a training;
    `float_*` are its parent's."""

    case: str
    how: str
    params: int
    macs: int
    float_accuracy: float | None
    accuracy: float | None
    size_bytes: int
    zipped_bytes: int
    float_size_bytes: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class Parent:
    """A network that is trained here: its name and width in search.networks, its images, its training."""

    network: str
    width_multiplier: float
    data: str
    epochs: int
    learning_rate: float = 3e-3


PARENTS = {
    "resnet8": Parent("resnet8", 1.0, "cifar10_jpeg", 20),
    "mobilenet_250k": Parent("mobilenet_v2_small", 1.5, "fashion_mnist", 10),
    "resnet8_wide": Parent("resnet8", 2.0, "cifar10_jpeg", 8),
    "mobilenet_v3": Parent("mobilenet_v3_small", 0.5, "fashion_mnist", 8),
}


@dataclass(frozen=True)
class Workplace:
    """The --out folder, with what is finished in it; `factor` multiplies all epochs."""

    folder: Path
    factor: float
    reporter: Reporter

    def epochs(self, epochs: int) -> int:
        """That many epochs times the factor, at least one."""
        return max(1, round(epochs * self.factor))

    def data(self, name: str) -> ImageData:
        """A prepared data set. Raises UsageError if it is not on this computer."""
        folder = self.folder / f"data-{name}"
        if not folder.exists():
            with committed_directory(folder) as out:
                prepare(DataConfig(name=self._source(name)), SEED, out, self.reporter)
        return load(folder)

    def _source(self, name: str) -> str:
        if name != "cifar10_jpeg":
            return name
        tool, tree = SHARED / "tools" / "unpack_cifar10.py", self.folder / "cifar10_jpeg"
        if not tool.exists():
            raise UsageError(f"{tool}: not there; the case needs CIFAR-10-JPEG of ../shared")
        if not tree.exists():
            with committed_directory(tree) as out:
                subprocess.run([sys.executable, str(tool), str(out)], check=True, stdout=subprocess.DEVNULL)
        return f"directory:{tree}"

    def parent(self, name: str) -> keras.Model:
        """A trained float network."""
        folder, parent = self.folder / f"parent-{name}", PARENTS[name]
        if not folder.exists():
            data = self.data(parent.data)
            reset(SEED)
            arch = network(parent.network, data.resolution, data.num_classes, parent.width_multiplier)
            model = build(arch)
            fit(
                model,
                data.train,
                TrainConfig(epochs=self.epochs(parent.epochs), learning_rate=parent.learning_rate),
                labels_supervision(data.num_classes),
                seed=SEED,
                augment=data.augment,
                checkpoint=self.folder / f"parent-{name}.npz",
                reporter=self.reporter,
                label=f"training {name}",
            )
            with committed_directory(folder) as out:
                save_model(model, out)
        return load_model(folder)

    def fine_tune(
        self, data: ImageData, config: TrainConfig, checkpoint: str, teacher: keras.Model | None = None
    ) -> FineTune:
        """The fine-tuning of one pass, by the labels or by a teacher too."""
        classes, distill = data.num_classes, DistillConfig()
        return FineTune(
            train=data.train,
            supervision=labels_supervision(classes)
            if teacher is None
            else distillation_supervision(teacher, classes, distill.temperature, distill.alpha),
            config=config,
            augment=data.augment,
            seed=SEED,
            checkpoint=self.folder / f"{checkpoint}.npz",
            reporter=self.reporter,
        )


@dataclass(frozen=True)
class Compressed:
    """A .tflite, the network that it was made from, and what that promised."""

    content: bytes
    model: keras.Model
    cost: ModelCost
    promised: Invariants
    scheme: str


def compressed(place: Workplace, parent: str, text: str, *, teaches: bool = False, **settings: Any) -> Compressed:
    """What a recipe makes of a parent, which may teach what it becomes."""
    data, model = place.data(PARENTS[parent].data), place.parent(parent)
    config = CompressConfig(recipes=(), **settings)
    recipe, training = parse_recipe(text, config), config.train_config()
    training = dataclasses.replace(training, epochs=place.epochs(training.epochs))
    promised, cost, done = Invariants(), model_cost(model), f"{parent}-taught" if teaches else parent
    teacher = place.parent(parent) if teaches else None
    for spec in recipe.passes:
        done = f"{done}-{spec.label}-{getattr(spec.settings, 'importance', '')}"
        result = apply_pass(spec, model, promised, place.fine_tune(data, training, done, teacher), data.val)
        model, promised, cost = result.model, result.invariants, result.cost
    calibration = representative_images(data.train)
    sparse = any(is_sparse_step(spec.label) for spec in recipe.passes)
    val, max_loss = data.val.first(1000), config.mixed_max_loss
    content = convert_any(model, recipe.scheme, calibration, val, max_loss, sparse=sparse).content
    return Compressed(content, model, cost, promised, recipe.scheme)


def row(
    place: Workplace,
    case: str,
    how: str,
    parent: str,
    found: Compressed,
    note: str = "",
    before: keras.Model | None = None,
) -> Row:
    """The figures of a compressed network beside those of `before`, by default its parent; its promises are checked on
    the file's bytes."""
    data = place.data(PARENTS[parent].data)
    float_file = convert(before or place.parent(parent), FLOAT32).content
    path = place.folder / f"{case}-{how}.tflite".replace(" ", "_")
    atomic_write_bytes(path, found.content)
    checked = validate(path, found.model, data.test, found.scheme, found.promised)
    problems = "; ".join(checked.problems)
    note = "; ".join(text for text in (note, f"sparsity {100 * checked.sparsity:.0f} %", problems) if text)
    return Row(
        case=case,
        how=how,
        params=found.cost.params,
        macs=found.cost.macs,
        float_accuracy=accuracy(float_file, data.test),
        accuracy=checked.tflite_accuracy,
        size_bytes=len(found.content),
        zipped_bytes=zipped_bytes(found.content),
        float_size_bytes=len(float_file),
        note=note,
    )


def kept(place: Workplace, case: str, how: str, make: Callable[[], Row]) -> Row:
    """A row that was finished before, else a new one."""
    path = place.folder / "rows" / f"{case}-{how}.json".replace(" ", "_")
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        atomic_write_json(path, make())
    return from_plain(Row, read_json(path), str(path))


def latency_ratio(place: Workplace, before: keras.Model, after: keras.Model) -> str:
    """Medians of both in float32 on images of LATENCY_PIXELS, measured in turn, and the median of the rounds' ratios.

    The networks are convolutional up to their global pooling: with larger images they are the same, and long enough to
    be measured.
    """
    paths = [place.folder / f"latency-{name}.tflite" for name in ("before", "after")]
    for path, model in zip(paths, (before, after), strict=True):
        atomic_write_bytes(path, convert(enlarged(model, LATENCY_PIXELS), FLOAT32).content)
    rounds = [[search_latency_us(path, LATENCY) for path in paths] for _ in range(LATENCY_ROUNDS)]
    ratio = statistics.median(new / old for old, new in rounds)
    medians = [statistics.median(column) / 1000 for column in zip(*rounds, strict=True)]
    pixels = f"{LATENCY_PIXELS}x{LATENCY_PIXELS}"
    return f"host {ratio:.2f}x ({medians[0]:.2f} -> {medians[1]:.2f} ms in float32 on {pixels} pixels, 1 thread)"


def enlarged(model: keras.Model, pixels: int) -> keras.Model:
    """The same network with the same weights for images of another size."""
    config = model.get_config()
    for layer in config["layers"]:
        if layer["class_name"] == "InputLayer":
            layer["config"]["batch_input_shape"] = (None, pixels, pixels, 3)
    result = keras.Model.from_config(config)
    result.set_weights(model.get_weights())
    return result


def pcqat(place: Workplace, case: str, parent: str, sparsity: float, epochs: int) -> tuple[Row, ...]:
    """Prune, cluster, quantization-aware training: ours with depthwise kernels and taught by the float network, and
    tfmot's as its guides show it."""
    clusters = 16
    settings: dict[str, Any] = {"final_sparsity": sparsity, "number_of_clusters": clusters, "epochs": epochs}

    def ours() -> Row:
        depthwise = {"prune_depthwise": True, "cluster_depthwise": True}
        found = compressed(place, parent, "pcqat", teaches=True, prune_scope="global", **depthwise, **settings)
        return row(place, case, f"litesmith pcqat, {epochs} epochs a pass", parent, found)

    def theirs() -> Row:
        data, model = place.data(PARENTS[parent].data), place.parent(parent)
        options: dict[str, Any] = {"sparsity": sparsity, "clusters": clusters, "epochs": place.epochs(epochs)}
        plain = plain_pcqat(model, data, reporter=place.reporter, **options)
        found = Compressed(*plain, model_cost(model), Invariants(), FULL_INTEGER)
        return row(place, case, f"tfmot pcqat, {epochs} epochs a pass", parent, found)

    return kept(place, case, "ours", ours), kept(place, case, "plain", theirs)


def structured(place: Workplace, case: str, parent: str) -> tuple[Row, ...]:
    """Half of the multiply-accumulates, by importance and at random, as float32: the gain that is the network's."""

    def made(importance: str) -> Row:
        settings: dict[str, Any] = {
            "structured_importance": importance,
            "structured_rounds": 2,
            "channel_multiple": 16,  # of the kernels of AVX-512, which this computer has
            "epochs": STRUCTURED_EPOCHS,
        }
        found = compressed(place, parent, "structured:0.5", **settings)
        note = "" if importance == "random" else latency_ratio(place, place.parent(parent), found.model)
        return row(place, case, f"structured:0.5, {importance}", parent, found, note)

    return tuple(kept(place, case, importance, partial(made, importance)) for importance in IMPORTANCES)


def importance(place: Workplace, case: str, parent: str) -> tuple[Row, ...]:
    """What each importance chooses at equal MACs, before fine-tuning has mended what a bad choice costs: one epoch."""

    def made(name: str) -> Row:
        found = compressed(place, parent, "structured:0.5", structured_importance=name, structured_rounds=1, epochs=1)
        return row(place, case, f"structured:0.5, {name}, one epoch", parent, found)

    return tuple(kept(place, case, name, partial(made, name)) for name in ("l1", "taylor", "bn_gamma", "random"))


def endings(place: Workplace, case: str, parent: str) -> tuple[Row, ...]:
    """One network, every scheme and every pass."""

    def made(text: str, **settings: Any) -> Row:
        return row(place, case, text, parent, compressed(place, parent, text, epochs=2, **settings))

    texts = ("ptq", "qat", "dynamic_range", "float16", "int8_weights", "int4_weights", "prune:2:4+qat", "share+ptq")
    rows = [kept(place, case, text, partial(made, text)) for text in texts]
    low_rank = "low_rank:0.6+ptq"
    return (*rows, kept(place, case, low_rank, partial(made, low_rank, low_rank_by="params")))


def qat_v3(place: Workplace, case: str, parent: str) -> tuple[Row, ...]:
    """Squeeze-excite and hard-swish in integers; tfmot's own registry refuses the network."""

    def made(text: str) -> Row:
        return row(place, case, text, parent, compressed(place, parent, text, epochs=3))

    ours = [kept(place, case, text, partial(made, text)) for text in ("qat", "ptq")]
    data = place.data(PARENTS[parent].data)
    refused = plain_qat(place.parent(parent), data, epochs=1, reporter=place.reporter)
    note = refused if isinstance(refused, str) else "tfmot takes it"
    return (dataclasses.replace(ours[0], note=f"{ours[0].note}; tfmot alone: {note}"), ours[1])


def mixed(place: Workplace, case: str, parent: str) -> tuple[Row, ...]:
    """A network whose channels have very different ranges: one of eight channels of each expansion is scaled up by 64
    and its consumers down, which changes nothing in float32. Integers cannot hold both."""
    from benchmarks.compression_plain import unbalanced

    model, data = place.parent(parent), place.data(PARENTS[parent].data)
    hard = unbalanced(model)
    calibration, cost = representative_images(data.train), model_cost(model)
    rows = []
    for how, scheme in (("ptq", FULL_INTEGER), ("mixed", MIXED)):
        content = convert_any(hard, scheme, calibration, data.val.first(1000), 0.003).content
        found = Compressed(content, hard, cost, Invariants(), scheme)
        rows.append(row(place, case, how, parent, found, "channels of unequal ranges", hard))
    return tuple(rows)


def large(place: Workplace, case: str) -> tuple[Row, ...]:
    """VGG-16 and MobileNetV2 of ImageNet with random weights: bytes alone, no accuracy."""
    rows = []
    for name, sparsity, scheme in (("vgg16", 0.9, FULL_INTEGER), ("mobilenet_v2", 0.0, FULL_INTEGER)):
        reset(SEED)
        model = build(network(name, 224, 1000))
        cost, before = model_cost(model), convert(model, FLOAT32).content
        if sparsity:
            _prune_at_once(model, sparsity)
        images = np.random.default_rng(SEED).random((2, 224, 224, 3), np.float32)
        images[0, 0, 0], images[-1, -1, -1] = 0, 1
        content = convert(model, scheme, images).content
        how = f"{name}, {100 * sparsity:.0f} % zeros, {scheme}"
        sizes = (len(content), zipped_bytes(content), len(before))
        rows.append(Row(case, how, cost.params, cost.macs, None, None, *sizes, "random weights"))
    return tuple(rows)


def _prune_at_once(model: keras.Model, sparsity: float) -> None:
    for layer in model.layers:
        if isinstance(layer, (keras.layers.Conv2D, keras.layers.Dense)):
            kernel = layer.kernel.numpy()
            layer.kernel.assign(np.where(np.abs(kernel) < np.quantile(np.abs(kernel), sparsity), 0, kernel))


CASES: dict[str, Callable[[Workplace], tuple[Row, ...]]] = {
    "large": lambda place: large(place, "large"),
    "pcqat_mobilenet": lambda place: pcqat(place, "pcqat_mobilenet", "mobilenet_250k", 0.82, epochs=2),
    "endings": lambda place: endings(place, "endings", "mobilenet_250k"),
    "mixed": lambda place: mixed(place, "mixed", "mobilenet_250k"),
    "structured_fashion": lambda place: structured(place, "structured_fashion", "mobilenet_250k"),
    "importance_fashion": lambda place: importance(place, "importance_fashion", "mobilenet_250k"),
    "importance_cifar": lambda place: importance(place, "importance_cifar", "resnet8"),
    "qat_v3": lambda place: qat_v3(place, "qat_v3", "mobilenet_v3"),
    "pcqat_resnet8": lambda place: pcqat(place, "pcqat_resnet8", "resnet8", 0.735, epochs=5),
    "structured_cifar": lambda place: structured(place, "structured_cifar", "resnet8_wide"),
}

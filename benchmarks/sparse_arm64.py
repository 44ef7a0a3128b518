"""Shows that networks pruned for XNNPACK run sparse as arm64 programs, and how much smaller their files are.

    python -m benchmarks.sparse_arm64 [--data=mnist_5k] [--epochs=3] [--sparsity=0.85] [--runtime=FOLDER]

About 4 minutes, of which the first run takes one to fetch the emulated arm64 Python (60 MB; needs the Debian package
qemu-user-static). A MobileNetV2-style network of the form "xnnpack" is trained, pruned by tfmot's
PruneForLatencyOnXNNPack and converted dense and sparse. Expected: sparse kernels in each file, files of less than half
the size in floating point, and the scores of the dense file, here and as arm64. The exit code is 1 otherwise.

No latency is printed. x86 processors with AVX have no sparse kernels in XNNPACK: here the runtime widens the kernels
when it loads them. Emulated times say nothing of a phone either; for them measure on an arm64 target.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from core.keras_env import keras, reset

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from benchmarks.arm64 import RUNTIME, Arm64Runtime, arm64_runtime
from compress.finetune import FineTune
from compress.invariants import Invariants
from compress.run import apply_pass
from compress.settings import PassSpec, PruneSettings
from core.errors import EXIT_DONE, EXIT_FAILED, LitesmithError
from core.progress import SilentReporter
from deploy.calibration import representative_images
from deploy.convert import convert
from deploy.interpreter import predict
from deploy.sparse import SPARSE_SCHEMES, Encoding, sparse_or_dense
from pipeline.data import DataConfig, load, prepare
from search.build import build
from search.dataset import ImageData
from search.grammar import from_text
from search.settings import TrainConfig
from search.train import accuracy, fit, labels_supervision

NETWORK = (
    "input_r{resolution}_n{classes}_w1_xnnpack stem_s2_c16 ir_r1_k3_s1_e1_c16 ir_r2_k3_s1_e4_c24 ir_r2_k5_s2_e4_c40 "
    "ir_r2_k3_s2_e4_c64 head_c160"
)
SEED = 1
IMAGES = 50  # scored as arm64
# Sums in another order differ by a few float32 roundings of probabilities up to 1; 2e-8 was seen.
TOLERANCE = 1e-5


@dataclass(frozen=True, slots=True)
class Row:
    """One scheme: the two files, and the largest difference between their probabilities, here and as arm64."""

    scheme: str
    encoding: Encoding
    difference_here: float
    difference_arm64: float

    @property
    def is_good(self) -> bool:
        """Whether sparse kernels are in the smaller file, and both files say the same everywhere."""
        return self.encoding.is_sparse and max(self.difference_here, self.difference_arm64) <= TOLERANCE


def pruned_network(data: ImageData, epochs: int, sparsity: float) -> tuple[keras.Model, float, float]:
    """The pruned network and the accuracies on the validation images before and after."""
    reset(SEED)
    model = build(from_text(NETWORK.format(resolution=data.resolution, classes=data.num_classes)))
    supervision = labels_supervision(data.num_classes)
    fit(model, data.train, TrainConfig(epochs, 64, 3e-3), supervision, seed=SEED, augment=data.augment)
    fine_tune = FineTune(data.train, supervision, TrainConfig(epochs, 64, 2e-3, 0.0), data.augment, SEED)
    spec = PassSpec("prune", PruneSettings(0.0, sparsity, policy="xnnpack"))
    result = apply_pass(spec, model, Invariants(), fine_tune, data.val)
    return result.model, accuracy(model, data.val), result.val_accuracy


def compare(model: keras.Model, data: ImageData, runtime: Arm64Runtime) -> list[Row]:
    """Both files of each scheme on the same images."""
    calibration = representative_images(data.train)
    images = data.test.rgb(slice(0, IMAGES))
    rows = []
    for scheme in SPARSE_SCHEMES:
        dense = convert(model, scheme, calibration).content
        encoding = sparse_or_dense(model, scheme, calibration, dense)
        here = [predict(content, images) for content in (dense, encoding.content)]
        arm64 = runtime.scores((dense, encoding.content), images)
        rows.append(Row(scheme, encoding, _difference(*here), _difference(*arm64)))
    return rows


def _difference(dense: npt.NDArray[np.generic], sparse: npt.NDArray[np.generic]) -> float:
    """The largest difference of two models' scores; uint8 ones are multiples of 1/256."""
    scale = 1 / 256 if dense.dtype == np.uint8 else 1.0
    return float(np.abs(dense.astype(np.float64) - sparse.astype(np.float64)).max() * scale)


def _show(rows: list[Row]) -> None:
    table = Table("scheme", "sparse kernels", title="dense and sparse files")
    for title in ("dense bytes", "sparse bytes", "dense zipped", "sparse zipped", "difference here", "as arm64"):
        table.add_column(title, justify="right")
    for row in rows:
        found = row.encoding
        sizes = (found.dense_bytes, found.sparse_bytes, found.dense_zipped_bytes, found.sparse_zipped_bytes)
        differences = (f"{value:.1e}" for value in (row.difference_here, row.difference_arm64))
        table.add_row(row.scheme, str(len(found.tensors)), *(f"{size:,}" for size in sizes), *differences)
    console = Console()
    console.print(table)
    console.print("No latency: x86 with AVX has no sparse kernels, and emulated times say nothing of a phone.")


def main() -> int:
    """Exit code 1 if a file has no sparse kernels, is not smaller, or says something else than the dense one."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--data", default="mnist_5k", help="mnist_5k, fashion_mnist, cifar10, npz:PATH or directory:PATH"
    )
    parser.add_argument("--epochs", type=int, default=3, help="of the training, and of the pruning")
    parser.add_argument("--sparsity", type=float, default=0.85)
    parser.add_argument("--runtime", type=Path, default=RUNTIME, help="folder of the emulated arm64 Python")
    arguments = parser.parse_args()
    try:
        runtime = arm64_runtime(arguments.runtime)
        with tempfile.TemporaryDirectory() as name:
            prepare(DataConfig(name=arguments.data), SEED, Path(name), SilentReporter())
            data = load(Path(name))
            model, before, after = pruned_network(data, arguments.epochs, arguments.sparsity)
            print(
                f"{arguments.data}: validation accuracy {100 * before:.1f} % before, {100 * after:.1f} % after pruning"
            )
            rows = compare(model, data, runtime)
    except LitesmithError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    _show(rows)
    return EXIT_DONE if all(row.is_good for row in rows) else EXIT_FAILED


if __name__ == "__main__":
    sys.exit(main())

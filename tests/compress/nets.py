"""A small network of every kind of layer that our spaces have, images it can learn, and damaged passes."""

from __future__ import annotations

from core.keras_env import keras, reset

import numpy as np

from compress.finetune import FineTune
from compress.invariants import Invariants, kernel_variable
from compress.passes.contract import compressible
from compress.recipe import CompressConfig, parse_recipe
from compress.settings import PassSpec
from search.arch import ArchSpec, BlockSpec, StageSpec
from search.build import build
from search.dataset import ImageSet
from search.train import labels_supervision

NUM_CLASSES = 4
RESOLUTION = 12
CLUSTERS = 8
RECIPES = ("structured:0.7", "low_rank:0.7", "share", f"prune+cluster:{CLUSTERS}+qat")
SPECS: dict[str, PassSpec] = {
    spec.name: spec for text in RECIPES for spec in parse_recipe(text, CompressConfig(low_rank_by="params")).passes
}
CHANGING = ("structured_prune", "low_rank", "share")  # the network itself
CHAIN = {name: spec for name, spec in SPECS.items() if name not in CHANGING}


def small_network() -> keras.Model:
    """Stem, inverted residual with skip and squeeze-excite, head: about 3,000 weights."""
    return _network(8, BlockSpec(expand_ratio=2, out_channels=8, se_ratio=0.5), 1)


def network_to_change() -> keras.Model:
    """Wide enough to lose channels and ranks, with equal blocks to share: about 7,000 weights."""
    return _network(16, BlockSpec(expand_ratio=2, out_channels=16, se_ratio=0.5), 3)


def _network(channels: int, block: BlockSpec, depth: int) -> keras.Model:
    reset(7)
    return build(ArchSpec(channels, (StageSpec((block,) * depth, depth),), 32, 1.0, RESOLUTION, NUM_CLASSES))


def blob_images(count: int) -> ImageSet:
    """Noise with one bright quadrant, which is the class; black and white pixels occur."""
    rng = np.random.default_rng(3)
    labels = rng.integers(0, NUM_CLASSES, count)
    images = rng.integers(0, 120, (count, RESOLUTION, RESOLUTION, 1))
    for image, label in zip(images, labels, strict=True):
        half = RESOLUTION // 2
        row, column = divmod(int(label), 2)
        image[row * half : (row + 1) * half, column * half : (column + 1) * half] += 135
    images[0, 0, 0], images[0, 0, 1] = 0, 255
    return ImageSet(images.astype(np.uint8), labels.astype(np.int32), np.arange(count))


def fine_tune(train: ImageSet, epochs: int = 2, batch_size: int = 32, **changes: object) -> FineTune:
    """Fine-tuning on labels."""
    config = CompressConfig(epochs=epochs, batch_size=batch_size, learning_rate=1e-3).train_config()
    return FineTune(train, labels_supervision(NUM_CLASSES), config, "shift", seed=5, **changes)


def prepared(model: keras.Model, passes: tuple[str, ...]) -> Invariants:
    """Gives `model` by hand what the passes before would leave in it: half of the weights zero, few values."""
    sparsity, clusters = [], []
    for layer in compressible(model, ()):
        kernel = kernel_variable(layer)
        values = kernel.numpy()
        if "prune" in passes:
            values = np.where(np.abs(values) < np.median(np.abs(values)), 0.0, values)
            sparsity.append((layer.name, float(np.mean(values == 0.0))))
        if "cluster" in passes:
            edges = np.quantile(values[values != 0.0], np.linspace(0.0, 1.0, CLUSTERS)[1:-1])
            values = np.where(values == 0.0, 0.0, np.append(edges, edges[-1] * 2)[np.digitize(values, edges)])
            clusters.append((layer.name, CLUSTERS))
        kernel.assign(values)
    return Invariants(tuple(sparsity), tuple(clusters))


class ZeroingPass:
    """A broken pass: it empties the head convolution."""

    def __init__(self, settings: object) -> None:
        pass

    def wrap(self, model: keras.Model, earlier: Invariants, fine_tune: FineTune) -> keras.Model:
        return model

    def callbacks(self) -> tuple[keras.callbacks.Callback, ...]:
        return ()

    def strip(self, wrapped: keras.Model) -> keras.Model:
        kernel = kernel_variable(wrapped.get_layer("head_conv"))
        kernel.assign(np.zeros(kernel.shape))
        return wrapped

    def promises(self) -> Invariants:
        return Invariants()

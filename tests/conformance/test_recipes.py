"""Every legal order of passes, on one network: what each pass promised holds to the end, and the .tflite is valid.

The orders form a tree, whose nodes are made once. Trainings are a few eager steps: tracing would take most of the time.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from pathlib import Path

from core.keras_env import keras, reset, tf

import numpy as np
import pytest

from compress.invariants import Invariants
from compress.passes import PASSES
from compress.recipe import CONTRADICTIONS, RANKS, SCHEMES, CompressConfig, parse_recipe
from compress.run import apply_pass
from core.registry import load
from deploy.calibration import representative_images
from deploy.convert import convert
from deploy.schemes import FULL_INTEGER
from deploy.validate import validate
from search.arch import ArchSpec, BlockSpec, StageSpec
from search.build import build
from search.dataset import ImageSet
from search.grammar import from_text, to_text
from tests.compress.nets import NUM_CLASSES, RESOLUTION, blob_images, fine_tune

# With the numbers that suit a network of 5,000 weights; `prune` is there twice, for single weights and for patterns.
WORDS = {
    "structured": ("structured:0.7",),
    "low_rank": ("low_rank:0.8",),
    "share": ("share",),
    "prune": ("prune:0.5", "prune:2:4"),
    "sparse": ("sparse:0.7",),
    "cluster": ("cluster:8",),
    "qat": ("qat",),
}
CONFIG = CompressConfig(recipes=(), epochs=1, batch_size=32, learning_rate=1e-3)
ARCH = ArchSpec(
    16,
    (
        StageSpec((BlockSpec(expand_ratio=2, out_channels=16),) * 3, 3),
        StageSpec((BlockSpec(stride=2, expand_ratio=2, out_channels=24),), 1),
    ),
    32,
    1.0,
    RESOLUTION,
    NUM_CLASSES,
    form="xnnpack",
)


def orders() -> Iterator[str]:
    """Every legal sequence of passes, the short ones first."""

    def extended(chain: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        yield chain
        for word, items in WORDS.items():
            before = [item.partition(":")[0] for item in chain]
            if all(RANKS[word] > RANKS[item] and (item, word) not in CONTRADICTIONS for item in before):
                for item in items:
                    yield from extended((*chain, item))

    return iter(sorted(("+".join(chain) for chain in extended(()) if chain), key=lambda text: (text.count("+"), text)))


def pairwise(texts: list[str]) -> list[str]:
    """The shortest orders in which every pass, and every pair of passes in a row, occurs."""
    seen: set[tuple[str, ...]] = set()
    chosen = []
    for text in sorted(texts, key=lambda item: -item.count("+")):
        words = text.split("+")
        new = {*itertools.pairwise(words), *((word,) for word in words)} - seen
        if new:
            seen |= new
            chosen.append(text)
    return chosen


ALL = list(orders())
FAST = pairwise(ALL)


@functools.cache
def images() -> ImageSet:
    return blob_images(64)


@functools.cache
def made(text: str) -> tuple[keras.Model, Invariants, str]:
    """The network after the passes of a recipe, what they promised, and its text in the grammar."""
    if not text:
        reset(7)
        return build(ARCH), Invariants(), to_text(ARCH)
    before, _, word = text.rpartition("+")
    model, promised, arch = made(before)
    (spec,) = parse_recipe(word, CONFIG).passes
    tf.config.run_functions_eagerly(True)
    try:
        result = apply_pass(spec, model, promised, fine_tune(images(), epochs=1), images(), arch)
    finally:
        tf.config.run_functions_eagerly(False)
    return result.model, result.invariants, result.arch


def assert_order_holds(text: str, folder: Path) -> None:
    model, promised, arch = made(text)
    if arch and not text.endswith("qat"):
        assert build(from_text(arch)).count_params() == model.count_params(), "the text is another network's"
    scheme = FULL_INTEGER if "sparse" not in text else "float16"
    content = convert(model, scheme, representative_images(images())).content
    path = folder / "model.tflite"
    path.write_bytes(content)
    found = validate(path, model, images(), scheme, promised)
    assert not found.problems
    assert np.isfinite(found.mean_abs_error)


def test_the_words_are_all_there_are() -> None:
    assert set(WORDS) == (set(RANKS) - set(SCHEMES)) | {"qat"}
    assert {spec.name for text in ALL for spec in parse_recipe(text, CONFIG).passes} == set(PASSES)
    for name in PASSES:
        load(PASSES, name, "pass")


@pytest.mark.parametrize("text", FAST)
def test_passes_in_a_row(text: str, tmp_path: Path) -> None:
    assert_order_holds(text, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("text", [text for text in ALL if text not in FAST])
def test_every_legal_order(text: str, tmp_path: Path) -> None:
    assert_order_holds(text, tmp_path)

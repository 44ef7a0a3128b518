"""Small spaces that have every kind of choice a supernet can share, and images and weights to try them with."""

from __future__ import annotations

import dataclasses
import random

import numpy as np

from core.registry import load
from search.arch import ArchSpec, BlockSpec, StageSpec
from search.choice import OneOf
from search.dataset import ImageSet
from search.sampling import random_genotype
from search.space import SearchSpace
from search.spaces import SPACES
from search.supernet.network import ElasticNetwork

CLASSES = 3
SHARED_SPACES = (
    "mobilenet_v2_small",
    "mobilenet_v2_small_se",
    "mobilenet_v2_small_xnnpack",
    "mobilenet_v2",
    "mobilenet_v3",
    "ofa_mbv3",
    "ofa_small",
    "proxyless",
    "proxyless_small",
    "mnasnet",
)
UNSHARED_SPACES = ("fbnet", "mixed_small", "nasbench201", "nasbench_macro", "shufflenet_v2")


def named_space(name: str, side: int = 32) -> SearchSpace:
    """A space of the project."""
    return load(SPACES, name, "test")(side, CLASSES)


def rich_space(**fields: object) -> SearchSpace:
    """Elastic kernels, widths, depth and resolution; squeeze-excites, skips, activations, operators, identities."""
    first = BlockSpec(
        "ir",
        OneOf((3, 5, 7), "kernel"),
        expand_ratio=OneOf((1, 2), "expand"),
        out_channels=OneOf((8, 16), "out"),
        se_ratio=OneOf((0.0, 0.25), "se"),
        activation=OneOf(("relu6", "hswish", "swish"), "act"),
        skip=OneOf((True, False), "skip"),
    )
    options = (
        BlockSpec("ir3", 3, expand_ratio=2, out_channels=16, activation="relu"),
        BlockSpec("ir3", 7, expand_ratio=1, out_channels=16, se_ratio=0.5, activation="relu"),
        BlockSpec("ir3", 5, hidden_channels=40, out_channels=16, se_channels=4, activation="relu"),
        BlockSpec("fused", 3, expand_ratio=1, out_channels=16, activation="relu"),
        BlockSpec("fused", 5, expand_ratio=3, out_channels=16, se_ratio=0.25, activation="relu"),
    )
    strided = OneOf(tuple(dataclasses.replace(option, stride=2) for option in options))
    other = OneOf((*options, BlockSpec("id", out_channels=16)))
    stages = (StageSpec((first, first), OneOf((1, 2))), StageSpec((strided, other, other), 3))
    template = ArchSpec(OneOf((8, 12)), stages, OneOf((16, 24)), 1.0, OneOf((12, 16)), CLASSES)
    template = dataclasses.replace(template, head_units=(OneOf((8, 12)),))
    return SearchSpace("rich", dataclasses.replace(template, **fields))


def xnnpack_space() -> SearchSpace:
    """XNNPACK's form, with normalized hidden layers and a width multiplier."""
    first = BlockSpec("ir", OneOf((3, 5), "kernel"), expand_ratio=OneOf((2, 3)), out_channels=16)
    stages = (StageSpec((dataclasses.replace(first, stride=2), first), OneOf((1, 2))),)
    template = ArchSpec(
        16, stages, OneOf((16, 24)), OneOf((0.5, 1.0)), OneOf((12, 16)), CLASSES, form="xnnpack", head_norm=True,
        head_units=(OneOf((8, 12)),),
    )  # fmt: skip
    return SearchSpace("rich", template)


def some_archs(space: SearchSpace, count: int, seed: int = 0) -> list[ArchSpec]:
    """Networks of random genotypes."""
    rng = random.Random(seed)
    return [space.decode(random_genotype(space, rng)) for _ in range(count)]


def some_images(count: int, side: int) -> ImageSet:
    """Random pixels."""
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    return ImageSet(pixels, draw.integers(0, CLASSES, count).astype(np.int32), np.arange(count, dtype=np.int64))


def shaken(space: SearchSpace, seed: int = 0) -> ElasticNetwork:
    """A supernet none of whose weights is the identity, and whose networks are smooth.

    With gammas of 1 and betas of 0 a deep untrained network amplifies the rounding of each layer: even one and the same
    Keras model then answers 1e-4 apart when it is called eagerly and as a graph. Most activations being in their linear
    part keeps the differences at the size of the rounding, and hides no difference of the weights. Logits are below 1,
    as tolerances are absolute.
    """
    network, draw = ElasticNetwork(space, seed), np.random.default_rng(seed)
    for spec in network.layout.weights:
        noise = 0.1 * draw.normal(size=spec.shape).astype(np.float32)
        if spec.kind == "gamma":
            network.weights[spec.name].assign(0.4 + noise)
        elif spec.kind == "beta":
            network.weights[spec.name].assign(1.0 + noise)
        elif spec.kind in ("bias", "transform"):
            network.weights[spec.name].assign_add(noise)
    logits = network.weights["logits/kernel"]
    logits.assign(0.25 * logits)
    return network

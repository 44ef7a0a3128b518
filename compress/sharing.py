"""Finds blocks of equal shapes and makes them one block that is used several times (pure description, no training).

Cross-layer parameter sharing as in ALBERT (Lan et al. 2020, arXiv:1909.11942), within a stage.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from core.keras_env import keras

from compress.invariants import KERNEL_NAMES, short_name
from compress.rewrite import Config, Use, config_of, layers_by_name, model_of, redirect, sources
from compress.storage import named_weights

_OUR_BLOCK = re.compile(r"s(\d+)_b(\d+)_", re.ASCII)


@dataclass(frozen=True, slots=True)
class Group:
    """Blocks of equal structure, each as the names of its layers in their order; all use the layers of the first."""

    blocks: tuple[tuple[str, ...], ...]


def groups_of(model: keras.Model, excluded: Collection[str] = ()) -> tuple[Group, ...]:
    """The groups of two or more equal blocks that hold weights.

    In our networks (layers named s{stage}_b{block}_...) those of one stage; in others, runs of consecutive layers that
    are repeated at once. Equal are the settings and weights' shapes of all layers, and what they read of each other.
    A block with a layer named in `excluded` is left out.
    """
    config = config_of(model)
    described = _Description(model, config)
    names = list(described.layers)
    found = (blocks for run in _our_blocks(names) or _repeats(described, names) for blocks in _equal(described, run))
    groups = ([block for block in blocks if not any(name in excluded for name in block)] for blocks in found)
    return tuple(Group(tuple(blocks)) for blocks in groups if len(blocks) > 1 and described.can_be_shared(blocks[0]))


def with_shared(model: keras.Model, groups: Sequence[Group]) -> keras.Model:
    """A new model in which each group's blocks are its first block, used several times, with that one's weights."""
    config, weights = config_of(model), named_weights(model)
    by_name = layers_by_name(config)
    targets: dict[Use, Use] = {}
    dropped = set()
    for group in groups:
        for names in zip(*group.blocks, strict=True):
            for use, name in enumerate(names[1:], 1):
                targets[name, 0] = (names[0], use)
                by_name[names[0]]["inbound_nodes"] += by_name[name]["inbound_nodes"]
                dropped.add(name)
    config["layers"] = [layer for layer in config["layers"] if layer["name"] not in dropped]
    redirect(config, targets)
    return model_of(config, {key: value for key, value in weights.items() if key.rsplit("/", 1)[0] not in dropped})


class _Description:
    """A network's layers as comparable texts."""

    def __init__(self, model: keras.Model, config: Config) -> None:
        self.layers = layers_by_name(config)
        self._position = {name: position for position, name in enumerate(self.layers)}
        self._shapes = {layer.name: [tuple(weight.shape) for weight in layer.weights] for layer in model.layers}
        self._kernels = {
            layer.name for layer in model.layers if any(short_name(weight) in KERNEL_NAMES for weight in layer.weights)
        }

    def can_be_shared(self, block: Sequence[str]) -> bool:
        """Whether a block has weights worth sharing and no layer that is already used several times."""
        return not self._kernels.isdisjoint(block) and all(len(sources(self.layers[name])) == 1 for name in block)

    def text(self, name: str) -> str:
        """A layer without its name and its inputs."""
        layer = self.layers[name]
        settings = {key: value for key, value in layer["config"].items() if key != "name"}
        return json.dumps([layer["class_name"], settings, self._shapes[name], len(sources(layer))], default=str)

    def offsets(self, name: str) -> list[int]:
        """How far before it the layers are that a layer reads."""
        read = (source for use in sources(self.layers[name]) for source, _ in use)
        return [self._position[name] - self._position[source] for source in read]

    def block_text(self, block: Sequence[str]) -> str:
        """A block with what its layers read of each other (by number) and from outside (by order of first use)."""
        numbers = {name: str(number) for number, name in enumerate(block)}
        for name in block:
            for use in sources(self.layers[name]):
                for source, _ in use:
                    numbers.setdefault(source, f"outside {len(numbers) - len(block)}")
        reads = [[numbers[source] for use in sources(self.layers[name]) for source, _ in use] for name in block]
        return json.dumps([[self.text(name) for name in block], reads])


def _our_blocks(names: Sequence[str]) -> list[list[tuple[str, ...]]]:
    """The blocks of each stage, by the layers' names; empty if none is named so."""
    stages: dict[str, dict[str, list[str]]] = {}
    for name in names:
        if (match := _OUR_BLOCK.match(name)) is not None:
            stages.setdefault(match[1], {}).setdefault(match[2], []).append(name)
    return [[tuple(block) for block in blocks.values()] for blocks in stages.values()]


def _equal(described: _Description, blocks: Sequence[tuple[str, ...]]) -> list[list[tuple[str, ...]]]:
    by_text: dict[str, list[tuple[str, ...]]] = {}
    for block in blocks:
        by_text.setdefault(described.block_text(block), []).append(block)
    return list(by_text.values())


def _repeats(described: _Description, names: Sequence[str]) -> list[list[tuple[str, ...]]]:
    """Runs of layers that are repeated at once, each as its repetitions."""
    marks = [f"{described.text(name)}{described.offsets(name)}" for name in names]
    runs, start = [], 0
    while start < len(names):
        length, count = _best_repeat(marks, start)
        if count > 1:
            ends = range(start, start + length * count, length)
            runs.append([tuple(names[end : end + length]) for end in ends])
        start += length * count
    return runs


def _best_repeat(marks: Sequence[str], start: int) -> tuple[int, int]:
    """The length of the run from `start` that saves most layers, and how often it is there; (1, 1) without any."""
    best = (1, 1)
    for length in range(1, (len(marks) - start) // 2 + 1):
        run, count = marks[start : start + length], 1
        while marks[start + count * length : start + (count + 1) * length] == run:
            count += 1
        best = max(best, (length, count), key=lambda found: found[0] * (found[1] - 1))
    return best

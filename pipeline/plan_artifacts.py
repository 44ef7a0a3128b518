"""The part of a plan that follows a float model: its recipes' passes, and what is done with each .tflite."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from android_bench.settings import target_stem
from compress.recipe import CompressionRecipe, parse_recipe
from deploy.schemes import MIXED, PERSONALIZE
from pipeline.config import Config
from pipeline.plan_keys import keyed_bench, keyed_metadata, keyed_rates
from pipeline.planner import Planner

FOUND = "found"


@dataclass(frozen=True, slots=True)
class ArtifactPlan:
    """One .tflite that the run makes.

    `winner` counts the search's winners from 0; `node` is the stage that makes the Keras model; `steps` are the passes
    before it; `recipe` is the recipe's text for artifacts that are released, "" for those made only to show a pass.
    Recipe and scheme FOUND stand for what a joint search will have found: the node's record then tells both.
    """

    name: str
    winner: int
    node: str
    scheme: str
    steps: tuple[str, ...]
    recipe: str


def plan_recipes(
    planner: Planner, config: Config, winner: int, node: str, before: tuple[str, ...]
) -> list[ArtifactPlan]:
    """Adds every recipe on one float model; recipes that begin alike share their first passes."""
    parent = ArtifactPlan(f"{node}.float32", winner, node, "float32", (), "float32")
    artifacts = {parent.name: parent}
    shared = tuple(name for name in before if name not in ("supernet", "search"))
    if config.distill.teacher == "self":
        shared = (shared[0], node)
    if config.search.recipe is not None:
        found = _plan_found(planner, config, winner, node, (*shared, "search"))
        artifacts[found.name] = found
    for text in config.compress.recipes:
        recipe = parse_recipe(text, config.compress)
        for artifact in _plan_recipe(planner, config, winner, recipe, node, shared):
            known = artifacts.get(artifact.name)
            if known is None or not known.recipe:
                artifacts[artifact.name] = artifact
    if config.release.on_device_training:
        name = f"{node}.{PERSONALIZE}"
        artifacts[name] = ArtifactPlan(name, winner, node, PERSONALIZE, (), PERSONALIZE)
    return list(artifacts.values())


def _plan_found(planner: Planner, config: Config, winner: int, node: str, inputs: tuple[str, ...]) -> ArtifactPlan:
    compress = dataclasses.replace(config.compress, recipes=())
    params = {"winner": winner, "compress": compress, "distill": config.distill, "seed": config.seed}
    keyed = {**params, **keyed_rates(compress)}
    name = planner.add(f"w{winner}.{FOUND}", "found_recipe", params, tuple(dict.fromkeys((*inputs, node))), keyed)
    return ArtifactPlan(name, winner, name, FOUND, (), FOUND)


def _plan_recipe(
    planner: Planner, config: Config, winner: int, recipe: CompressionRecipe, node: str, shared: tuple[str, ...]
) -> list[ArtifactPlan]:
    artifacts = []
    steps: list[str] = []
    for spec in recipe.passes:
        steps.append(spec.label)
        params = {"spec": spec, "train": config.compress.train_config(), "distill": config.distill, "seed": config.seed}
        inputs = tuple(dict.fromkeys((shared[0], node, *shared[1:])))
        node = planner.add(f"w{winner}.{_joined(steps)}", "pass", params, inputs)
        if spec.name != "quantize":
            artifacts.append(ArtifactPlan(f"{node}.float32", winner, node, "float32", tuple(steps), ""))
    final = node if recipe.passes and recipe.passes[-1].name == "quantize" else f"{node}.{recipe.scheme}"
    artifacts.append(ArtifactPlan(final, winner, node, recipe.scheme, tuple(steps), recipe.name))
    return artifacts


def _joined(steps: Sequence[str]) -> str:
    """Steps as a name; a step that is repeated (rounds of structured pruning) is there once, with its number."""
    runs = [(step, len(list(run))) for step, run in itertools.groupby(steps)]
    return "-".join(step if count == 1 else f"{step}x{count}" for step, count in runs)


def plan_evidence(planner: Planner, config: Config, artifact: ArtifactPlan, data: str) -> list[str]:
    """Adds the conversion of one artifact, its check and its measurement on each target; returns their names."""
    has_metadata = config.release.metadata and artifact.recipe and artifact.scheme != PERSONALIZE
    metadata = config.release if has_metadata else None
    settings: dict[str, Any] = {
        "scheme": artifact.scheme,
        "recipe": artifact.recipe,
        "steps": artifact.steps,
        "metadata": metadata,
    }
    if artifact.scheme in (MIXED, FOUND):
        settings["max_loss"] = config.compress.mixed_max_loss
    if artifact.scheme == PERSONALIZE:
        settings["spare_classes"] = config.release.spare_classes
    keyed = {**settings, "metadata": metadata and keyed_metadata(metadata)}
    convert = planner.add(f"{artifact.name}.convert", "convert", settings, (data, artifact.node), keyed)
    checks = {"artifact": artifact, "metadata": metadata is not None}
    validate = planner.add(f"{artifact.name}.validate", "validate", checks, (data, artifact.node, convert))
    results = [convert, validate]
    for target in config.bench.targets:
        bench = dataclasses.replace(config.bench, targets=(target,))
        name = f"{artifact.name}.bench.{target_stem(target)}"
        results.append(planner.add(name, "bench", {"bench": bench}, (convert,), keyed_bench(bench)))
    return results

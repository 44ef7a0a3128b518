"""The plan of a run: which stages there are, what each depends on, and the key under which its result is kept.

A stage's key is a hash of its version, the settings it reads, the libraries' versions and the keys of its inputs. The
plan is computed from the configuration and the past logs that it names, so `--dry_run` and `status` are instant.

What can fail at once comes before what trains long: a teacher's file is checked before the search, and a search, which
refuses limits that no network keeps, begins before a teacher is trained.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config import Config
from pipeline.plan_artifacts import ArtifactPlan, plan_evidence, plan_recipes
from pipeline.plan_keys import (
    keyed_bench,
    keyed_config,
    keyed_fine_tuning,
    keyed_judging,
    keyed_rates,
    keyed_search,
    keyed_training,
)
from pipeline.planner import Planner, Stage
from pipeline.previous import Seen
from search.settings import SUPERNET, SearchConfig

# Raise a version when the stage's code changes what it computes: results made by older code are then not reused.
VERSIONS = {
    "data": 1,
    "supernet": 3,
    "search": 3,
    "extract": 1,
    "images": 1,
    "teacher": 1,
    "float": 3,
    "own_model": 2,
    "pass": 4,
    "found_recipe": 2,
    "convert": 4,
    "validate": 4,
    "bench": 2,
    "previous": 1,
    "report": 6,
    "release": 2,
}

_SEARCH = ("data", "supernet", "search", "extract")
_MODELS = (*_SEARCH, "images", "teacher", "float", "own_model", "pass", "found_recipe")
COMMANDS = {
    "search": _SEARCH,
    "compress": _MODELS,
    "convert": (*_MODELS, "convert", "validate"),
    "bench": (*_MODELS, "convert", "validate", "bench"),
    "report": tuple(kind for kind in VERSIONS if kind != "release"),
    "run": tuple(VERSIONS),
}


@dataclass(frozen=True, slots=True)
class Extraction:
    """One network out of a finished supernet, in place of what a search finds.

    Attributes:
      arch: the network's text; "": the best within the limits of the configuration, for which `log` keeps what networks
        were evaluated.
      trained_with: the settings of the search for which the supernet was trained.
    """

    arch: str
    log: Path
    trained_with: SearchConfig


@dataclass(frozen=True)
class Plan:
    """All stages in an order in which they can run, and the artifacts they make."""

    stages: tuple[Stage, ...]
    artifacts: tuple[ArtifactPlan, ...]

    def stage(self, name: str) -> Stage:
        """The stage of that name."""
        return next(stage for stage in self.stages if stage.name == name)

    def for_command(self, command: str) -> tuple[Stage, ...]:
        """The stages that a command runs."""
        return tuple(stage for stage in self.stages if stage.kind in COMMANDS[command])


def make_plan(
    config: Config,
    data_fingerprint: str,
    teacher_fingerprint: str = "",
    model_fingerprint: str = "",
    extraction: Extraction | None = None,
    find_previous: Callable[[str], Seen] | None = None,
    command: str = "",
) -> Plan:
    """The plan for a configuration; the fingerprints stand for what the files it names hold now.

    Args:
      find_previous: what the store has before the release of a key (pipeline.previous); None: there is no store.
      command: the command line that makes the run again, which report and release tell.

    Raises UsageError if a past log is not one of the configured space.
    """
    planner = Planner(VERSIONS)
    seed = config.seed
    data = planner.add("data", "data", {"data": config.data, "seed": seed, "fingerprint": data_fingerprint}, ())
    if config.model.file is not None:
        before: tuple[str, ...] = ()
        images: tuple[str, ...] = (data,)
        parents = _plan_own_model(planner, config, data, model_fingerprint)
    else:
        before = _plan_before(planner, config, data, teacher_fingerprint, extraction)
        images = _plan_images(planner, config, data)
        parents = _plan_winners(planner, config, images, before)
    artifacts: list[ArtifactPlan] = []
    for winner, node in enumerate(parents):
        artifacts += plan_recipes(planner, config, winner, node, (images[winner], *before))
    evidence: list[str] = []
    for artifact in artifacts:
        evidence += plan_evidence(planner, config, artifact, images[artifact.winner])
    nodes = dict.fromkeys(artifact.node for artifact in artifacts)
    everything = tuple(dict.fromkeys((data, *before, *images, *nodes, *evidence)))
    _plan_summaries(planner, config, tuple(artifacts), everything, find_previous, command)
    return Plan(tuple(planner.stages.values()), tuple(artifacts))


def _plan_summaries(
    planner: Planner,
    config: Config,
    artifacts: tuple[ArtifactPlan, ...],
    everything: tuple[str, ...],
    find_previous: Callable[[str], Seen] | None,
    command: str,
) -> None:
    """The comparison with the release before, the report, which tells it, and the release, which does not depend on
    where it is published."""
    made = dataclasses.replace(config, release=config.release.unpublished())
    params = {"config": made, "artifacts": artifacts, "command": command}
    keyed = {"config": keyed_config(config), "artifacts": artifacts}
    told = everything
    if find_previous is not None:
        seen = find_previous(planner.key("release", keyed, everything))
        settings = {**params, "seen": seen, "store": config.release.store, "limits": config.release.limits}
        judged = {"seen": seen, "limits": config.release.limits}
        told = (*everything, planner.add("previous", "previous", settings, everything, judged))
    planner.add("report", "report", params, told, keyed)
    planner.add("release", "release", params, everything, keyed)


def _plan_own_model(planner: Planner, config: Config, data: str, fingerprint: str) -> tuple[str, ...]:
    """The user's model; and nothing but it, which teaches itself, or the labels alone."""
    settings = dataclasses.replace(config.model, file=fingerprint)
    params = {"model": settings, "file": config.model.file}
    keyed = {"model": settings}
    return (planner.add("w0.float", "own_model", params, (data,), keyed),)


def _plan_before(
    planner: Planner, config: Config, data: str, teacher_fingerprint: str, extraction: Extraction | None
) -> tuple[str, ...]:
    """What comes before the float training of the winners: the supernet, the search and the teacher."""
    if config.teacher.file is not None:
        _plan_teacher(planner, config, data, teacher_fingerprint)
    trained_with = config.search if extraction is None else extraction.trained_with
    supernet = _plan_supernet(planner, config, trained_with, data)
    if extraction is None:
        search = _plan_search(planner, config, (data, *supernet))
    else:
        search = _plan_extraction(planner, config, extraction, (data, *supernet))
    return (*supernet, search, *_plan_teacher(planner, config, data, teacher_fingerprint))  # planned once


def _plan_supernet(planner: Planner, config: Config, search: SearchConfig, data: str) -> tuple[str, ...]:
    if search.evaluator != SUPERNET:
        return ()
    params = {"supernet": config.supernet, "search": search, "seed": config.seed}
    keyed = {**keyed_training(config.supernet, search), "seed": config.seed}
    return (planner.add("supernet", "supernet", params, (data,), keyed),)


def _plan_search(planner: Planner, config: Config, inputs: tuple[str, ...]) -> str:
    params = _search_params(config)
    keyed = {**params, "search": keyed_search(config.search)}
    if "bench" in params:
        keyed["bench"] = keyed_bench(params["bench"])
    if "compress" in params:
        keyed |= keyed_rates(config.compress)
    if "supernet" in params:
        keyed["supernet"] = keyed_judging(config.supernet)
    return planner.add("search", "search", params, inputs, keyed)


def _plan_extraction(planner: Planner, config: Config, extraction: Extraction, inputs: tuple[str, ...]) -> str:
    """A stage of the search's name: what comes after it finds its winners there."""
    params = {
        "search": config.search,
        "supernet": config.supernet,
        "arch": extraction.arch,
        "log": extraction.log,
        "seed": config.seed,
    }
    networks = 0 if extraction.arch else config.supernet.predictor_networks
    keyed = {
        "search": keyed_search(config.search),
        "supernet": {**keyed_judging(config.supernet), "predictor_networks": networks},
        "arch": extraction.arch,
        "seed": config.seed,
    }
    return planner.add("search", "extract", params, inputs, keyed)


def _plan_images(planner: Planner, config: Config, data: str) -> tuple[str, ...]:
    """The images of each winner: the data set's, or where the resolution is searched those in the winner's own."""
    winners = range(config.search.num_winners)
    if config.search.evaluator != SUPERNET or not config.supernet.resolutions:
        return (data,) * len(winners)
    return tuple(planner.add(f"w{winner}.data", "images", {"winner": winner}, (data, "search")) for winner in winners)


def _plan_winners(
    planner: Planner, config: Config, images: tuple[str, ...], before: tuple[str, ...]
) -> tuple[str, ...]:
    """The float training of each winner."""
    nodes = []
    for winner, data in enumerate(images):
        params = {"winner": winner, "train": config.train, "distill": config.distill, "seed": config.seed}
        if config.search.evaluator == SUPERNET:
            params |= {"supernet": config.supernet, "space": config.search.space}
        keyed = {**params, "supernet": keyed_fine_tuning(config.supernet)} if "supernet" in params else None
        nodes.append(planner.add(f"w{winner}.float", "float", params, (data, *before), keyed))
    return tuple(nodes)


def _plan_teacher(planner: Planner, config: Config, data: str, fingerprint: str) -> tuple[str, ...]:
    teacher = config.teacher
    if teacher.network is None and teacher.file is None:
        return ()
    if teacher.file is not None:
        settings: Any = {"file": fingerprint, "input_range": teacher.input_range}
    else:
        settings = dataclasses.replace(teacher, file=None)
    params = {"teacher": settings, "file": teacher.file, "seed": config.seed}
    return (planner.add("teacher", "teacher", params, (data,)),)


def _search_params(config: Config) -> dict[str, Any]:
    params: dict[str, Any] = {"search": config.search, "seed": config.seed}
    if config.search.measured:
        # A trial needs no operator profile: one more of it would search anew.
        params["bench"] = dataclasses.replace(config.bench, targets=(config.search.target,), profile=False)
    if config.search.recipe is not None:
        params["compress"] = dataclasses.replace(config.compress, recipes=())
    if config.search.evaluator == SUPERNET:
        params["supernet"] = config.supernet
    return params

"""The plan of a run: which stages there are, what each depends on, and the key under which its result is kept.

A stage's key is a hash of its version, the settings it reads, the libraries' versions and the keys of its inputs. The
plan is computed from the configuration and the past logs that it names, so `--dry_run` and `status` are instant.

What can fail at once comes before what trains long: a teacher's file is checked before the search, and a search, which
refuses limits that no network keeps, begins before a teacher is trained.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from android_bench.settings import TARGETS, BenchConfig, target_stem
from android_bench.targets import described_target
from compress.recipe import CompressConfig, CompressionRecipe, parse_recipe, structured_rates
from core.errors import UsageError, bad_value
from core.spec_io import content_id, to_plain
from core.values import file_sha256
from deploy.schemes import MIXED
from pipeline.config import Config
from search.latency.table import read_latency_table
from search.oracles.past import read_log
from search.settings import SearchConfig

# Raise a version when the stage's code changes what it computes: results made by older code are then not reused.
VERSIONS = {
    "data": 1,
    "search": 3,
    "teacher": 1,
    "float": 3,
    "own_model": 2,
    "pass": 4,
    "found_recipe": 2,
    "convert": 3,
    "validate": 3,
    "bench": 2,
    "report": 4,
    "release": 1,
}

# Settings of the search that came after version 1: at their defaults the search does what it did before, and they are
# not in its key. The number of workers never is: like the computer, it says how the trials are evaluated and not which
# search it is, so that a search can go on with more or fewer of them.
LATER_SEARCH_SETTINGS = (
    *("cost_weight", "objectives", "max_macs", "max_params", "max_peak_memory_bytes"),
    *("past_logs", "evaluator", "proxy", "warm_start", "proxy_pool", "recipe", "recipe_epochs"),
    *("max_latency_us", "latency_table"),
)

# Settings that say how a figure is come by, and not which one it is; targets are in the key as they are described.
UNKEYED_BENCH_SETTINGS = ("own", "max_cool_down_seconds", "retries")

TOOLS = (
    *("tensorflow", "tf_keras", "tensorflow-model-optimization", "keras-tuner"),
    *("ai-edge-litert", "ai-edge-quantizer", "numpy"),
)

_MODELS = ("data", "search", "teacher", "float", "own_model", "pass", "found_recipe")
COMMANDS = {
    "search": ("data", "search"),
    "compress": _MODELS,
    "convert": (*_MODELS, "convert", "validate"),
    "bench": (*_MODELS, "convert", "validate", "bench"),
    "report": tuple(kind for kind in VERSIONS if kind != "release"),
    "run": tuple(VERSIONS),
}


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


@dataclass(frozen=True, slots=True)
class Stage:
    """One unit of the plan. `inputs` are names of earlier stages; `params` is all that its code reads of the config."""

    name: str
    kind: str
    key: str
    params: dict[str, Any]
    inputs: tuple[str, ...]

    def directory(self, workdir: Path) -> Path:
        """Where the stage's result is committed."""
        return workdir / "stages" / f"{self.name}-{self.key}"


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


@functools.cache
def tool_versions() -> dict[str, str]:
    """The installed versions of the libraries that decide what a stage computes."""
    return {name: importlib.metadata.version(name) for name in TOOLS}


class _Planner:
    """Collects stages, computing each key from the stage's settings and its inputs' keys."""

    def __init__(self) -> None:
        self.stages: dict[str, Stage] = {}

    def add(
        self,
        name: str,
        kind: str,
        params: dict[str, Any],
        inputs: tuple[str, ...],
        keyed: dict[str, Any] | None = None,
    ) -> str:
        """`keyed` takes the place of `params` in the key."""
        if name not in self.stages:
            keys = [self.stages[item].key for item in inputs]
            tools = {} if kind == "data" else tool_versions()
            key = content_id((kind, VERSIONS[kind], tools, keyed or params, keys), length=12)
            self.stages[name] = Stage(name, kind, key, params, inputs)
        elif self.stages[name].params != params:
            raise UsageError(
                f"config.compress.recipes: two recipes differ too little to tell their stages {name} apart"
            )
        return name


def make_plan(
    config: Config, data_fingerprint: str, teacher_fingerprint: str = "", model_fingerprint: str = ""
) -> Plan:
    """The plan for a configuration; the fingerprints stand for what the files it names hold now.

    Raises UsageError if a past log is not one of the configured space.
    """
    planner = _Planner()
    seed = config.seed
    data = planner.add("data", "data", {"data": config.data, "seed": seed, "fingerprint": data_fingerprint}, ())
    if config.model.file is not None:
        parents, before = _plan_own_model(planner, config, data, model_fingerprint)
    else:
        parents, before = _plan_winners(planner, config, data, teacher_fingerprint)
    artifacts: list[ArtifactPlan] = []
    for winner, node in enumerate(parents):
        artifacts += _plan_recipes(planner, config, winner, node, (data, *before))
    evidence: list[str] = []
    for artifact in artifacts:
        evidence += _plan_artifact(planner, config, artifact, data)
    nodes = dict.fromkeys(artifact.node for artifact in artifacts)
    everything = (data, *before, *nodes, *evidence)
    params = {"config": config, "artifacts": artifacts}
    report = planner.add("report", "report", params, everything)
    planner.add("release", "release", params, (*everything, report))
    return Plan(tuple(planner.stages.values()), tuple(artifacts))


def _plan_own_model(
    planner: _Planner, config: Config, data: str, fingerprint: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The user's model; and nothing but it, which teaches itself, or the labels alone."""
    settings = dataclasses.replace(config.model, file=fingerprint)
    params = {"model": settings, "file": config.model.file}
    keyed = {"model": settings}
    return (planner.add("w0.float", "own_model", params, (data,), keyed),), ()


def _plan_winners(
    planner: _Planner, config: Config, data: str, teacher_fingerprint: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The float training of each winner; and the search and the teacher before."""
    if config.teacher.file is not None:
        _plan_teacher(planner, config, data, teacher_fingerprint)
    search_params = _search_params(config)
    keyed = {**search_params, "search": _keyed_search(config.search)}
    if "bench" in search_params:
        keyed["bench"] = _keyed_bench(search_params["bench"])
    if "compress" in search_params:
        keyed |= _keyed_rates(config.compress)
    search = planner.add("search", "search", search_params, (data,), keyed)
    before = (search, *_plan_teacher(planner, config, data, teacher_fingerprint))  # planned once
    nodes = []
    for winner in range(config.search.num_winners):
        params = {"winner": winner, "train": config.train, "distill": config.distill, "seed": config.seed}
        nodes.append(planner.add(f"w{winner}.float", "float", params, (data, *before)))
    return tuple(nodes), before


def _plan_teacher(planner: _Planner, config: Config, data: str, fingerprint: str) -> tuple[str, ...]:
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
        params["bench"] = dataclasses.replace(config.bench, targets=(config.search.target,))
    if config.search.recipe is not None:
        params["compress"] = dataclasses.replace(config.compress, recipes=())
    return params


def _keyed_search(search: SearchConfig) -> dict[str, Any]:
    """The settings that decide what the search finds."""
    plain: dict[str, Any] = to_plain(search)
    del plain["num_workers"]
    defaults = to_plain(SearchConfig())
    for name in LATER_SEARCH_SETTINGS:
        if plain[name] == defaults[name]:
            del plain[name]
    if search.past_logs:
        plain["past_logs"] = [_log_sha256(path, search.space) for path in search.past_logs]
    if search.latency_table is not None:
        plain["latency_table"] = _table_sha256(search.latency_table, search.space)
    return plain


def _log_sha256(path: str, space_name: str) -> str:
    """Also reads the log: the search would find it wrong too, but only when it begins."""
    if not Path(path).is_file():
        raise bad_value("config.search.past_logs", path, "the trial log of an earlier search (trials.jsonl)")
    try:
        read_log(Path(path), space_name)
    except UsageError as error:
        raise UsageError(f"config.search.past_logs: {error}") from error
    return file_sha256(path)


def _keyed_rates(compress: CompressConfig) -> dict[str, Any]:
    """What recipes that a search finds take of `structured_latency_table`; those planned have it in their passes."""
    rates = structured_rates(compress)
    return {} if rates is None else {"rates": rates}


def _table_sha256(path: str, space_name: str) -> str:
    """Also reads the table, which must be one of the space."""
    where = "config.search.latency_table"
    try:
        table = read_latency_table(Path(path))
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from error
    if table.space != space_name:
        raise bad_value(where, path, f"a table of the space {space_name}; this one is of {table.space}")
    return file_sha256(path)


def _plan_recipes(
    planner: _Planner, config: Config, winner: int, node: str, before: tuple[str, ...]
) -> list[ArtifactPlan]:
    """Every recipe on one float model; recipes that begin alike share their first passes."""
    parent = ArtifactPlan(f"{node}.float32", winner, node, "float32", (), "float32")
    artifacts = {parent.name: parent}
    shared = tuple(name for name in before if name != "search")
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
    return list(artifacts.values())


def _plan_found(planner: _Planner, config: Config, winner: int, node: str, inputs: tuple[str, ...]) -> ArtifactPlan:
    compress = dataclasses.replace(config.compress, recipes=())
    params = {"winner": winner, "compress": compress, "distill": config.distill, "seed": config.seed}
    keyed = {**params, **_keyed_rates(compress)}
    name = planner.add(f"w{winner}.{FOUND}", "found_recipe", params, tuple(dict.fromkeys((*inputs, node))), keyed)
    return ArtifactPlan(name, winner, name, FOUND, (), FOUND)


def _plan_recipe(
    planner: _Planner, config: Config, winner: int, recipe: CompressionRecipe, node: str, shared: tuple[str, ...]
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


def _plan_artifact(planner: _Planner, config: Config, artifact: ArtifactPlan, data: str) -> list[str]:
    metadata = config.release if artifact.recipe and config.release.metadata else None
    settings: dict[str, Any] = {
        "scheme": artifact.scheme,
        "recipe": artifact.recipe,
        "steps": artifact.steps,
        "metadata": metadata,
    }
    if artifact.scheme in (MIXED, FOUND):
        settings["max_loss"] = config.compress.mixed_max_loss
    convert = planner.add(f"{artifact.name}.convert", "convert", settings, (data, artifact.node))
    checks = {"artifact": artifact, "metadata": metadata is not None}
    validate = planner.add(f"{artifact.name}.validate", "validate", checks, (data, artifact.node, convert))
    results = [convert, validate]
    for target in config.bench.targets:
        bench = dataclasses.replace(config.bench, targets=(target,))
        name = f"{artifact.name}.bench.{target_stem(target)}"
        results.append(planner.add(name, "bench", {"bench": bench}, (convert,), _keyed_bench(bench)))
    return results


def _keyed_bench(bench: BenchConfig) -> dict[str, Any]:
    """What a measurement depends on; of a target that is described in a file, that file's content."""
    plain: dict[str, Any] = to_plain(bench)
    for name in UNKEYED_BENCH_SETTINGS:
        del plain[name]
    if not plain["profile"]:  # as before there were profiles
        del plain["profile"]
    plain["targets"] = [target_stem(name) for name in bench.targets]
    described = [described_target(name, bench) for name in bench.targets]
    own = [target for target in described if target != TARGETS.get(target.name)]
    return {"bench": plain, **({"described": own} if own else {})}

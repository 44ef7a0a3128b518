"""Stages and their keys: a planner collects what a run is made of."""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import UsageError
from core.spec_io import content_id

TOOLS = (
    *("tensorflow", "tf_keras", "tensorflow-model-optimization", "keras-tuner"),
    *("ai-edge-litert", "ai-edge-quantizer", "numpy"),
)


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


@functools.cache
def tool_versions() -> dict[str, str]:
    """The installed versions of the libraries that decide what a stage computes."""
    return {name: importlib.metadata.version(name) for name in TOOLS}


class Planner:
    """Collects stages, computing each key from the stage's settings and its inputs' keys."""

    def __init__(self, versions: Mapping[str, int]) -> None:
        self.stages: dict[str, Stage] = {}
        self._versions = versions

    def key(self, kind: str, keyed: Any, inputs: tuple[str, ...]) -> str:
        """The key of a stage that reads `keyed` of the configuration and the results of `inputs`."""
        tools = {} if kind == "data" else tool_versions()
        keys = [self.stages[item].key for item in inputs]
        return content_id((kind, self._versions[kind], tools, keyed, keys), length=12)

    def add(
        self,
        name: str,
        kind: str,
        params: dict[str, Any],
        inputs: tuple[str, ...],
        keyed: dict[str, Any] | None = None,
    ) -> str:
        """`keyed` takes the place of `params` in the key. Returns the name."""
        if name not in self.stages:
            self.stages[name] = Stage(name, kind, self.key(kind, keyed or params, inputs), params, inputs)
        elif self.stages[name].params != params:
            raise UsageError(
                f"config.compress.recipes: two recipes differ too little to tell their stages {name} apart"
            )
        return name

"""A run's folder: who may use it, what it is pinned to, and what is left when the input turns out to be bad."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from core.errors import LitesmithError, UsageError
from core.spec_io import to_plain
from core.tracking import TENSORBOARD
from core.workspace import (
    TEMPORARY_PREFIX,
    atomic_write_json,
    is_disk_full,
    locked,
    read_json,
    remove_temporaries,
)
from pipeline.config import Config
from pipeline.plan import Plan
from pipeline.planner import Stage
from pipeline.release_config import PUBLICATION

CONFIG, PLAN, PUBLISHED = "config.json", "plan.json", "published.json"
PUBLICATION_RECORD = "publication.json"  # what the last run that was to publish did
EXTRACTED = "extract.json"  # which network of a supernet the folder is for
OWN_NAMES = (
    *(CONFIG, PLAN, PUBLISHED, PUBLICATION_RECORD, EXTRACTED, ".lock"),
    *("stages", "scratch", "report", "release", TENSORBOARD),
)
# What the commands `scale` and `extract` keep; a run in the same folder leaves it alone.
SCALE, EXTRACT = "scale", "extract"
WORKDIR_FLAG = "--workdir"
_OR_GO_ON = ", or add --new_config to go on here (finished stages that the change does not touch are kept)"


class Workdir:
    """The folder `root`, which `flag` names. Nothing is created before `opened`."""

    def __init__(self, root: Path, flag: str = WORKDIR_FLAG) -> None:
        self.root, self._flag = root, flag
        try:
            self._missing = [folder for folder in (root, *root.parents) if not folder.exists()]
        except OSError as error:
            raise UsageError(f"{flag}: {root} cannot be used ({error.strerror})") from error

    def check(self, config: Config, new_config: bool) -> None:
        """Raises UsageError if the folder is not one for this configuration."""
        if not self.root.exists():
            return
        if not self.root.is_dir():
            raise UsageError(f"{self._flag}: {self.root} is a file; expected a folder")
        pinned = self.root / CONFIG
        if not pinned.exists():
            self._check_only_ours()
        elif not new_config:
            old = _completed(read_json(pinned), to_plain(Config()))
            difference = _first_difference(_without_publication(old), _without_publication(to_plain(config)), "config")
            if difference:
                raise UsageError(
                    f"{self._flag}: {self.root} belongs to another configuration ({difference}); use a new "
                    f"{self._flag}{_OR_GO_ON if self._flag == WORKDIR_FLAG else ''}"
                )

    @contextlib.contextmanager
    def opened(self, config: Config, plan: Plan, new_config: bool) -> Iterator[None]:
        """Holds the folder for this process, pinned to the configuration.

        If the block raises UsageError before any stage was committed to a new folder, everything that was created is
        removed again; a link to another run's stage does not count. Raises UsageError if the folder is in use, not
        writable or another configuration's.
        """
        self._create()
        try:
            with locked(self.root):
                self.check(config, new_config)
                is_new = not (self.root / CONFIG).exists()
                try:
                    self._pin(config, plan)
                    remove_temporaries(self.root)
                    yield
                except UsageError:
                    if is_new and all(path.is_symlink() for path in (self.root / "stages").glob("*")):
                        self._empty()
                    raise
        except UsageError:
            for folder in self._missing:
                with contextlib.suppress(OSError):  # not empty: it holds something after all
                    folder.rmdir()
            raise

    def _check_only_ours(self) -> None:
        for path in sorted(self.root.iterdir()):
            if path.name not in (*OWN_NAMES, SCALE, EXTRACT) and not path.name.startswith(TEMPORARY_PREFIX):
                raise UsageError(
                    f"{self._flag}: {self.root} holds other files ({path.name}) and no {CONFIG}; use a new or empty "
                    "folder"
                )

    def _create(self) -> None:
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            (self.root / ".lock").touch()
        except OSError as error:
            raise _refused(self._flag, self.root, error) from error

    def _pin(self, config: Config, plan: Plan) -> None:
        try:
            atomic_write_json(self.root / CONFIG, config)
            atomic_write_json(self.root / PLAN, [_described(stage) for stage in plan.stages])
            (self.root / "stages").mkdir(exist_ok=True)
        except OSError as error:
            raise _refused(self._flag, self.root, error) from error

    def _empty(self) -> None:
        for name in OWN_NAMES:
            path = self.root / name
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def read_plan(root: Path) -> list[Stage]:
    """The stages of the plan with which the folder was last run. Raises UsageError if it is no run's folder."""
    path = root / PLAN
    try:
        if not path.exists():
            raise UsageError(f"--workdir: {root} holds no run (no {PLAN}); expected the --workdir of an earlier run")
        return [Stage(s["name"], s["kind"], s["key"], {}, tuple(s["inputs"])) for s in read_json(path)]
    except (OSError, KeyError, TypeError) as error:
        raise UsageError(f"--workdir: {path} is not a plan of this program; expected the --workdir of a run") from error


def read_record(path: Path, *keys: str) -> dict[str, Any]:
    """The JSON object that a run has written, with these keys at least. Raises LitesmithError if it is damaged."""
    try:
        found = read_json(path)
    except OSError as error:
        raise LitesmithError(f"{path}: cannot be read ({error.strerror}); run the command run again") from error
    if not isinstance(found, dict) or not found.keys() >= set(keys):
        raise LitesmithError(f"{path}: is not what a run has written; delete it and run again")
    return found


def _refused(flag: str, root: Path, error: OSError) -> LitesmithError:
    if is_disk_full(error):
        return LitesmithError(f"disk full: {root}; free some space and run the command again")
    return UsageError(f"{flag}: {root} is not writable ({error.strerror})")


def _described(stage: Stage) -> dict[str, Any]:
    return {"name": stage.name, "kind": stage.kind, "key": stage.key, "inputs": list(stage.inputs)}


def _completed(old: Any, defaults: Any) -> Any:
    """A pinned configuration with the defaults of settings that came after it was written."""
    if not isinstance(old, dict) or not isinstance(defaults, dict):
        return old
    return defaults | {key: _completed(value, defaults.get(key)) for key, value in old.items()}


def _without_publication(plain: Any) -> Any:
    """A configuration without where and whether its release is published, which may change from run to run."""
    if not isinstance(plain, dict) or not isinstance(plain.get("release"), dict):
        return plain
    return {**plain, "release": {key: value for key, value in plain["release"].items() if key not in PUBLICATION}}


def _first_difference(old: Any, new: Any, where: str) -> str:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            difference = _first_difference(old.get(key), new.get(key), f"{where}.{key}")
            if difference:
                return difference
        return ""
    return "" if old == new else f"{where} is {old!r} there, {new!r} now"

"""Is a release, or what was pulled of one, whole, unchanged and at work here? No TensorFlow here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from core.errors import LitesmithError, one_line
from core.values import file_sha256
from core.workspace import read_json
from deploy.app.golden import compare, golden_path, read_golden
from deploy.manifest import MANIFEST, PULLED, Manifest, ReleaseFile, ReleaseModel, read_manifest


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found of a model or a group of files: `name` is the model's file or the group's folder."""

    name: str
    ok: bool
    detail: str


def verify_release(folder: Path) -> tuple[Checked, ...]:
    """Checks all files of a release's folder against its manifest, then runs each model on its golden images.

    In a folder that `pull` has made, which pulled.json tells, only the pulled model and its files must be there. What
    is not as the manifest says is not opened. Raises UsageError if there is no release, LitesmithError if its manifest
    is damaged.
    """
    manifest = read_manifest(folder)
    record = _pulled(folder)
    needed = _needed(folder, manifest, record)
    problems = {file.path: _problem(folder, file, file.path in needed) for file in manifest.all_files}
    models = [model for model in manifest.artifacts if model.file in needed or (folder / model.file).exists()]
    found = [_checked_model(folder, model, problems) for model in models]
    for name, files in _groups(manifest).items():
        there = [file for file in files if file.path in needed or (folder / file.path).exists()]
        if there:
            found.append(_checked_group(name, there, problems))
    if record is not None:
        found.append(_checked_manifest(folder, record))
    return tuple(found)


def _pulled(folder: Path) -> dict[str, Any] | None:
    """What `pull` has noted; None if it did not make the folder."""
    path = folder / PULLED
    if not path.exists():
        return None
    try:
        plain = read_json(path)
    except OSError as error:
        raise LitesmithError(f"{path}: cannot be read ({error.strerror}); pull again") from error
    return plain if isinstance(plain, dict) else {}


def _checked_manifest(folder: Path, record: dict[str, Any]) -> Checked:
    """The manifest against the checksum that it had in the store."""
    same = file_sha256(folder / MANIFEST) == record.get("manifest_sha256")
    return Checked(MANIFEST, same, "as it was pulled" if same else "is not the one that was pulled")


def _needed(folder: Path, manifest: Manifest, record: dict[str, Any] | None) -> frozenset[str]:
    """The paths that must be there."""
    if record is None:
        return frozenset(file.path for file in manifest.all_files)
    name = record.get("model")
    for model in manifest.artifacts:
        if model.file == name:
            return frozenset((model.file, model.labels, *model.extras))
    raise LitesmithError(f"{folder / PULLED}: it names the model {name!r}, which the manifest has not; pull again")


def _problem(folder: Path, file: ReleaseFile, is_needed: bool) -> str:
    """What is wrong with a file, "" for nothing."""
    path = folder / file.path
    try:
        size_bytes = path.stat().st_size
        if size_bytes != file.size_bytes:
            return f"{size_bytes} bytes instead of {file.size_bytes}"
        return "" if file_sha256(path) == file.sha256 else "its checksum is another one"
    except FileNotFoundError:
        return "missing" if is_needed else ""
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def _checked_model(folder: Path, model: ReleaseModel, problems: dict[str, str]) -> Checked:
    if problems[model.file]:
        return Checked(model.file, False, problems[model.file])
    golden = golden_path(model.file)
    if golden not in model.extras:
        return Checked(model.file, True, "checksum right; the release has no golden outputs of it")
    broken = [path for path in model.extras if problems[path] and PurePosixPath(path).parts[0] == "golden"]
    if broken:
        return Checked(model.file, False, f"checksum right; not run, because {broken[0]}: {problems[broken[0]]}")
    try:
        ok, detail = _golden_result(folder, model, golden)
    except LitesmithError as error:
        ok, detail = False, one_line(error)
    return Checked(model.file, ok, f"checksum right; {detail}")


def _golden_result(folder: Path, model: ReleaseModel, path: str) -> tuple[bool, str]:
    golden = read_golden(folder / path)
    if golden.model != model.file or golden.sha256 != model.sha256:
        raise LitesmithError(f"{path}: golden outputs of another model, {golden.model}")
    if not {image.file for image in golden.images} <= set(model.extras):
        raise LitesmithError(f"{path}: it names an image that is not of this model")
    found = compare(folder, golden)
    if found.wrong:
        more = f" (and {len(found.wrong) - 1} more)" if len(found.wrong) > 1 else ""
        return False, f"golden outputs differ: {found.wrong[0]}{more}; they are of {golden.runtime}"
    if found.equal == found.images:
        return True, f"{found.images} golden images, outputs equal in every bit"
    unit = "steps" if golden.dtype == "uint8" else "of 1"
    return True, (
        f"{found.images} golden images, {found.equal} outputs equal in every bit, the others off by up to "
        f"{found.largest:.3g} {unit}, within tolerance; golden outputs are of {golden.runtime}"
    )


def _groups(manifest: Manifest) -> dict[str, list[ReleaseFile]]:
    """The files beside the models by the folder that they are in; a file that is in none is a group by itself."""
    groups: dict[str, list[ReleaseFile]] = {}
    for file in sorted(manifest.files, key=lambda file: ("/" in file.path, file.path)):
        groups.setdefault(PurePosixPath(file.path).parts[0], []).append(file)
    return groups


def _checked_group(name: str, files: Iterable[ReleaseFile], problems: dict[str, str]) -> Checked:
    paths = [file.path for file in files]
    broken = [path for path in paths if problems[path]]
    if broken:
        what = problems[broken[0]] if broken[0] == name else f"{broken[0]}: {problems[broken[0]]}"
        return Checked(name, False, what + (f" (and {len(broken) - 1} more)" if len(broken) > 1 else ""))
    return Checked(name, True, "checksum right" if paths == [name] else f"{len(paths)} files, checksums right")

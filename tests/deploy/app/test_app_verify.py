from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from core.errors import LitesmithError
from core.values import file_sha256
from deploy.app.verify import Checked, verify_release
from deploy.manifest import Manifest, manifest_bytes
from tests.deploy.app.releases import pulled

Release = tuple[Path, Manifest]


def by_name(found: tuple[Checked, ...]) -> dict[str, Checked]:
    return {checked.name: checked for checked in found}


def failed(folder: Path) -> dict[str, str]:
    """What is wrong, by model or group."""
    return {checked.name: checked.detail for checked in verify_release(folder) if not checked.ok}


def changed_byte(path: Path) -> None:
    """Changes one bit in the middle of a file, whose size stays."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.fixture
def copy(release: Release, tmp_path: Path) -> Path:
    shutil.copytree(release[0], tmp_path / "copy")
    return tmp_path / "copy"


def test_a_release_is_well(release: Release) -> None:
    found = by_name(verify_release(release[0]))
    assert all(checked.ok for checked in found.values())
    for scheme in ("float32", "full_integer", "int4_weights"):
        detail = found[f"{scheme}.tflite"].detail
        assert "4 golden images, outputs equal in every bit" in detail  # the same computer has recorded them
    assert found["labels.txt"].detail == "checksum right"
    assert set(found) >= {"golden", "snippets", "float32.md"}


@pytest.mark.parametrize("path", ["full_integer.tflite", "labels.txt", "snippets/float32.py", "float32.md"])
def test_a_changed_byte_is_noticed(copy: Path, path: str) -> None:
    changed_byte(copy / path)
    found = failed(copy)
    assert list(found) == [path.split("/")[0]]
    assert "its checksum is another one" in found[path.split("/")[0]]


def test_a_changed_golden_file_is_noticed_and_not_used(copy: Path) -> None:
    changed_byte(copy / "golden/full_integer.json")
    found = failed(copy)
    assert set(found) == {"golden", "full_integer.tflite"}
    assert found["full_integer.tflite"].endswith("golden/full_integer.json: its checksum is another one")
    assert "not run" in found["full_integer.tflite"]


def test_a_changed_golden_image_is_noticed(copy: Path, release: Release) -> None:
    image = next(path for path in release[1].artifacts[0].extras if path.endswith(".png"))
    changed_byte(copy / image)
    found = failed(copy)
    assert found["golden"] == f"{image}: its checksum is another one"
    assert "float32.tflite" in found and "labels.txt" not in found


def test_missing_and_truncated_files_are_noticed(copy: Path) -> None:
    (copy / "int4_weights.tflite").unlink()
    (copy / "float32.tflite").write_bytes((copy / "float32.tflite").read_bytes()[:-1])
    found = failed(copy)
    assert found["int4_weights.tflite"] == "missing"
    assert "bytes instead of" in found["float32.tflite"]


def rewritten(folder: Path, manifest: Manifest, path: str, content: bytes) -> None:
    """Changes a file and the manifest with it, as a release that was made wrongly would have both."""
    (folder / path).write_bytes(content)
    sha256 = file_sha256(folder / path)
    files = tuple(
        dataclasses.replace(file, sha256=sha256, size_bytes=len(content)) if file.path == path else file
        for file in manifest.files
    )
    (folder / "manifest.json").write_bytes(manifest_bytes(dataclasses.replace(manifest, files=files)))


def golden_with(folder: Path, **changes: object) -> bytes:
    plain = json.loads((folder / "golden/full_integer.json").read_text())
    image = plain["images"][0]
    image.update({key: value for key, value in changes.items() if key in image})
    plain.update({key: value for key, value in changes.items() if key in plain})
    return json.dumps(plain).encode()


def test_other_scores_are_noticed(copy: Path, release: Release) -> None:
    image = json.loads((copy / "golden/full_integer.json").read_text())["images"][0]
    others = [(score + 3) % 256 for score in image["scores"]]
    rewritten(copy, release[1], "golden/full_integer.json", golden_with(copy, scores=others))
    detail = failed(copy)["full_integer.tflite"]
    assert "golden outputs differ" in detail and image["file"] in detail and "(at most 1)" in detail


def test_one_step_off_is_told_and_allowed(copy: Path, release: Release) -> None:
    scores = json.loads((copy / "golden/full_integer.json").read_text())["images"][0]["scores"]
    place = scores.index(min(scores))
    scores[place] += 1
    rewritten(copy, release[1], "golden/full_integer.json", golden_with(copy, scores=scores))
    checked = by_name(verify_release(copy))["full_integer.tflite"]
    assert checked.ok
    assert "3 outputs equal in every bit, the others off by up to 1 steps, within tolerance" in checked.detail


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sha256": "0" * 64}, "golden outputs of another model"),
        ({"file": "labels.txt"}, "it names an image that is not of this model"),
        ({"scores": [1, 2]}, "10 scores for .*, expected 2"),
        ({"scores": "none"}, "not golden outputs of this version"),
    ],
)
def test_golden_outputs_that_do_not_fit(copy: Path, release: Release, changes: dict[str, object], message: str) -> None:
    rewritten(copy, release[1], "golden/full_integer.json", golden_with(copy, **changes))
    found = failed(copy)
    assert list(found) == ["full_integer.tflite"]
    assert re.search(message, found["full_integer.tflite"])


def test_a_pulled_model_needs_its_own_files_alone(release: Release, tmp_path: Path) -> None:
    out = pulled(release[0], tmp_path / "pulled", release[1], "full_integer.tflite")
    found = by_name(verify_release(out))
    assert all(checked.ok for checked in found.values())
    assert "full_integer.tflite" in found and "float32.tflite" not in found
    (out / "snippets/full_integer.py").unlink()
    assert failed(out) == {"snippets": "snippets/full_integer.py: missing"}
    (out / "float32.tflite").write_bytes(b"another file of this name")
    assert set(failed(out)) == {"snippets", "float32.tflite"}


def test_a_record_of_another_model_is_refused(release: Release, tmp_path: Path) -> None:
    out = pulled(release[0], tmp_path / "pulled", release[1], "full_integer.tflite")
    (out / "pulled.json").write_text('{"model": "none.tflite"}')
    with pytest.raises(LitesmithError, match=r"names the model 'none\.tflite', which the manifest has not"):
        verify_release(out)
    (out / "pulled.json").unlink()
    (out / "pulled.json").mkdir()
    with pytest.raises(LitesmithError, match=r"pulled\.json: cannot be read"):
        verify_release(out)


def test_a_changed_manifest_of_a_pulled_model_is_noticed(release: Release, tmp_path: Path) -> None:
    out = pulled(release[0], tmp_path / "pulled", release[1], "full_integer.tflite")
    assert by_name(verify_release(out))["manifest.json"].detail == "as it was pulled"
    text = (out / "manifest.json").read_text()
    (out / "manifest.json").write_text(text.replace('"winner": 0', '"winner": 1'))
    assert failed(out) == {"manifest.json": "is not the one that was pulled"}


def test_verify_needs_no_tensorflow(release: Release) -> None:
    code = (
        "import sys; from pathlib import Path; from deploy.app.verify import verify_release\n"
        "assert all(checked.ok for checked in verify_release(Path(sys.argv[1])))\n"
        "heavy = {'tensorflow', 'tf_keras', 'scipy', 'jinja2'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(release[0])], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

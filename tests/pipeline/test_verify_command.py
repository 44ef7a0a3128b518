"""The command `verify`, and the Python snippet beside the images of stage data."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.errors import EXIT_DONE, EXIT_FAILED, LitesmithError, UsageError
from deploy.app.verify import verify_release
from deploy.interpreter import predict
from deploy.manifest import Manifest
from deploy.store.signing import generate, sign
from pipeline.call import Call
from pipeline.commands import verify
from pipeline.datasets.source import fit_square
from tests.deploy.app.conftest import app_files, app_images, app_test, release  # noqa: F401  # fixtures
from tests.deploy.app.test_app_snippets import run_snippet

Release = tuple[Path, Manifest]


def call(*arguments: str, **flags: str) -> Call:
    def unused() -> None:
        raise AssertionError("verify reads no configuration and no folder of a run")

    return Call(arguments, dict(flags), unused, unused, False, False)  # type: ignore[arg-type]


@pytest.fixture
def copy(release: Release, tmp_path: Path) -> Path:  # noqa: F811
    shutil.copytree(release[0], tmp_path / "copy")
    return tmp_path / "copy"


def test_the_command(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify.run(call(str(copy))) == EXIT_DONE
    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith("ok ") for line in lines) and len(lines) == len(verify_release(copy))
    (copy / "labels.txt").write_text("others\n")
    assert verify.run(call(str(copy))) == EXIT_FAILED
    assert [line.split()[:2] for line in capsys.readouterr().out.splitlines() if not line.startswith("ok ")] == [
        ["MISMATCH", "labels.txt"]
    ]


def test_the_command_with_a_public_key(copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    public_key = str(generate(tmp_path / "key"))
    with pytest.raises(LitesmithError, match=r"manifest\.json: is not signed"):
        verify.run(call(str(copy), public_key=public_key))
    (copy / "manifest.json.sig").write_bytes(sign((copy / "manifest.json").read_bytes(), tmp_path / "key"))
    assert verify.run(call(str(copy), public_key=public_key)) == EXIT_DONE
    assert capsys.readouterr().out.endswith(f"manifest.json is signed with {public_key}\n")
    with pytest.raises(LitesmithError, match="signed with key"):
        verify.run(call(str(copy), public_key=str(generate(tmp_path / "other"))))


def test_the_command_without_a_release(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no manifest\.json that can be read"):
        verify.run(call(str(tmp_path)))
    with pytest.raises(UsageError, match="expected one folder with a release; got none"):
        verify.run(call())
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(LitesmithError, match="damaged manifest") as caught:
        verify.run(call(str(tmp_path)))
    assert caught.value.exit_code == EXIT_FAILED


def test_the_python_snippet_treats_photos_as_training_does(release: Release, tmp_path: Path) -> None:  # noqa: F811
    """A wide photo that lies on its side, in grey with transparency: turned upright, cut, resized, RGB."""
    pixels = np.random.default_rng(5).integers(0, 256, (90, 40), np.uint8)
    photo = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[0x0112] = 6  # Orientation: turn by 90 degrees to the right
    photo.save(tmp_path / "photo.png", exif=exif)
    upright = fit_square(photo.transpose(Image.Transpose.ROTATE_270).convert("RGB"), 28)
    expected = predict(release[0] / "full_integer.tflite", np.asarray(upright)[np.newaxis])[0]
    done = run_snippet(release[0], "full_integer", str(tmp_path / "photo.png"))
    assert done.stdout.split()[0] == f"{expected.max():.1%}"

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deploy.app.snippets import snippet_paths
from deploy.interpreter import predict
from deploy.manifest import Manifest
from search.dataset import ImageSet
from tests.deploy.app.android_stubs import write_stubs
from tests.deploy.app.releases import LABELS

Release = tuple[Path, Manifest]
SCHEMES = ("float32", "full_integer", "int4_weights")
RELEASES_PAGE = Path(__file__).parents[3] / "docs" / "releases.md"


def run_snippet(folder: Path, scheme: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """In a process that sees nothing of this project."""
    return subprocess.run(
        [sys.executable, "-I", str(folder / f"snippets/{scheme}.py"), *arguments],
        cwd=folder.parent,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_python_snippet_runs(release: Release, app_test: ImageSet, tmp_path: Path, scheme: str) -> None:
    folder, image = release[0], app_test.rgb()[7]
    Image.fromarray(image).save(tmp_path / "image.png")
    done = run_snippet(folder, scheme, str(tmp_path / "image.png"))
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    expected = predict(folder / f"{scheme}.tflite", image[np.newaxis])[0]
    best = np.sort(expected)[::-1][:5]
    assert [f"{score:.1%}" for score in best] == [line[0] for line in lines]
    assert expected[LABELS.index(lines[0][1])] == best[0]  # of equal scores either comes first


def test_the_python_snippet_tells_its_usage(release: Release) -> None:
    done = run_snippet(release[0], "float32")
    assert done.returncode == 1 and "usage: python" in done.stderr and done.stderr.count("\n") == 1


def compiled(command: list[str], files: list[Path], package: str) -> None:
    """Runs a compiler of a Debian package on files."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"needs the Debian package {package}")
    done = subprocess.run([*command, *map(str, files)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def javac(files: list[Path], folder: Path) -> None:
    """Compiles files against declarations of what they use, into folder/classes."""
    write_stubs(folder / "stubs")
    options = ["-proc:none", "-sourcepath", str(folder / "stubs"), "-d", str(folder / "classes")]
    compiled(["javac", *options], files, "default-jdk-headless")


def test_java_compiles(release: Release, release_with_metadata: Release, tmp_path: Path) -> None:
    """Snippets for the Task Library, wrappers, and snippets for models that the Task Library does not take."""
    with_metadata = sorted(release_with_metadata[0].rglob("*.java"))
    assert len(with_metadata) == 4
    text = (release_with_metadata[0] / snippet_paths("float32.tflite")[2]).read_text()
    assert "ImageClassifier.createFromFileAndOptions" in text
    plain = []
    for scheme in SCHEMES:
        source = release[0] / snippet_paths(f"{scheme}.tflite")[2]
        text = source.read_text()
        assert "org.tensorflow.lite.Interpreter" in text
        plain.append(tmp_path / source.name)
        plain[-1].write_text(text.replace("package com.example.litesmith;", "package plain;"))  # for the same names
    javac([*with_metadata, *plain], tmp_path)


def test_kotlin_compiles(release: Release, tmp_path: Path) -> None:
    """The snippets, and the class of docs/releases.md for training on the device, as the page has it."""
    files = [release[0] / snippet_paths(f"{scheme}.tflite")[1] for scheme in SCHEMES]
    page = RELEASES_PAGE.read_text(encoding="utf-8")
    (code,) = re.findall(r"^```kotlin\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert "class PersonalClassifier(" in code
    files.append(tmp_path / "PersonalClassifier.kt")
    files[-1].write_text(code, encoding="utf-8")
    if shutil.which("kotlinc") is None:
        pytest.skip("needs the Debian package kotlin")
    write_stubs(tmp_path / "stubs")
    javac(list((tmp_path / "stubs").rglob("*.java")), tmp_path)
    options = ["-classpath", str(tmp_path / "classes"), "-d", str(tmp_path / "kotlin")]
    compiled(["kotlinc", *options], files, "kotlin")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_kotlin_names_the_files_and_fits_the_model(release: Release, scheme: str) -> None:
    path = snippet_paths(f"{scheme}.tflite")[1]
    text = (release[0] / path).read_text()
    for asset in re.findall(r'(?:mapped|open)\("([^"]+)"\)', text):
        assert (release[0] / asset).is_file(), asset
    assert f"class {Path(path).stem}(" in text and "package com.example.litesmith\n" in text
    assert "const val SIDE = 28" in text and "const val OUTPUTS = 10" in text
    assert ("const val SCALE = 0.00390625f" in text) == (scheme == "full_integer")
    for opening, closing in ("()", "[]", "{}"):
        assert text.count(opening) == text.count(closing)
    imported = re.findall(r"^import [\w.]+\.(\w+)$", text, re.MULTILINE)
    body = re.sub(r"^import .*$", "", text, flags=re.MULTILINE)
    assert len(imported) > 5 and all(re.search(rf"\b{name}\b", body) for name in imported)

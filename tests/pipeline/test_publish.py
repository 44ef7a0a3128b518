"""Releases as their publisher meets them: published, nothing new, refused, told to. Real runs of a tiny model."""

from __future__ import annotations

import dataclasses
import itertools
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.errors import LitesmithError, UsageError
from core.progress import Reporter
from core.workspace import read_json
from deploy.app.verify import verify_release
from deploy.manifest import MANIFEST, Manifest, manifest_bytes, read_manifest
from deploy.personalize_check import Trainable
from deploy.predictions import PREDICTIONS, parse_predictions
from deploy.store.channels import read_channel
from deploy.store.filesystem import open_store
from deploy.store.publish import Published
from deploy.store.pull import pull
from deploy.store.select import Wish
from pipeline import publish as publishing
from pipeline.closing import closing_lines
from pipeline.config import Config
from pipeline.previous import Seen
from pipeline.publish import publish_run
from pipeline.report_releases import PreviousRelease, read_previous
from pipeline.workdir import PUBLICATION_RECORD
from tests.deploy.store.store_samples import listed, pointed, tree
from tests.pipeline.release_runs import release_config, run, write_images, write_model

ROOT = Path(__file__).parents[2]
Out = pytest.CaptureFixture[str]
Publish = Callable[..., int]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two finished runs without a store: `good`, and `bad`, whose model takes class 0 for 1 and 1 for 0."""
    folder = tmp_path_factory.mktemp("finished")
    write_images(folder / "images.npz")
    for name, order in (("good", (0, 1, 2)), ("bad", (1, 0, 2))):
        write_model(folder / f"{name}.keras", order)
        assert run(_config(folder, name), folder / name) == []
    return folder


def _config(folder: Path, name: str) -> Config:
    return release_config(folder / "images.npz", folder / f"{name}.keras")


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    """The finished runs, to change."""
    for name in ("good", "bad"):
        shutil.copytree(finished / name, tmp_path / name)
    return tmp_path


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


def publish(folder: Path, store: Path, channel: str = "latest", allow: bool = False) -> int:
    return publish_run(folder, str(store), channel, None, allow, Reporter())


def previous(workdir: Path) -> PreviousRelease | None:
    (stage,) = workdir.glob("stages/previous-*")
    return read_previous(stage)


def changed(workdir: Path, **values: object) -> Manifest:
    """The folder's release with another manifest."""
    manifest = dataclasses.replace(read_manifest(workdir / "release"), **values)  # type: ignore[arg-type]
    (workdir / "release" / MANIFEST).write_bytes(manifest_bytes(manifest))
    return manifest


def test_a_run_s_release_has_what_the_gates_need(finished: Path) -> None:
    manifest = read_manifest(finished / "good" / "release")
    assert manifest.command == "python -m pipeline.main run" and not manifest.failed
    assert manifest.key == read_json(finished / "good" / "published.json")["release"]
    assert (manifest.test_set.images, manifest.test_set.class_names) == (60, ("0", "1", "2"))
    assert "store" not in manifest.config["release"]
    told = parse_predictions((finished / "good" / "release" / PREDICTIONS).read_bytes(), "x")
    for model in manifest.artifacts:
        assert model.test_accuracy == np.mean(told.predicted[model.file] == told.label) == 1.0
        assert model.latency[0].device and model.latency[0].processes == 1
        assert model.val_accuracy == 1.0
    (stage,) = finished.glob("bad/stages/w0.float.float32.validate-*")
    with np.load(stage / "predictions.npz") as kept:
        assert {name: kept[name].dtype.name for name in kept} == {
            "predicted": "int32",
            "confidence": "float32",
            "of_label": "float32",
        }
        wrong = kept["predicted"] != told.label
        assert wrong.sum() == 40  # classes 0 and 1 of 60 images
        assert np.all(kept["of_label"][wrong] < kept["confidence"][wrong])
        np.testing.assert_array_equal(kept["of_label"][~wrong], kept["confidence"][~wrong])


def test_a_run_is_published_and_again_it_is_nothing_new(finished: Path, folder: Path, store: Path, capsys: Out) -> None:
    config = _config(finished, "good")
    assert run(config, folder / "good", store=str(store)) == []
    assert previous(folder / "good") is None
    assert publish(folder / "good", store) == 0
    assert "published: squares-" in capsys.readouterr().out
    before = tree(store)
    stages = {path: path.stat().st_mtime_ns for path in folder.glob("good/stages/*/*")}
    assert run(config, folder / "good", store=str(store)) == []
    assert {path: path.stat().st_mtime_ns for path in folder.glob("good/stages/*/*")} == stages
    assert publish(folder / "good", store) == 0
    assert "nothing new: " in capsys.readouterr().out
    assert tree(store) == before
    (release,) = listed(open_store(str(store)))
    page = (store / "releases" / release / "report" / "index.html").read_text()
    assert 'href="../squares-ptq.tflite' in page and "../release/" not in page


def test_a_worse_release_is_refused_unless_told(finished: Path, folder: Path, store: Path, capsys: Out) -> None:
    assert publish(folder / "good", store) == 0
    first = read_manifest(folder / "good" / "release").release_id
    config, before = _config(finished, "bad"), tree(store)
    assert run(config, folder / "bad", store=str(store)) == []
    capsys.readouterr()
    assert publish(folder / "bad", store) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3 and all(line.startswith("litesmith: ") for line in lines)
    assert "squares-float32.tflite: accuracy 100.00 % -> 33.33 %" in lines[0] and "40 of 60 test images" in lines[0]
    assert f"not published: 2 regressions against {first}; --allow_regression" in lines[2]
    assert tree(store) == before

    found = previous(folder / "bad")
    assert found is not None and found.release_id == first
    assert [entry.release_id for entry in found.history] == [first]
    assert found.history[0].models[1].file == "squares-ptq.tflite"
    verdicts = {(change.model, change.what): change.verdict for change in found.changes}
    assert verdicts["squares-ptq.tflite", "accuracy"] == "regression" and verdicts["squares-ptq.tflite", "size"] == "ok"
    told = json.loads((folder / "bad" / "report" / "report.json").read_text())["report"]["previous"]
    assert told["release_id"] == first

    assert publish(folder / "bad", store, allow=True) == 0
    assert "regression, allowed: squares-float32.tflite" in capsys.readouterr().out
    assert len(listed(open_store(str(store)))) == 2
    assert run(config, folder / "bad", store=str(store)) == []  # told of what it was compared with, not of itself
    assert previous(folder / "bad") == found
    assert publish(folder / "bad", store) == 0
    assert "nothing new" in capsys.readouterr().out


def test_the_limits_are_those_of_the_configuration(finished: Path, folder: Path, store: Path) -> None:
    assert publish(folder / "good", store) == 0
    assert run(_config(finished, "bad"), folder / "bad", store=str(store), max_accuracy_loss=1.0) == []
    assert publish(folder / "bad", store) == 0


def test_the_gate_is_the_channel_s(folder: Path, store: Path, capsys: Out) -> None:
    """What is worse than nothing before it in one channel may still be worse than what another one has."""
    assert publish(folder / "good", store) == 0
    assert publish(folder / "bad", store, "nightly") == 0
    assert publish(folder / "bad", store) == 1
    channel = read_channel(open_store(str(store)), "latest")
    assert channel is not None and channel.release == read_manifest(folder / "good" / "release").release_id


def test_a_model_that_is_gone_is_named(folder: Path, store: Path, capsys: Out) -> None:
    assert publish(folder / "good", store) == 0
    whole = read_manifest(folder / "good" / "release")
    kept = tuple(dataclasses.replace(model, recipe=f"{model.recipe}2") for model in whole.artifacts)
    created = "2099-01-01T00:00:00+00:00"
    changed(folder / "good", artifacts=kept, key="other", created=created)
    assert publish(folder / "good", store) == 0
    assert "squares-ptq.tflite: no longer in the release" in capsys.readouterr().out
    changed(folder / "good", key="other2", created=created, failed=("squares-ptq.tflite",), artifacts=whole.artifacts)
    assert publish(folder / "good", store) == 1
    assert "squares-ptq2.tflite" not in capsys.readouterr().err


def test_a_channel_that_another_publisher_moves_meanwhile_is_compared_again(
    folder: Path, store: Path, capsys: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the gates, which find nothing to compare with, and the store's lock, a better release is published."""
    put = publishing.publish

    def later(*arguments: Any) -> Published:
        monkeypatch.setattr(publishing, "publish", put)
        assert publish(folder / "good", store) == 0
        return put(*arguments)

    monkeypatch.setattr(publishing, "publish", later)
    assert publish(folder / "bad", store) == 1
    told = capsys.readouterr()
    assert "channel latest has changed meanwhile" in told.out and "not published: 2 regressions" in told.err
    assert listed(open_store(str(store))) == [read_manifest(folder / "good" / "release").release_id]


def test_a_channel_that_never_stays_ends_in_one_line(
    folder: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = (Seen(f"r-{number}") for number in itertools.count())
    monkeypatch.setattr(publishing, "look", lambda store, channel, is_own: (next(answers), False))
    monkeypatch.setattr(publishing, "_passes", lambda *arguments: True)
    with pytest.raises(LitesmithError, match="other publishers keep changing the channel latest; try again"):
        publish(folder / "good", store)
    assert listed(open_store(str(store))) == []


def test_a_store_that_cannot_be_written_to_is_refused_before_it_is_asked(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"--store: 'http://127\.0\.0\.1:1/models' .* a store that can be written to"):
        publish_run(folder / "good", "http://127.0.0.1:1/models", "latest", None, False, Reporter())


def test_a_run_killed_anywhere_in_its_publishing_is_mended_by_the_next(
    finished: Path, folder: Path, store: Path, tmp_path: Path
) -> None:
    assert publish(folder / "good", store) == 0
    first = read_manifest(folder / "good" / "release").release_id
    assert run(_config(finished, "bad"), folder / "bad", store=str(store)) == []
    out = tmp_path / "out"
    module = [sys.executable, "-m", "tests.pipeline.killed_runs", "10", folder / "bad", store, out]
    done = _call([*map(str, module), *_flags(finished, "bad"), "--config.release.allow_regression=True"])
    assert done.returncode == 0, done.stderr
    code, *kills = done.stdout.split()
    assert code == "0" and len(kills) >= 10
    assert {text.partition(":")[2] for text in kills} == {f"{-signal.SIGKILL}:0"}
    reached = []
    for name in (text.partition(":")[0] for text in kills):
        left, mended = (open_store(str(out / name / folder)) for folder in ("left", "store"))
        ids = listed(left)
        assert ids[-1] == first and len(ids) <= 2 and pointed(left, "latest").release in ids
        reached.append((len(ids), pointed(left, "latest").sequence))
        assert len(listed(mended)) == 2 and pointed(mended, "latest").sequence == 2
        assert tree(out / name / "store") == tree(out / "whole" / "store")
        assert not list((out / name / "store").rglob(".tmp-*"))
        outcome = "published" if len(ids) == 1 else "nothing new"
        assert read_json(out / name / "run" / PUBLICATION_RECORD)["outcome"] == outcome
    assert {(1, 1), (2, 2)} <= set(reached) and reached == sorted(reached)


def test_a_model_that_learns_is_released_beside_the_others(
    finished: Path, folder: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(folder / "state"))
    name, release = "squares-personalize", folder / "good" / "release"
    changes = {"on_device_training": True, "spare_classes": 2}
    assert run(_config(finished, "good"), folder / "good", new_config=True, **changes) == []
    assert closing_lines(folder / "good")[1].startswith(f"{name}.tflite: 1.")  # it has four signatures
    summary = (folder / "good" / "report" / "summary.md").read_text()
    assert "squares-ptq.tflite is the best" in summary and f"| {name}.tflite | personalize |" in summary
    assert publish(folder / "good", store) == 0
    found = pull(open_store(str(store)), None, Wish(), folder / "usual", None, Reporter())
    assert found.selection.model.file == "squares-ptq.tflite"

    pull(open_store(str(store)), None, Wish(model="personalize"), folder / "pulled", None, Reporter())
    files = {f"{name}.tflite", f"{name}.md", "labels.txt", f"golden/{name}.json", f"snippets/{name}.py"}
    assert files <= tree(folder / "pulled").keys()
    for place in (release, folder / "pulled"):
        assert all(checked.ok for checked in verify_release(place))
    assert "`train`, `infer`, `save` and `restore`" in (folder / "pulled" / f"{name}.md").read_text()
    assert Trainable(folder / "pulled" / f"{name}.tflite").save()["bias"].shape == (5,)
    (golden,) = (folder / "pulled" / "golden").glob("*.json")
    for image in read_json(golden)["images"]:
        told = _call(
            [sys.executable, str(folder / "pulled" / f"snippets/{name}.py"), str(golden.parents[1] / image["file"])]
        )
        first, *others = told.stdout.splitlines()
        assert told.returncode == 0 and first.split()[1] == image["class_name"] and len(others) == 2  # no spare class


def test_float_models_alone_are_not_published_if_the_others_failed(folder: Path, store: Path) -> None:
    whole = read_manifest(folder / "good" / "release")
    changed(folder / "good", artifacts=whole.artifacts[:1], failed=("squares-ptq.tflite",))
    with pytest.raises(LitesmithError, match=r"nothing but float32 models could be made; failed: squares-ptq\.tflite"):
        publish(folder / "good", store)
    assert not store.exists()


@pytest.mark.parametrize(("lose", "words"), [("release", "its release is to be made"), ("plan.json", "holds no run")])
def test_a_folder_without_a_finished_run_is_refused(folder: Path, store: Path, lose: str, words: str) -> None:
    path = folder / "good" / lose
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(UsageError, match=f"^--workdir: .*{words}") as caught:
        publish(folder / "good", store)
    assert "\n" not in str(caught.value) and not store.exists()


def _command(finished: Path, name: str, workdir: Path, *others: str) -> list[str]:
    return [sys.executable, "-m", "pipeline.main", "run", *_flags(finished, name), f"--workdir={workdir}", *others]


def _flags(finished: Path, name: str) -> list[str]:
    config = ["--config=tests/testdata/squares.py", f"--config.data.name=npz:{finished}/images.npz"]
    return [*config, f"--config.model.file={finished}/{name}.keras"]


def _call(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


def test_the_command_run_publishes_at_its_end(finished: Path, folder: Path, store: Path) -> None:
    publishing = [f"--config.release.store={store}", "--config.release.channel=nightly"]
    done = _call(_command(finished, "good", folder / "good", *publishing))
    assert done.returncode == 0, done.stderr
    assert "published: squares-" in done.stdout
    (path,) = store.glob(f"releases/*/{MANIFEST}")
    assert "nightly" in (store / "channels" / "nightly.json").read_text()
    assert str(store) not in path.read_text()
    refused = _call(_command(finished, "bad", folder / "bad", *publishing))
    assert refused.returncode == 1 and "not published: 2 regressions" in refused.stderr
    told = _call(_command(finished, "bad", folder / "bad", *publishing, "--config.release.allow_regression=True"))
    assert told.returncode == 0, told.stderr  # the folder goes on, though this key is another one


def test_a_store_that_cannot_be_read_ends_a_dry_run_in_one_line(finished: Path, folder: Path, store: Path) -> None:
    (store / "channels").mkdir(parents=True)
    (store / "channels" / "latest.json").write_text("{")
    done = _call(_command(finished, "good", folder / "new", f"--config.release.store={store}", "--dry_run"))
    (line,) = done.stderr.splitlines()
    assert done.returncode == 1 and line.startswith("litesmith: ") and "damaged channel" in line
    assert not (folder / "new").exists()

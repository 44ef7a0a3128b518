"""config.release.on_device_training: what the plan adds, and its stages on a small network."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from compress.invariants import Invariants
from compress.storage import save_model
from core.errors import UsageError
from core.progress import SilentReporter
from core.workspace import atomic_write_json, read_json
from deploy.personalize_check import Trainable
from pipeline.config import Config
from pipeline.node import NodeRecord
from pipeline.plan import Plan, make_plan
from pipeline.release_config import ReleaseConfig
from pipeline.runner import StageContext
from pipeline.stages import convert, validate
from search.build import build
from search.grammar import from_text
from search.settings import SearchConfig

ARCH = "input_r16_n2_w1 stem_s2_c8 ir_r1_k3_s1_e2_c8 head_c16"
SPARE = 3


def plan(*, on: bool, spare_classes: int = 0, num_winners: int = 1) -> Plan:
    release = ReleaseConfig(on_device_training=on, spare_classes=spare_classes)
    return make_plan(Config(release=release, search=SearchConfig(num_winners=num_winners)), "fingerprint")


def test_each_winner_has_one_more_model() -> None:
    with_it, without = plan(on=True, num_winners=2), plan(on=False, num_winners=2)
    added = [artifact for artifact in with_it.artifacts if artifact not in without.artifacts]
    assert [(a.name, a.node, a.recipe) for a in added] == [
        (f"w{winner}.float.personalize", f"w{winner}.float", "personalize") for winner in range(2)
    ]
    # tflite-support describes and runs models of one graph.
    assert with_it.stage("w0.float.personalize.convert").params["metadata"] is None
    assert "w0.float.personalize.bench.host" in with_it.stage("report").inputs


def test_no_other_stage_changes_its_key() -> None:
    keys = [{stage.name: stage.key for stage in made.stages} for made in (plan(on=False), plan(on=True))]
    unchanged = {name for name in keys[0] if keys[0][name] == keys[1][name]}
    assert set(keys[0]) - unchanged == {"report", "release"}


def test_spare_classes_are_a_conversion_of_their_own() -> None:
    name = "w0.float.personalize.convert"
    assert plan(on=True).stage(name).key != plan(on=True, spare_classes=1).stage(name).key


def test_an_illegal_number_of_spare_classes_is_refused() -> None:
    with pytest.raises(UsageError, match="spare_classes: -1 is not legal"):
        ReleaseConfig(spare_classes=-1)


def write_data(folder: Path) -> None:
    """Noise, and two classes that mean nothing."""
    folder.mkdir()
    np.save(folder / "images.npy", np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3)).astype(np.uint8))
    np.save(folder / "labels.npy", (np.arange(20) % 2).astype(np.int32))
    np.savez(folder / "rows.npz", train=np.arange(10), val=np.arange(10, 15), test=np.arange(15, 20))
    atomic_write_json(folder / "data.json", {"name": "noise", "class_names": ["a", "b"], "augment": "none"})


def test_the_stages_make_and_check_it(tmp_path: Path) -> None:
    made, name = plan(on=True, spare_classes=SPARE), "w0.float.personalize"
    folders = {"data": tmp_path / "data", "w0.float": tmp_path / "w0.float"}
    write_data(folders["data"])
    folders["w0.float"].mkdir()
    save_model(build(from_text(ARCH)), folders["w0.float"] / "model")
    record = NodeRecord(ARCH, "float", 0.5, Invariants(), 0, 0)
    atomic_write_json(folders["w0.float"] / "node.json", record)
    for kind, run in (("convert", convert.run), ("validate", validate.run)):
        stage = dataclasses.replace(made.stage(f"{name}.{kind}"))
        out = tmp_path / kind
        out.mkdir()
        outcome = run(StageContext(stage, out, tmp_path, folders, SilentReporter()))
        assert not outcome.failure
        folders[stage.name] = out
    artifact = read_json(tmp_path / "convert" / "artifact.json")["artifact"]
    assert artifact["quantization"] == "personalize" and artifact["outputs"][0]["shape"] == [1, 2 + SPARE]
    checked = read_json(tmp_path / "validate" / "validation.json")
    assert checked["top1_agreement"] == 1 and len(checked["confusion"]) == 2
    assert Trainable(tmp_path / "convert" / "model.tflite").save()["bias"].shape == (2 + SPARE,)

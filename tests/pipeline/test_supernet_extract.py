"""The command `extract`: a network out of a finished supernet. The shared weights are fakes, what follows is real."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.errors import LitesmithError, UsageError
from core.progress import SilentReporter
from core.workspace import atomic_write_json, read_json
from pipeline import extract, supernet
from pipeline.config import Config, default_config, validated
from pipeline.data import load
from pipeline.extract import Extracted, ExtractRequest, extract_command
from pipeline.planning import checked_plan
from pipeline.runner import run_stages
from pipeline.stages import extract as extract_stage
from pipeline.stages import float_model
from pipeline.status import show_status
from pipeline.supernet_record import searched_space
from search.cost import cost
from search.grammar import from_text, to_text
from search.latency.reachable import distinct_blocks
from search.latency.table import BlockLatency, LatencyTable, write_latency_table
from search.space import SearchSpace
from search.supernet import accuracy_predictor
from search.supernet.genotypes import smallest_genotype
from search.supernet.specialize import specialize
from search.trials import TrialLog
from tests.pipeline.supernet_runs import SPACE, FakeShared, fake_load, prepared_images, supernet_folder

NETWORKS = 10


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared_images(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def config(images: Path) -> Config:
    settings = default_config()
    settings.data.name = f"npz:{images.parent / 'bright.npz'}"
    settings.data.val_fraction = 0.2
    settings.search.evaluator = "supernet"
    settings.search.max_trials = 3
    settings.search.num_winners = 2
    settings.supernet.predictor_networks = NETWORKS
    settings.supernet.recalibration_images = 20
    settings.supernet.fine_tune_epochs = 1
    settings.teacher.network = None
    settings.train.batch_size = 20
    settings.compress.recipes = ("ptq",)
    settings.bench.processes = 2
    settings.bench.runs = 5
    settings.bench.warmup_runs = 1
    settings.bench.min_seconds = 0.0
    settings.release.metadata = False
    return validated(settings)


@pytest.fixture
def workdir(config: Config, images: Path, tmp_path: Path) -> Path:
    """A run's folder whose supernet is finished."""
    return finished(config, images, tmp_path)


def finished(config: Config, images: Path, tmp_path: Path) -> Path:
    folder, plan = tmp_path / "run", checked_plan(config)
    for name, source in (("data", images), ("supernet", supernet_folder(tmp_path))):
        stage = plan.stage(name)
        shutil.copytree(source, stage.directory(folder))
        atomic_write_json(stage.directory(folder) / "stage.json", {"seconds": 1.0, "summary": "done"})
    return folder


@pytest.fixture(scope="module")
def space(config: Config) -> SearchSpace:
    return searched_space(SPACE, config.supernet, 16, 3)


@pytest.fixture(autouse=True)
def recalibrated(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """How often a network was judged. The weights are fakes, the evolutionary search is short."""
    judged: list[Any] = []
    original = FakeShared.recalibrate

    def counting(self: FakeShared, *arguments: Any) -> None:
        judged.append(arguments)
        original(self, *arguments)

    monkeypatch.setattr(FakeShared, "recalibrate", counting)
    monkeypatch.setattr(supernet, "load_shared", fake_load)
    monkeypatch.setattr(float_model, "load_shared", fake_load)
    monkeypatch.setattr(accuracy_predictor, "MEMBERS", 1)
    monkeypatch.setattr(extract_stage, "specialize", functools.partial(specialize, population=12, generations=2))
    return judged


@pytest.fixture
def search_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing after the choice of the network."""

    def first(stages: Any, *arguments: Any, **named: Any) -> list[str]:
        return run_stages(stages[:3], *arguments, **named)

    monkeypatch.setattr(extract, "run_stages", first)
    monkeypatch.setattr(extract, "closing_lines", lambda out: [])


def taken(config: Config, workdir: Path, out: Path, **asked: Any) -> Extracted:
    return extract_command(ExtractRequest(**asked), config, workdir, out, SilentReporter())


def winner(out: Path) -> dict[str, Any]:
    (path,) = out.glob("stages/search-*/winners.json")
    (trial,) = read_json(path)
    return dict(trial)


def test_a_network_within_a_budget_with_all_its_files(
    config: Config, workdir: Path, tmp_path: Path, recalibrated: list[Any]
) -> None:
    out = tmp_path / "out"
    found = taken(config, workdir, out, max_macs=6e5)
    assert found.failures == []
    trial = winner(out)
    arch = from_text(trial["arch"])
    assert cost(arch).macs <= 6e5
    (log,) = out.glob("stages/search-*/trials.jsonl")
    trials = TrialLog(log).trials
    assert len(trials) == extract_stage.FINALISTS
    assert trial["score"] == max(judged.score for judged in trials)
    judged_blocks = [sum(len(stage.blocks) for stage in from_text(judged.arch).stages) for judged in trials]
    assert max(judged_blocks) == sum(len(stage.blocks) for stage in arch.stages)  # FakeShared prefers many blocks
    manifest = json.loads((out / "release" / "manifest.json").read_text())
    assert {entry["recipe"] for entry in manifest["artifacts"]} == {"float32", "ptq"}
    assert all((out / "release" / entry["file"]).exists() for entry in manifest["artifacts"])
    assert f"network: {trial['arch']}" in found.lines
    assert any("with the supernet's weights" in line for line in found.lines)
    assert 'id="supernet"' in (out / "report" / "index.html").read_text()
    assert sorted(path.name for path in workdir.iterdir()) == ["extract", "stages"]
    show_status(out, SilentReporter())

    judged = len(recalibrated)
    assert judged == NETWORKS + extract_stage.FINALISTS + 1  # and the winner once more for its fine-tuning
    before = {path: path.stat().st_mtime_ns for path in out.rglob("stages/*/*")}
    assert taken(config, workdir, out, max_macs=6e5) == found
    assert {path: path.stat().st_mtime_ns for path in out.rglob("stages/*/*")} == before
    with pytest.raises(UsageError, match=r"^--out: .*out holds another network"):
        taken(config, workdir, out, max_macs=5e5)
    assert len(recalibrated) == judged


@pytest.mark.usefixtures("search_only")
def test_what_was_evaluated_serves_the_next_network(
    config: Config, workdir: Path, tmp_path: Path, recalibrated: list[Any]
) -> None:
    taken(config, workdir, tmp_path / "first", max_macs=6e5)
    assert len(recalibrated) == NETWORKS + extract_stage.FINALISTS
    taken(config, workdir, tmp_path / "second", max_macs=4e5)
    assert len(recalibrated) == NETWORKS + 2 * extract_stage.FINALISTS
    assert winner(tmp_path / "second")["metrics"]["macs"] <= 4e5


@pytest.mark.usefixtures("search_only")
def test_the_named_network_is_taken(config: Config, workdir: Path, tmp_path: Path, space: SearchSpace) -> None:
    arch = to_text(space.decode(smallest_genotype(space)))
    found = taken(config, workdir, tmp_path / "out", arch=arch)
    assert winner(tmp_path / "out")["arch"] == arch
    assert "best of 1 that" in found.lines[1] and "predicted" not in found.lines[1]
    again = arch.replace(" ", "  ")  # the same network
    assert taken(config, workdir, tmp_path / "out", arch=again) == found


def latency_table(space: SearchSpace) -> LatencyTable:
    """Every block takes as long as its text is."""
    blocks = tuple(
        BlockLatency(key.text, len(key.text), len(key.text), len(key.text), 1) for key in distinct_blocks(space, "int8")
    )
    return LatencyTable(space.name, "int8", {"name": "phone"}, "tool", "2026-01-31", blocks)


@pytest.mark.usefixtures("search_only")
def test_a_latency_budget_is_that_of_a_table(
    config: Config, workdir: Path, tmp_path: Path, space: SearchSpace, recalibrated: list[Any]
) -> None:
    table, path = latency_table(space), tmp_path / "table.json"
    write_latency_table(path, table)
    least = table.predict(space.decode(smallest_genotype(space))).latency_us
    with pytest.raises(UsageError, match=r"^--max_latency_us: 1\.0 is not legal; expected at least"):
        taken(config, workdir, tmp_path / "none", max_latency_us=1.0, latency_table=str(path))
    assert not (tmp_path / "none").exists() and not recalibrated
    limit = 1.3 * least
    found = taken(config, workdir, tmp_path / "out", max_latency_us=limit, latency_table=str(path))
    trial = winner(tmp_path / "out")
    predicted = table.predict(from_text(trial["arch"])).latency_us
    assert trial["metrics"]["latency_us"] == predicted <= limit
    assert f"predicted {predicted:.1f} us" in found.lines[1]


@pytest.mark.usefixtures("search_only")
def test_without_a_table_one_is_measured_on_the_target_once(
    config: Config, workdir: Path, tmp_path: Path, space: SearchSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def measured(*arguments: Any, **named: Any) -> LatencyTable:
        calls.append(arguments)
        arguments[4].mkdir()
        return latency_table(space)

    monkeypatch.setattr(extract, "build_table", measured)
    for name in ("first", "second"):
        taken(config, workdir, tmp_path / name, max_latency_us=1e6, target="host")
    ((_, scheme, target, *_),) = calls
    assert (scheme, target.name) == ("full_integer", "host")
    settings = read_json(tmp_path / "second" / "config.json")
    assert settings["bench"]["targets"] == ["host"]
    assert Path(settings["search"]["latency_table"]).parent == workdir / "extract"
    once = dataclasses.replace(config, bench=dataclasses.replace(config.bench, processes=1))
    with pytest.raises(UsageError, match=r"^config\.bench\.processes: 1 is not legal; expected 2 or more"):
        taken(once, workdir, tmp_path / "third", max_latency_us=1e6, target="host")


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({}, "extract: expected one of --arch, --max_latency_us and --max_macs, got none"),
        ({"arch": "x", "max_macs": 1.0}, "extract: .*, got --arch, --max_macs"),
        ({"max_macs": -1.0}, r"--max_macs: -1\.0 is not legal"),
        ({"max_macs": 0.0}, r"--max_macs: 0\.0 is not legal"),
        ({"max_latency_us": 0.5}, r"--max_latency_us: 0\.5 is not legal"),
        ({"max_latency_us": float("inf")}, "--max_latency_us: inf is not legal"),
        ({"max_macs": float("nan")}, "--max_macs: nan is not legal"),
    ],
)
def test_a_request_is_for_one_network(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=f"^{message}"):
        ExtractRequest(**asked)


@pytest.mark.usefixtures("search_only")
@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"arch": "mobilenet"}, "--arch: "),
        ({"arch": "input_r16_n3_w1 stem_s2_c16 ir_r1_k3_s1_e1_c9 head_c96"}, "--arch: .* a network of space mobilenet"),
        ({"max_macs": 1000.0}, r"--max_macs: 1000\.0 is not legal; expected at least 1"),
        ({"max_latency_us": 9.0, "latency_table": "nowhere.json"}, "--latency_table: nowhere.json: no such file"),
        ({"max_latency_us": 9.0, "target": "phone"}, "--target: 'phone' is not legal"),
    ],
)
def test_what_cannot_be_taken_is_one_line_and_leaves_nothing(
    config: Config, workdir: Path, tmp_path: Path, asked: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=f"^{message}") as caught:
        taken(config, workdir, tmp_path / "out", **asked)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("search_only")
def test_an_empty_folder_stays_empty_for_the_corrected_command(
    config: Config, workdir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    out.mkdir()

    def refusing(*arguments: Any, **named: Any) -> Any:
        raise UsageError("refused")

    with monkeypatch.context() as patch:
        patch.setattr(extract_stage, "specialize", refusing)
        with pytest.raises(UsageError, match=r"^refused"):
            taken(config, workdir, out, max_macs=1e6)
    assert not list(out.iterdir())
    taken(config, workdir, out, max_macs=6e5)
    assert winner(out)["metrics"]["macs"] <= 6e5


def test_what_is_finished_outlives_a_later_refusal(
    config: Config, workdir: Path, tmp_path: Path, space: SearchSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, arch = tmp_path / "out", to_text(space.decode(smallest_genotype(space)))

    def refusing(*arguments: Any, **named: Any) -> Any:
        raise UsageError("refused")

    monkeypatch.setattr(float_model, "load_shared", refusing)
    with pytest.raises(UsageError, match=r"^refused"):
        taken(config, workdir, out, arch=arch)
    assert winner(out)["arch"] == arch
    assert (workdir / "stages").is_dir() and all(path.is_dir() for path in (workdir / "stages").iterdir())


@pytest.mark.usefixtures("search_only")
def test_a_supernet_that_weighs_latency_serves_a_target_without_a_table(
    images: Path, tmp_path: Path, config: Config
) -> None:
    """The table weighed in the training alone; a target, or a budget of MACs, needs none."""
    path, space = tmp_path / "table.json", searched_space("proxyless_small", config.supernet, 16, 3)
    write_latency_table(path, latency_table(space))
    budget = 1.5 * cost(space.decode(smallest_genotype(space))).macs
    weighing = dataclasses.replace(
        config,
        search=dataclasses.replace(config.search, space=space.name, num_winners=1, latency_table=str(path)),
        supernet=dataclasses.replace(config.supernet, method="proxyless", latency_weight=0.1),
    )
    folder = finished(weighing, images, tmp_path)
    taken(weighing, folder, tmp_path / "out", max_macs=budget, target="host")
    assert winner(tmp_path / "out")["metrics"]["macs"] <= budget


def test_nothing_is_measured_for_what_cannot_be(
    config: Config, workdir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("dear")
    few = dataclasses.replace(config, supernet=dataclasses.replace(config.supernet, predictor_networks=3))
    monkeypatch.setattr(extract, "build_table", lambda *arguments, **named: pytest.fail("measured"))
    for settings, out, message in (
        (config, tmp_path / "full", r"--out: .* holds other files \(letter\.txt\)"),
        (few, tmp_path / "out", r"config\.supernet\.predictor_networks: 3 is not legal"),
    ):
        with pytest.raises(UsageError, match=f"^{message}"):
            taken(settings, workdir, out, max_latency_us=1e6, target="host")
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("search_only")
def test_networks_that_cannot_be_judged_are_left_out(
    config: Config, workdir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As FakeShared prefers many blocks, the finalists are those that fail; of the predictor's networks one did."""
    original, evaluated = FakeShared.logits, extract_stage.evaluate_genotypes
    calls: list[Any] = []

    def with_one_failure(*arguments: Any, **named: Any) -> list[float]:
        found = evaluated(*arguments, **named)
        monkeypatch.setattr(FakeShared, "logits", failing)
        return [math.nan, *found[1:]]

    def failing(self: FakeShared, arch: Any, images: Any) -> Any:
        calls.append(arch)
        found = original(self, arch, images)
        return found if len(calls) % 2 else np.full_like(found, np.nan)

    more = dataclasses.replace(config.supernet, predictor_networks=NETWORKS + 1)
    monkeypatch.setattr(extract_stage, "evaluate_genotypes", with_one_failure)
    with pytest.raises(LitesmithError, match=r"^search: the supernet could judge only 9 of 10 networks"):
        taken(config, workdir, tmp_path / "few", max_macs=1e6)
    monkeypatch.setattr(FakeShared, "logits", original)
    calls.clear()
    taken(dataclasses.replace(config, supernet=more), workdir, tmp_path / "out", max_macs=1e6)
    (path,) = (tmp_path / "out").glob("stages/search-*/predictor.json")
    assert read_json(path)["networks"] == NETWORKS
    (log,) = (tmp_path / "out").glob("stages/search-*/trials.jsonl")
    assert [trial.index for trial in TrialLog(log).trials] == list(range(extract_stage.FINALISTS // 2))


def test_a_supernet_that_is_not_finished_is_told(config: Config, workdir: Path, tmp_path: Path) -> None:
    other = dataclasses.replace(config, supernet=dataclasses.replace(config.supernet, epochs=13))
    for settings, folder in ((config, tmp_path / "nowhere"), (other, workdir)):
        with pytest.raises(UsageError, match=r"^--workdir: .* holds no finished supernet of this configuration"):
            taken(settings, folder, tmp_path / "out", max_macs=1e6)
    trained = dataclasses.replace(config, search=dataclasses.replace(config.search, evaluator="train"))
    with pytest.raises(UsageError, match=r"^config\.search\.evaluator: 'train' is not legal; expected 'supernet'"):
        taken(trained, workdir, tmp_path / "out", max_macs=1e6)
    assert not (tmp_path / "out").exists() and not (tmp_path / "nowhere").exists()


def test_a_folder_with_other_things_is_left_alone(config: Config, workdir: Path, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(UsageError, match=r"^--out: .* holds other files \(letter\.txt\)"):
        taken(config, workdir, tmp_path, max_macs=1e6)
    with pytest.raises(UsageError, match=r"^--out: .*letter\.txt is a file"):
        taken(config, workdir, tmp_path / "letter.txt", max_macs=1e6)
    assert (tmp_path / "letter.txt").read_text() == "dear"
    assert load(checked_plan(config).stage("data").directory(workdir)).num_classes == 3


def test_too_few_networks_for_a_predictor(config: Config, workdir: Path, tmp_path: Path) -> None:
    few = dataclasses.replace(config, supernet=dataclasses.replace(config.supernet, predictor_networks=3))
    with pytest.raises(UsageError, match=r"^config\.supernet\.predictor_networks: 3 is not legal; expected 10 or more"):
        taken(few, workdir, tmp_path / "out", max_macs=1e6)
    assert not (tmp_path / "out").exists()

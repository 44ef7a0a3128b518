"""What a plan sees of a store: the release before its own, whatever has been published since."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from core.errors import LitesmithError, UsageError
from core.progress import SilentReporter
from core.spec_io import to_plain
from deploy.predictions import PREDICTIONS
from deploy.store.channels import set_channel
from deploy.store.filesystem import Store, open_store
from deploy.store.index import read_release
from deploy.store.publish import publish
from deploy.store.signing import generate
from pipeline.config import Config
from pipeline.plan import Plan, make_plan
from pipeline.previous import HISTORY, Seen, find_previous, look, read_predictions
from pipeline.release_config import PUBLICATION, ReleaseConfig
from tests.deploy.store.pull_samples import write_release


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


def put(store: Store, tmp_path: Path, day: int, channel: str = "latest") -> str:
    """Publishes the release of a day of the month; its ID."""
    write_release(tmp_path / str(day), day)
    return publish(tmp_path / str(day), None, store, channel, None, SilentReporter()).release_id


def seen(store: Store, day: int, channel: str = "latest") -> tuple[Seen, bool]:
    return look(store, channel, lambda key: key == f"{day:064x}")


def test_the_channel_s_release_is_the_one_before(store: Store, tmp_path: Path) -> None:
    assert seen(store, 1) == (Seen(), False)
    first = put(store, tmp_path, 1)
    assert seen(store, 2) == (Seen(first, (first,)), False)
    assert seen(store, 2, "stable") == (Seen(), False)
    second = put(store, tmp_path, 2)
    assert seen(store, 3) == (Seen(second, (first, second)), False)


def test_a_run_that_is_repeated_sees_what_it_saw(store: Store, tmp_path: Path) -> None:
    first, second = put(store, tmp_path, 1), put(store, tmp_path, 2)
    assert seen(store, 1) == (Seen(), True)
    assert seen(store, 2) == (Seen(first, (first,)), True)
    put(store, tmp_path, 3)
    assert seen(store, 2) == (Seen(first, (first,)), True)
    assert seen(store, 4)[0].history[:2] == (first, second)


def test_after_a_rollback_the_release_that_is_in_use_counts(store: Store, tmp_path: Path) -> None:
    first, second = put(store, tmp_path, 1), put(store, tmp_path, 2)
    set_channel(store, "latest", first)
    assert seen(store, 3) == (Seen(first, (second, first)), False)


def test_the_history_ends_somewhere(store: Store, tmp_path: Path) -> None:
    ids = [put(store, tmp_path, 1), put(store, tmp_path, 2)]
    for number in range(HISTORY + 5):  # back and forth; each counts once
        set_channel(store, "latest", ids[number % 2])
    assert len(seen(store, 3)[0].history) == 2


def test_predictions_are_checked_against_the_manifest(store: Store, tmp_path: Path) -> None:
    name = put(store, tmp_path, 1)
    manifest = read_release(store, name)
    assert read_predictions(store, name, manifest) is None
    file = dataclasses.replace(manifest.files[0], path=PREDICTIONS)
    store.write(f"releases/{name}/{PREDICTIONS}", b"other")
    with pytest.raises(LitesmithError, match=r"predictions\.npz: damaged, or not the file"):
        read_predictions(store, name, dataclasses.replace(manifest, files=(file,)))


def test_a_store_that_no_run_can_publish_to_is_refused_by_its_key(store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    refused = {
        "config.release.store": ReleaseConfig(store="http://127.0.0.1:1/models"),
        "config.release.store: ": ReleaseConfig(store=str(tmp_path / "file")),
        "config.release.sign_key: ": ReleaseConfig(store=store.url, sign_key=str(tmp_path / "file")),
    }
    for words, config in refused.items():
        with pytest.raises(UsageError) as caught:
            find_previous(config, "0")
        assert words in str(caught.value) and "\n" not in str(caught.value)
    generate(tmp_path / "key")
    assert find_previous(ReleaseConfig(store=store.url, sign_key=str(tmp_path / "key")), "0") == Seen()


def test_a_damaged_channel_ends_the_plan_in_one_line(store: Store, tmp_path: Path) -> None:
    put(store, tmp_path, 1)
    store.write("channels/latest.json", b"{")
    with pytest.raises(LitesmithError, match="damaged channel"):
        find_previous(ReleaseConfig(store=store.url), "0")


def _plan(found: Seen | None = None, **release: object) -> Plan:
    config = dataclasses.replace(Config(), release=ReleaseConfig(**release))  # type: ignore[arg-type]
    return make_plan(config, "f", find_previous=None if found is None else lambda key: found)


def _keys(plan: Plan) -> dict[str, str]:
    return {stage.name: stage.key for stage in plan.stages}


def test_where_a_release_goes_is_in_no_key_but_that_of_the_comparison() -> None:
    plain = _keys(_plan())
    assert "previous" not in plain
    first = _keys(_plan(Seen(), store="a"))
    assert {name for name in plain if plain[name] != first[name]} == {"report"}  # which shows the comparison
    moved = {"store": "b", "channel": "stable", "sign_key": "key", "allow_regression": True}
    assert _keys(_plan(Seen(), **moved)) == first
    for other in (_plan(Seen("r-1", ("r-1",)), store="a"), _plan(Seen(), store="a", max_size_growth=0.2)):
        changed = _keys(other)
        assert {name for name in first if changed[name] != first[name]} == {"previous", "report"}
    assert _keys(_plan(golden_images=3))["release"] != plain["release"]
    assert _keys(_plan(golden_images=3))["w0.qat.convert"] == plain["w0.qat.convert"]


def test_the_plan_asks_for_what_was_before_its_own_release() -> None:
    asked: list[str] = []
    plan = make_plan(Config(), "f", find_previous=lambda key: asked.append(key) or Seen())  # type: ignore[func-returns-value]
    assert asked == [plan.stage("release").key]
    assert "previous" in plan.stage("report").inputs and "previous" not in plan.stage("release").inputs


def test_a_release_does_not_tell_where_it_was_published() -> None:
    stage = _plan(store="a", channel="stable", sign_key="key").stage("release")
    told = to_plain(stage.params["config"].release)
    assert {name: told[name] for name in PUBLICATION} == {name: to_plain(ReleaseConfig())[name] for name in PUBLICATION}

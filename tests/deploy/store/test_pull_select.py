"""Which model of a release a wish takes, and what is said of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from core.errors import LitesmithError, UsageError
from deploy.manifest import Manifest
from deploy.store.select import Wish, select
from tests.deploy.store.pull_samples import latency, with_model, write_release


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    return write_release(tmp_path)


def taken(manifest: Manifest, **wish: object) -> str:
    """The recipe of the model that a wish takes."""
    return select(manifest, Wish(**wish)).model.recipe  # type: ignore[arg-type]


def test_without_limits_the_preference_decides(manifest: Manifest) -> None:
    assert taken(manifest) == "large"
    assert taken(manifest, prefer="size") == "gpu"
    assert taken(manifest, target="host", prefer="latency") == "small"
    assert taken(manifest, model="small") == "small"
    assert taken(manifest, model="demo-gpu.tflite") == taken(manifest, model="demo-gpu") == "gpu"


def test_limits_leave_models_out(manifest: Manifest) -> None:
    assert taken(manifest, target="host", max_latency_us=70) == "gpu"
    assert taken(manifest, target="host", max_latency_us=50) == "small"
    assert taken(manifest, max_size_bytes=1000) == "gpu"
    assert taken(manifest, min_accuracy=0.98, prefer="size") == "large"
    assert taken(manifest, target="host", max_latency_us=90) == "large"  # a limit that is just reached is kept


def test_a_figure_of_another_delegate_is_none(manifest: Manifest) -> None:
    found = select(manifest, Wish(target="pixel3", prefer="latency"))
    assert found.model.recipe == "small"
    assert dict(found.others)["demo-gpu.tflite"] == "no figure on pixel3: fell back to CPU: no GPU"
    unmeasured = with_model(manifest, "small", latency=(latency("host", 40.0),))
    assert dict(select(unmeasured, Wish(target="pixel3")).others)["demo-small.tflite"] == "not measured on pixel3"


def test_equally_accurate_models_the_smaller_then_the_first_by_name(manifest: Manifest) -> None:
    equal = with_model(with_model(manifest, "small", test_accuracy=0.98), "gpu", test_accuracy=0.98)
    found = select(equal, Wish())
    assert found.model.recipe == "gpu"
    assert dict(found.others)["demo-small.tflite"] == "as accurate, larger: 1,000 bytes"
    same = with_model(equal, "gpu", size_bytes=1000)
    assert dict(select(same, Wish()).others)["demo-small.tflite"] == "as accurate, and later by name"


def test_a_model_for_training_on_the_device_only_by_its_name(manifest: Manifest) -> None:
    trainable = with_model(manifest, "large", scheme="personalize")
    found = select(trainable, Wish())
    assert found.model.recipe == "gpu"
    assert dict(found.others)["demo-large.tflite"] == "for training on the device; --model takes it"
    assert taken(trainable, model="large") == "large"
    with pytest.raises(LitesmithError, match="no models but those for training"):
        select(replace(trainable, artifacts=trainable.artifacts[:1]), Wish())


def test_the_selection_says_why_and_why_not(manifest: Manifest) -> None:
    found = select(manifest, Wish(target="host", max_latency_us=70, min_accuracy=0.9))
    assert found.why == (
        "the most accurate of the 2 models that fit within --max_latency_us=70, --min_accuracy=0.9 on host "
        "(the release has 3)"
    )
    assert dict(found.others) == {
        "demo-large.tflite": "90.0 us on host (88.2 to 91.8) is 28.6% over --max_latency_us=70",
        "demo-small.tflite": "less accurate: 95.00 %",
    }
    assert select(manifest, Wish()).why == "the most accurate of the release's 3 models"
    assert select(manifest, Wish(max_size_bytes=9000)).why == (
        "the most accurate of the release's 3 models, which all fit within --max_size_bytes=9000"
    )
    named = select(manifest, Wish(model="small"))
    assert named.why == "the only one of the release's 3 models that fits within --model=small"
    assert dict(named.others) == {f"demo-{name}.tflite": "is not --model=small" for name in ("large", "gpu")}


def test_an_interval_beyond_the_limit_is_told(manifest: Manifest) -> None:
    assert select(manifest, Wish(target="host", max_latency_us=41)).cautions == ()
    (caution,) = select(manifest, Wish(target="host", max_latency_us=40.5)).cautions
    assert caution == "its interval ends at 40.8 us, beyond --max_latency_us=40.5"
    noisy = with_model(manifest, "small", latency=(latency("host", 40.0, spread=0, verdict="noisy: 12 %"),))
    noisy = with_model(
        noisy, "small", latency=tuple(replace(item, low_us=0, high_us=0) for item in noisy.artifacts[1].latency)
    )
    trust, interval = select(noisy, Wish(target="host", max_latency_us=45)).cautions
    assert "not to be trusted: noisy: 12 %" in trust
    assert "no interval" in interval


def test_overlapping_intervals_are_told(manifest: Manifest) -> None:
    close = with_model(manifest, "gpu", latency=(latency("host", 41.0),))
    assert dict(select(close, Wish(target="host", prefer="latency")).others)["demo-gpu.tflite"] == (
        "slower: 41.0 us on host (40.2 to 41.8); the intervals overlap"
    )


def test_if_none_fits_the_nearest_is_named(manifest: Manifest) -> None:
    with pytest.raises(LitesmithError) as error:
        select(manifest, Wish(target="host", max_latency_us=32))
    assert error.value.exit_code == 1
    assert str(error.value) == (
        f"no model of {manifest.release_id} fits; the nearest is demo-small.tflite: "
        "40.0 us on host (39.2 to 40.8) is 25.0% over --max_latency_us=32"
    )
    with pytest.raises(
        LitesmithError, match=r"nearest is demo-large.tflite: an accuracy of 98.00 % is 1.00 percentage"
    ):
        select(manifest, Wish(min_accuracy=0.99))
    with pytest.raises(LitesmithError, match=r"900 bytes is 12.5% over --max_size_bytes=800"):
        select(manifest, Wish(max_size_bytes=800))
    with pytest.raises(LitesmithError, match=r"nearest is demo-gpu.tflite: no figure on pixel3: fell back") as error:
        select(manifest, Wish(target="pixel3", model="gpu"))
    assert error.value.exit_code == 1


@pytest.mark.parametrize(
    ("wish", "parts"),
    [
        ({"target": "pixel9"}, ("--target", "'pixel9'", "host, pixel3")),
        ({"model": "huge"}, ("--model", "'huge'", "demo-large.tflite (recipe large)")),
        ({"max_latency_us": 5.0}, ("--max_latency_us", "--target")),
        ({"prefer": "latency"}, ("--prefer=latency", "--target")),
        ({"prefer": "speed"}, ("--prefer", "'speed'", "accuracy, latency, size")),
        ({"target": "host", "max_latency_us": 0.0}, ("--max_latency_us", "0.0", "above 0")),
        ({"target": "host", "max_latency_us": float("nan")}, ("--max_latency_us", "nan")),
        ({"min_accuracy": 95.0}, ("--min_accuracy", "95", "from 0 to 1")),
        ({"max_size_bytes": 0}, ("--max_size_bytes", "0", "from 1")),
    ],
)
def test_what_cannot_be_wished(manifest: Manifest, wish: dict[str, object], parts: tuple[str, ...]) -> None:
    with pytest.raises(UsageError) as error:
        select(manifest, Wish(**wish))  # type: ignore[arg-type]
    assert all(part in str(error.value) for part in parts), str(error.value)


def test_a_release_that_was_measured_nowhere(manifest: Manifest) -> None:
    for name in ("large", "small", "gpu"):
        manifest = with_model(manifest, name, latency=())
    assert taken(manifest, max_size_bytes=950) == "gpu"
    with pytest.raises(UsageError, match="measured nowhere"):
        select(manifest, Wish(target="host"))

"""Each way to train shared weights behind one function."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from core.errors import UsageError
from core.progress import SilentReporter
from core.registry import load
from core.tracking import EventTracker
from search.arch import ArchSpec, BlockSpec, StageSpec
from search.choice import OneOf
from search.cost import cost
from search.dataset import ImageData
from search.named import space
from search.space import SearchSpace
from search.supernet import METHODS, methods
from search.supernet.methods import WEIGHTS, Request, Trained, bounds, check_space, load_shared, train
from search.supernet.settings import ELASTIC_METHODS, MIXED_METHODS, SupernetConfig
from tests.event_logs import curves
from tests.search.supernet import elastic_training
from tests.search.supernet.planted import planted_data, planted_space


def test_the_table_has_every_method_that_a_configuration_may_name() -> None:
    assert set(METHODS) == {*ELASTIC_METHODS, *MIXED_METHODS}
    for name in METHODS:
        assert callable(load(METHODS, name, "method"))


def test_the_configured_method_is_called(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen = []

    def training(request: Request) -> Trained:
        seen.append(request)
        return Trained("weights", is_found=True)  # type: ignore[arg-type]

    monkeypatch.setattr(methods, "enas", training)
    config, named = SupernetConfig(method="enas"), space("mobilenet_v2_small", 28, 10)
    request = Request(config, named, "data", 7, tmp_path, SilentReporter())  # type: ignore[arg-type]
    assert train(request).is_found
    assert seen == [request]


@pytest.mark.parametrize(
    ("method", "name"), [("sandwich", "nasbench201"), ("enas", "fbnet"), ("darts", "mobilenet_v2_small")]
)
def test_a_space_that_cannot_share_weights_is_refused_at_once(method: str, name: str) -> None:
    with pytest.raises(UsageError, match=f"^space {name}: ") as caught:
        check_space(SupernetConfig(method=method), space(name, 32, 10))
    assert "\n" not in str(caught.value)


def test_every_phase_needs_an_epoch() -> None:
    named = space("mobilenet_v2_small", 28, 10)
    check_space(SupernetConfig(epochs=12), named)
    check_space(SupernetConfig(epochs=1, method="single_path"), named)
    with pytest.raises(UsageError, match=r"^config\.supernet\.epochs: 1 is not legal; expected at least"):
        check_space(SupernetConfig(epochs=1), named)


def test_an_elastic_supernet_has_a_largest_and_a_smallest_network() -> None:
    ends = bounds(SupernetConfig(), space("mobilenet_v2_small", 28, 10))
    assert cost(ends["smallest"]).macs < cost(ends["largest"]).macs / 10
    assert bounds(SupernetConfig(method="darts"), space("proxyless_small", 28, 10)) == {}


@pytest.mark.parametrize("method", sorted(METHODS))
def test_trained_weights_are_saved_read_and_taken_out_as_a_model(method: str, tmp_path: Path) -> None:
    named, images = _tiny(method)
    config = SupernetConfig(
        method=method,
        full_epochs=1,
        epochs=1 if method == "progressive" else 2,  # which has the first epoch beside them
        batch_size=16,
        controller_steps=2,
        recalibration_images=16,
        val_images=16,
    )
    tracker = EventTracker(tmp_path / "logs")
    trained = train(Request(config, named, images, 7, tmp_path, SilentReporter(), tracker=tracker))
    found = curves(tmp_path / "logs")["."]
    own = {"enas": {"train/reward"}, "darts": {"train/certainty"}, "proxyless": {"train/held_out_loss"}}
    assert {"train/loss", "train/learning_rate", "train/seconds"} | own.get(method, {"train/accuracy"}) <= set(found)
    assert [step for step, _ in found["train/loss"]] == [1, 2]
    assert 0 < found["train/learning_rate"][1][1] < found["train/learning_rate"][0][1] <= np.float32(2e-3)
    trained.shared.save(tmp_path / WEIGHTS)
    shared = load_shared(config, named, tmp_path, 7)
    genotype = trained.suggestions[0] if trained.suggestions else (0,) * len(named.genes)
    arch, val = named.decode(genotype), images.val.first(16)
    for weights in (trained.shared, shared):
        weights.recalibrate(arch, images.train.first(16))
    outputs = shared.logits(arch, val)
    # The same weights and the same graph, but of two objects: rounding at most.
    np.testing.assert_allclose(trained.shared.logits(arch, val), outputs, rtol=0, atol=1e-5)
    model = shared.extract(arch)
    np.testing.assert_allclose(model.predict(val.rgb() / np.float32(255), verbose=0), outputs, rtol=0, atol=1e-5)
    assert trained.is_found == (method in MIXED_METHODS)


def _tiny(method: str) -> tuple[SearchSpace, ImageData]:
    if method in MIXED_METHODS:
        return planted_space(), planted_data((0, 1, 2), images=32)
    block = BlockSpec("ir", OneOf((3, 5)), expand_ratio=2, out_channels=8)
    side, classes = elastic_training.SIDE, elastic_training.CLASSES
    template = ArchSpec(8, (StageSpec((block,), 1),), 8, 1.0, side, classes)
    return SearchSpace("kernels", template), elastic_training.data()

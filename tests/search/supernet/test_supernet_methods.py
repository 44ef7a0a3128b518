"""Each way to train shared weights behind one function."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import UsageError
from core.progress import SilentReporter
from core.registry import load
from search.cost import cost
from search.named import space
from search.supernet import METHODS, methods
from search.supernet.methods import Request, Trained, bounds, check_space, train, train_shared
from search.supernet.settings import ELASTIC_METHODS, MIXED_METHODS, SupernetConfig


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
    arguments = {"seed": 7, "scratch": tmp_path, "reporter": request.reporter}
    assert train_shared(config, named, "data", **arguments) == "weights"  # type: ignore[arg-type, comparison-overlap]
    assert seen == [request, request]


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

"""The settings of weight sharing are checked when they are made."""

from __future__ import annotations

import pytest

from core.errors import UsageError
from search.supernet.settings import SupernetConfig


def test_the_defaults_are_legal():
    assert SupernetConfig().method == "progressive"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("method", "once"),
        ("full_epochs", 0),
        ("epochs", 0),
        ("batch_size", 0),
        ("learning_rate", 0.0),
        ("weight_decay", -0.1),
        ("label_smoothing", 1.0),
        ("train_images", 0),
        ("distill_alpha", 1.1),
        ("temperature", 0.0),
        ("networks_per_step", 0),
        ("resolutions", (28,)),
        ("resolutions", (28, 28)),
        ("resolutions", (28, 24.5)),
        ("resolutions", (28, 4)),
        ("recalibration_images", 0),
        ("val_images", 0),
        ("predictor_networks", -1),
        ("fine_tune_epochs", -1),
        ("fine_tune_learning_rate", 0.0),
        ("controller_steps", 0),
        ("second_order", True),
        ("architecture_learning_rate", 0.0),
        ("latency_weight", -1.0),
        ("latency_weight", 0.5),
        ("target_latency_us", 100.0),
    ],
)
def test_a_bad_value_is_refused_by_name(field, value):
    with pytest.raises(UsageError, match=rf"^config\.supernet\.{field}: ") as caught:
        SupernetConfig(**{field: value})
    assert "\n" not in str(caught.value)


def test_what_a_method_alone_understands_is_legal_with_it():
    assert SupernetConfig(method="darts", second_order=True).second_order
    assert SupernetConfig(method="proxyless", latency_weight=0.1, target_latency_us=50.0).target_latency_us == 50.0
    for method in ("darts", "proxyless"):
        for field, value in (("resolutions", (24, 28)), ("networks_per_step", 2)):
            with pytest.raises(UsageError, match=rf"^config\.supernet\.{field}: .*method = '{method}'"):
                SupernetConfig(method=method, **{field: value})

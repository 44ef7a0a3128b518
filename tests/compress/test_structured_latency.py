"""Structured pruning towards a latency: what is predicted, what goes for it, and what is refused."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from core.keras_env import keras

import numpy as np
import pytest

from compress.invariants import Invariants
from compress.model_cost import model_cost
from compress.passes.structured_prune import StructuredPrune
from compress.recipe import CompressConfig, parse_recipe
from compress.settings import StructuredSettings
from compress.structured.channels import channels_in
from compress.structured.latency import PER_US, latency_terms
from compress.structured.sizes import Sizes
from compress.structured.surgery import without
from core.errors import CandidateError, UsageError
from core.spec_io import content_id
from search.grammar import from_text
from search.latency.blocks import blocks_of
from search.latency.features import operators_of
from search.latency.rates import LatencyRates, OperatorRate
from search.latency.table import BlockLatency, LatencyTable, write_latency_table
from tests.compress.structured_nets import NETWORKS, fine_tune, network, other_model, settled, text_of

RATES = LatencyRates(
    "int8",
    (
        OperatorRate("conv", 0.05, 0.3, 900.0),
        OperatorRate("dense", 0.08, 1.0, 300.0),
        OperatorRate("depthwise 3x3", 0.2, 0.0, 700.0),
        OperatorRate("depthwise 5x5", 0.5, 0.0, 9000.0),
        OperatorRate("elementwise", 0.0, 0.5, 400.0),
        OperatorRate("pointwise", 0.03, 0.25, 500.0),
    ),
    network_us=3.0,
    blocks=100,
    residual=0.1,
)


def predicted_us(model: keras.Model, rates: LatencyRates = RATES) -> float:
    return Sizes(latency_terms(model, channels_in(model), rates)).cost() / PER_US


def prune(model: keras.Model, fraction: float, rates: LatencyRates, **settings: object) -> StructuredPrune:
    compress_pass = StructuredPrune(
        StructuredSettings(fraction, "latency", **{"importance": "l1", "rates": rates, **settings})
    )
    compress_pass.wrap(model, Invariants(), fine_tune(16, resolution=model.input_shape[1]))
    return compress_pass


@pytest.mark.parametrize("name", NETWORKS)
def test_the_prediction_is_that_of_the_blocks(name):
    """What the rates say of a network's operators by its text and by its Keras layers is the same."""
    blocks = blocks_of(from_text(text_of(name)), "int8")
    expected = RATES.network_us + sum(RATES.operators_us(operators_of(key)) for key in blocks)
    # Terms are whole femtoseconds.
    assert predicted_us(network(name)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", ["gates", "residual", "branches"])
def test_what_is_saved_is_the_difference_of_the_predictions(name):
    model = network(name)
    channels = channels_in(model)
    gone = np.flatnonzero(~channels.frozen)[::3].tolist()
    saved = Sizes(latency_terms(model, channels, RATES)).saving(gone) / PER_US
    smaller, _ = without(model, channels, gone)
    assert saved == pytest.approx(predicted_us(model) - predicted_us(smaller), rel=1e-6)  # whole femtoseconds
    assert saved > 0


def test_layers_of_a_user_have_a_prediction():
    """Kernels that are used twice count twice; separable convolutions are two operators; what is not known is read."""
    model = other_model()
    one = predicted_us(model)
    layer = dict.fromkeys(("depthwise 3x3", "pointwise"), 0.0)
    for kind in layer:
        raised = dataclasses.replace(RATES.rate(kind), constant_ns=RATES.rate(kind).constant_ns + 1000)
        operators = tuple(raised if rate.kind == kind else rate for rate in RATES.operators)
        layer[kind] = predicted_us(model, dataclasses.replace(RATES, operators=operators)) - one
    # In microseconds: one of each operator. "doubled" and "separable"; "separable", "shared" twice, and "mask".
    assert layer == pytest.approx({"depthwise 3x3": 2.0, "pointwise": 4.0})


def two_branches() -> keras.Model:
    """Two pairs of layers with equal multiply-accumulates for each channel between them: of 3x3 and of 1x1 kernels."""
    image = keras.Input((12, 12, 3))
    x = keras.layers.Conv2D(16, 3, padding="same", use_bias=False, name="stem")(image)
    ends = []
    for name, size, width in (("wide", 1, 9 * 16), ("narrow", 3, 16)):
        x_branch = keras.layers.Conv2D(32, size, padding="same", use_bias=False, name=f"{name}_in")(
            keras.layers.Conv2D(width, 1, use_bias=False, name=f"{name}_before")(x)
        )
        ends.append(keras.layers.GlobalAveragePooling2D()(x_branch))
    logits = keras.layers.Dense(4, name="logits")(keras.layers.Concatenate()(ends))
    return settled(keras.Model(image, logits), seed=1)


@pytest.mark.parametrize(
    ("dear", "goes", "stays"), [("conv", "narrow_in", "wide_in"), ("pointwise", "wide_in", "narrow_in")]
)
def test_channels_go_where_their_arithmetic_is_slow(dear, goes, stays):
    """Of two layers with the same multiply-accumulates, whose channels matter alike."""
    model = two_branches()
    macs = [np.prod(model.get_layer(name).kernel.shape) for name in (goes, stays)]
    assert macs[0] == macs[1]
    others = ("conv", "pointwise", "dense", "elementwise")
    rates = tuple(OperatorRate(kind, 1.0 if kind == dear else 0.001, 0.0, 0.0) for kind in others)
    found = prune(
        model,
        0.7,
        LatencyRates("int8", rates, 0.0, 100, 0.1),
        channel_multiple=1,
        exclude=("stem", "*_before"),
        importance="random",
    )
    widths = {name: (before - after) for name, before, after in found.report.widths}
    assert widths[goes] > 0
    assert stays not in widths


def test_the_report_tells_the_prediction():
    model = network("residual")
    found = prune(model, 0.7, RATES, channel_multiple=4)
    before, after = found.report.latency_us
    assert before == predicted_us(model)
    assert after <= 0.7 * before
    assert found.report.after.macs < found.report.before.macs == model_cost(model).macs
    plain = StructuredPrune(StructuredSettings(0.8, importance="l1"))
    plain.wrap(model, Invariants(), fine_tune(16))
    assert plain.report.latency_us is None


def test_blocks_go_for_the_time_of_their_operators():
    """Where nothing but the number of operators costs, no channel helps: whole blocks must go."""
    operators = tuple(dataclasses.replace(rate, ns_per_mac=0.0, ns_per_value=0.0) for rate in RATES.operators)
    constants = dataclasses.replace(RATES, operators=operators, network_us=0.0)
    with pytest.raises(CandidateError, match="100% are left"):
        prune(network("residual"), 0.9, constants)
    found = prune(network("residual"), 0.9, constants, blocks=True)
    assert found.report.blocks
    assert not found.report.widths
    before, after = found.report.latency_us
    assert after <= 0.9 * before


def test_what_cannot_be_reached_or_predicted_is_refused():
    with pytest.raises(
        CandidateError,
        match=r"^structured pruning cannot leave 5% of the [\d,]+ us that a latency table of int8 networks predicts: ",
    ):
        prune(network("residual"), 0.05, RATES)
    none = dataclasses.replace(RATES, operators=tuple(rate for rate in RATES.operators if rate.kind != "conv"))
    with pytest.raises(CandidateError, match=r"^latency rates: the table has no conv operator"):
        prune(network("residual"), 0.5, none)


def write_table(path: Path, *, slower: float = 1.0, blocks: int = 100) -> str:
    """A table of the networks' blocks, by RATES."""
    keys = dict.fromkeys(key for name in NETWORKS for key in blocks_of(from_text(text_of(name)), "int8"))
    latencies = [(key.text, slower * RATES.operators_us(operators_of(key))) for key in keys]
    rows = tuple(BlockLatency(text, us, us, us, 50) for text, us in latencies[:blocks])
    write_latency_table(path, LatencyTable("space", "int8", {}, "benchmark_model", "2026-01-31", rows))
    return str(path)


def latency_config(table: str) -> CompressConfig:
    return CompressConfig(recipes=("structured:0.5+qat",), structured_metric="latency", structured_latency_table=table)


def test_a_recipe_holds_the_rates_of_its_table(tmp_path):
    one, same, other = (tmp_path / name for name in ("one.json", "same.json", "other.json"))
    specs = [
        parse_recipe("structured:0.5+qat", latency_config(write_table(path, slower=slower))).passes[0]
        for path, slower in ((one, 1.0), (same, 1.0), (other, 2.0))
    ]
    assert specs[0].settings.metric == "latency"
    assert specs[0].settings.rates.data_type == "int8"
    assert content_id(specs[0]) == content_id(specs[1]) != content_id(specs[2])
    assert parse_recipe("structured:0.5", CompressConfig()).passes[0].settings.rates is None


def test_contradictions_are_refused(tmp_path):
    table = write_table(tmp_path / "table.json")
    with pytest.raises(UsageError, match=r"^config\.compress\.structured_metric: 'latency' needs .*latency_table$"):
        CompressConfig(structured_metric="latency")
    with pytest.raises(UsageError, match=r"^config\.compress\.structured_latency_table: .*_metric = 'macs'$"):
        CompressConfig(structured_latency_table=table)
    missing = str(tmp_path / "none.json")
    for wrong, message in (
        (missing, f"{missing}: no such file; expected a latency table"),
        (
            write_table(tmp_path / "few.json", blocks=2),
            f"{tmp_path}/few.json: int8 latency table: 2 blocks are too few",
        ),
    ):
        with pytest.raises(UsageError, match=r"^config\.compress\.structured_latency_table: " + re.escape(message)):
            latency_config(wrong)
    without_recipes = dataclasses.replace(latency_config(table), recipes=(), structured_latency_table=missing)
    assert without_recipes.structured_latency_table == missing  # read where a recipe needs it

"""Factorizing networks: exactness, counts, the choice of ranks, and what comes after the pass."""

from __future__ import annotations

from core.keras_env import keras, reset

import numpy as np
import pytest

from compress.invariants import Invariants
from compress.low_rank.factorize import LayerReport, factorize, factors_of, with_factors
from compress.low_rank.options import Choice
from compress.passes import low_rank
from compress.passes.cluster import Cluster
from compress.passes.prune import Prune
from compress.passes.quantize import Quantize
from compress.settings import ClusterSettings, LowRankSettings, PruneSettings, QuantizeSettings
from compress.storage import copy_of
from core.errors import CandidateError
from tests.compress.nets import blob_images, fine_tune

L = keras.layers
# Outputs of size 1; each factor adds a rounding of 1e-7 to each of up to 300 products.
SAME = 1e-4


def network() -> keras.Model:
    """Every kind of layer that is factorized: strides, padding, dilation, odd kernels, activations inside, two uses."""
    reset(3)
    image = keras.Input((12, 12, 3), name="image")
    x = L.Conv2D(16, 3, strides=2, padding="same", name="stem", activation="relu")(image)
    x = L.Conv2D(24, 3, padding="valid", use_bias=False, name="valid")(x)
    x = L.BatchNormalization(name="norm")(x)
    x = L.Conv2D(20, (1, 3), strides=(2, 1), padding="same", name="flat")(x)
    x = L.Conv2D(20, 3, dilation_rate=2, padding="same", name="dilated")(x)
    x = L.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    x = L.Conv2D(24, 1, strides=2, name="pointwise")(x)
    twice = L.Conv2D(24, 1, activation="relu", name="twice")
    x = L.Add(name="add")([twice(x), twice(L.ReLU(name="relu")(x))])
    x = L.Flatten(name="flatten")(x)
    return keras.Model(image, L.Dense(10, name="logits")(L.Dense(40, activation="tanh", name="hidden")(x)))


def pixels(model: keras.Model) -> np.ndarray:
    return np.random.default_rng(1).uniform(0, 1, (4, *model.input_shape[1:])).astype(np.float32)


FULL = {
    "stem": ("tucker", (3, 16)),
    "valid": ("spatial", (48,)),
    "flat": ("tucker", (24, 20)),
    "dilated": ("spatial", (60,)),
    "pointwise": ("svd", (20,)),
    "twice": ("svd", (24,)),
    "hidden": ("svd", (40,)),
    "logits": ("svd", (10,)),
}


@pytest.mark.parametrize("form", ["mixed", "spatial", "tucker"])
def test_full_rank_reproduces_the_outputs(form: str) -> None:
    model = network()
    factors = {}
    for name, (own, ranks) in FULL.items():
        kernel = model.get_layer(name).kernel.numpy()
        if kernel.ndim == 4 and kernel.shape[:2] == (3, 3) and form != "mixed":
            own, ranks = form, (kernel.shape[2], kernel.shape[3]) if form == "tucker" else (99,)
        factors[name] = factors_of(kernel, Choice(own, ranks, 0, 0, 1.0))
    factorized = with_factors(model, factors)
    assert not {"stem", "hidden"} & {layer.name for layer in factorized.layers}
    image = pixels(model)
    np.testing.assert_allclose(factorized(image), model(image), rtol=0, atol=SAME)
    np.testing.assert_array_equal(copy_of(factorized)(image), factorized(image))


def test_one_sided_tucker_has_two_layers() -> None:
    model = network()
    kernel = model.get_layer("dilated").kernel.numpy()
    for ranks, shapes in (((20, 5), [(3, 3, 20, 5), (1, 1, 5, 20)]), ((5, 20), [(1, 1, 20, 5), (3, 3, 5, 20)])):
        factors = factors_of(kernel, Choice("tucker", ranks, 0, 0, 0.0))
        assert [factor.shape for factor in factors] == shapes
        factorized = with_factors(model, {"dilated": factors})
        wide = factorized.get_layer("dilated_u" if ranks == (20, 5) else "dilated_v")
        narrow = factorized.get_layer("dilated_v" if ranks == (20, 5) else "dilated_u")
        assert wide.dilation_rate == (2, 2) and narrow.dilation_rate == (1, 1)


def test_thousand_by_thousand_at_a_fifth() -> None:
    reset(1)
    units = keras.Input((1000,))
    model = keras.Model(units, L.Dense(1000, use_bias=False, name="dense")(units))
    factorized, (report,) = factorize(model, LowRankSettings(0.2, "params"))
    assert (report.params_before, report.params_after, report.ranks) == (1_000_000, 200_000, (100,))
    assert (report.macs_before, report.macs_after) == (1_000_000, 200_000)
    assert factorized.count_params() == 200_000


def test_report_counts_what_is_in_the_network() -> None:
    model = low_rank_network()
    factorized, reports = factorize(model, LowRankSettings(0.998, "energy"))
    saved = sum(report.params_before - report.params_after for report in reports)
    assert model.count_params() - factorized.count_params() == saved > 0
    names = {layer.name for layer in factorized.layers}
    for report in reports:
        parts = [factorized.get_layer(name) for end in ("_u", "_core", "_v") if (name := report.layer + end) in names]
        assert bool(parts) == bool(report.form) == (not report.reason)
        assert (report.layer in names) != bool(parts)
        if parts:
            assert sum(int(np.prod(part.kernel.shape)) for part in parts) == report.params_after
            assert sum(macs(part) for part in parts) == report.macs_after < report.macs_before
            assert 0.998 <= report.energy <= 1.0
    # Four layers lose at most 0.2 % of their energy each, which are errors of 9 % of the outputs' size if they add up.
    image = pixels(model)
    assert np.corrcoef(factorized(image).numpy().ravel(), model(image).numpy().ravel())[0, 1] > 0.99


def low_rank_network() -> keras.Model:
    """Wide layers whose kernels are nearly of rank 3, and some that are left alone."""
    reset(4)
    image = keras.Input((8, 8, 3))
    x = L.ReLU(name="r0")(L.Conv2D(16, 3, padding="same", name="stem")(image))
    x = L.ReLU(name="r1")(L.Conv2D(32, 3, strides=2, padding="same", name="square")(x))
    x = L.ReLU(name="r2")(L.Conv2D(32, (3, 1), padding="same", name="tall")(x))
    x = L.ReLU(name="r3")(L.Conv2D(32, 1, name="pointwise")(x))
    x = L.Conv2D(32, 3, groups=4, padding="same", name="grouped")(x)
    x = L.GlobalAveragePooling2D(name="pool")(x)
    model = keras.Model(image, L.Dense(4, name="logits")(L.Dense(48, name="hidden")(x)))
    rng = np.random.default_rng(0)
    for name in ("square", "tall", "pointwise", "hidden"):
        kernel = model.get_layer(name).kernel
        shape = kernel.shape
        core = rng.normal(size=(*shape[:-2], 3, 3))
        low = np.einsum("ir,...rs,so->...io", rng.normal(size=(shape[-2], 3)), core, rng.normal(size=(3, shape[-1])))
        kernel.assign((low / low.std() + 0.01 * rng.normal(size=shape)) * 0.05)
    return model


def macs(layer: keras.layers.Layer) -> int:
    """Multiplications of one image, from the shapes that Keras computed."""
    return int(np.prod(layer.kernel.shape) * np.prod(layer.output_shape[1:-1]))


def by_name(reports: tuple[LayerReport, ...]) -> dict[str, LayerReport]:
    return {report.layer: report for report in reports}


def test_each_layer_gets_its_form_or_a_reason() -> None:
    found = by_name(factorize(low_rank_network(), LowRankSettings(0.9, "energy"), {"pointwise"})[1])
    assert found["square"].form in ("spatial", "tucker") and max(found["square"].ranks) <= 9
    assert found["tall"].form == "tucker" and max(found["tall"].ranks) <= 3
    assert found["hidden"].form == "svd" and found["hidden"].ranks[0] <= 3
    assert found["pointwise"].reason == "excluded"
    assert found["grouped"].reason == "a convolution of 4 groups"
    assert "of the energy" in found["logits"].reason or "no rank" in found["logits"].reason
    assert found["stem"].params_after == found["stem"].params_before


@pytest.mark.parametrize("fraction", [0.8, 0.5, 0.3])
def test_budget_of_parameters_is_met_and_used(fraction: float) -> None:
    model = low_rank_network()
    factorized, reports = factorize(model, LowRankSettings(fraction, "params"))
    left = factorized.count_params() / model.count_params()
    assert left <= fraction
    if fraction >= 0.5:  # the last step goes no further than it must: one rank of the widest layer is 1.5 %
        assert left > fraction - 0.02
    assert all(report.params_after <= report.params_before for report in reports)


def test_budget_takes_the_energy_where_it_costs_least() -> None:
    """The kernel of rank 3 gives its weights before the one of full rank does."""
    reset(5)
    x = keras.Input((64,))
    model = keras.Model(x, L.Dense(64, name="full")(L.Dense(64, name="low")(x)))
    rng = np.random.default_rng(0)
    model.get_layer("low").kernel.assign(rng.normal(size=(64, 3)) @ rng.normal(size=(3, 64)))
    found = by_name(factorize(model, LowRankSettings(0.6, "params"))[1])
    assert found["full"].form == "" and found["low"].energy == pytest.approx(1.0, abs=1e-6)


def test_what_cannot_be_done_is_one_clear_line() -> None:
    with pytest.raises(CandidateError, match=r"no rank pays that keeps 0.99 of a layer's energy; the most is 0\.\d{3}"):
        factorize(network(), LowRankSettings(0.99, "energy"))
    with pytest.raises(CandidateError, match="are wanted"):
        factorize(network(), LowRankSettings(0.05, "params"))
    x = keras.Input((4,))
    with pytest.raises(CandidateError, match="nor any rank at all"):
        factorize(keras.Model(x, L.Dense(1)(x)), LowRankSettings(0.5, "energy"))


def test_sequential_and_zero_kernels() -> None:
    reset(6)
    model = keras.Sequential([keras.Input((64,)), L.Dense(64, name="a"), L.ReLU(), L.Dense(64, name="b")])
    model.get_layer("a").kernel.assign(np.zeros((64, 64)))
    factorized, reports = factorize(model, LowRankSettings(0.6, "energy"))
    assert by_name(reports)["a"].reason == "all weights are zero"
    assert [layer.name for layer in factorized.layers if "dense" not in layer.name][1:] == ["a", "re_lu", "b_u", "b_v"]


def test_same_arguments_same_weights() -> None:
    first, second = (factorize(low_rank_network(), LowRankSettings(0.9, "energy"))[0] for _ in range(2))
    for a, b in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def classifier() -> keras.Model:
    """For the images of tests.compress.nets, with kernels of nearly low rank."""
    reset(7)
    image = keras.Input((12, 12, 3), name="image")
    x = L.Conv2D(16, 3, strides=2, padding="same", use_bias=False, name="stem")(image)
    x = L.ReLU(6.0, name="stem_relu")(L.BatchNormalization(momentum=0.9, name="stem_bn")(x))
    x = L.Conv2D(24, 3, padding="same", use_bias=False, name="square")(x)
    x = L.ReLU(6.0, name="square_relu")(L.BatchNormalization(momentum=0.9, name="square_bn")(x))
    x = L.ReLU(6.0, name="pointwise_relu")(L.Conv2D(32, 1, name="pointwise")(x))
    model = keras.Model(image, L.Dense(4, name="logits")(L.GlobalAveragePooling2D(name="pool")(x)))
    rng = np.random.default_rng(0)
    square = np.einsum("hir,wro->hwio", rng.normal(size=(3, 16, 4)), rng.normal(size=(3, 4, 24)))
    model.get_layer("square").kernel.assign(square / 30)
    model.get_layer("pointwise").kernel.assign(rng.normal(size=(1, 1, 24, 3)) @ rng.normal(size=(3, 32)) / 10)
    return model


def test_later_passes_take_the_factors() -> None:
    """Prune, cluster and quantization-aware training wrap 1-D kernels and chains without activation between."""
    images = blob_images(64)
    tune = fine_tune(images, epochs=1, batch_size=64)
    compress_pass = low_rank.LowRank(LowRankSettings(0.9, "energy"))
    model = compress_pass.strip(compress_pass.wrap(classifier(), Invariants(), tune))
    assert {"square_u", "square_v", "pointwise_u"} <= {layer.name for layer in model.layers}
    assert (
        compress_pass.report
        and ("square_u", "square") in compress_pass.promises().origins
        and compress_pass.arch("x") == ""
    )
    assert 1 in model.get_layer("square_u").kernel_size
    for later in (
        Prune(PruneSettings(0.0, 0.5)),
        Cluster(ClusterSettings(8)),
        Quantize(QuantizeSettings()),
    ):
        wrapped = later.wrap(copy_of(model), Invariants(), tune)
        names = " ".join(layer.name for layer in wrapped.layers)
        assert all(f"_{name}" in names for name in ("square_u", "square_v", "pointwise_u", "pointwise_v"))
        assert np.isfinite(wrapped(pixels(model)).numpy()).all()


def test_a_rank_without_any_energy_is_not_taken() -> None:
    """Of this kernel the largest directions of each side alone have no common part."""
    image = keras.Input((8, 8, 16))
    x = L.Conv2D(16, 3, name="square", use_bias=False)(image)
    model = keras.Model(image, L.Conv2D(64, 3, name="last")(x))
    kernel = np.zeros((3, 3, 16, 16), np.float32)
    kernel[1, 1, 0, 1] = kernel[0, 0, 0, 2] = 1.0
    kernel[1, 1, 1, 0] = 1.2
    model.get_layer("square").kernel.assign(kernel)
    reports = by_name(factorize(model, LowRankSettings(0.5, "params"))[1])
    assert reports["square"].energy == pytest.approx(1.0)

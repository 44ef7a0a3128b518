from __future__ import annotations

import itertools

import numpy as np
import pytest

from compress.invariants import kernel_variable
from compress.one_shot import analyse, pruned
from compress.sensitivity import LayerSensitivity, Sensitivity, allocate
from compress.storage import named_weights
from core.errors import UsageError
from core.spec_io import canonical_json, from_plain, to_plain
from tests.compress.nets import blob_images, fine_tune, small_network

GRID = (0.5, 0.9)


def curve(name: str, size: int, losses: tuple[float, ...], sparsities: tuple[float, ...] = GRID) -> LayerSensitivity:
    return LayerSensitivity(name, size, sparsities, losses, (1.0,) * len(losses))


def zeros(found: dict[str, float], analysis: Sensitivity) -> float:
    return sum(found[layer.layer] * layer.size for layer in analysis.layers)


def test_zeros_go_where_they_cost_least_until_the_budget_is_met() -> None:
    analysis = Sensitivity(10, 1.0, 1.0, (curve("dear", 100, (1.5, 2.9)), curve("cheap", 300, (1.15, 1.45))))
    found = allocate(analysis, 0.6)
    # A weight costs 0.001 (cheap up to half), 0.0025 (cheap beyond), 0.01, 0.035: "cheap" gets 240 of the 240 zeros.
    assert found == pytest.approx({"dear": 0.0, "cheap": 0.8})
    assert allocate(analysis, 0.8) == pytest.approx({"dear": 0.5, "cheap": 0.9})


def test_allocation_is_the_best_of_a_fine_grid() -> None:
    analysis = Sensitivity(10, 0.2, 1.0, (curve("a", 100, (0.25, 0.9)), curve("b", 100, (0.4, 0.5))))
    found = allocate(analysis, 0.6)

    def loss(sparsities: tuple[float, ...]) -> float:
        # The curves as they are used: "b" is convex only from above, so its second piece is as steep as its first.
        curves = ((0.0, 0.05, 0.7), (0.0, 0.2, 0.2 + 0.4 * 0.4))
        return sum(np.interp(s, (0.0, *GRID), c) for s, c in zip(sparsities, curves, strict=True))

    grid = [(s, 1.2 - s) for s in np.linspace(0.3, 0.9, 61)]
    assert loss((found["a"], found["b"])) <= min(map(loss, grid)) + 1e-9  # rounding


def test_a_curve_that_turns_flat_does_not_make_the_rest_of_a_layer_free() -> None:
    """At 0.5 the layer is destroyed, and the network guesses: 0.9 is no worse, but no reason to go there either."""
    analysis = Sensitivity(10, 0.1, 1.0, (curve("broken", 100, (2.3, 2.3)), curve("steady", 100, (0.6, 1.8))))
    assert allocate(analysis, 0.45) == pytest.approx({"broken": 0.0, "steady": 0.9})


def test_a_lower_loss_is_no_gain() -> None:
    analysis = Sensitivity(10, 1.0, 1.0, (curve("a", 100, (0.7, 0.8)), curve("b", 100, (1.0, 1.0))))
    found = allocate(analysis, 0.3)
    assert zeros(found, analysis) == pytest.approx(60)


@pytest.mark.parametrize("sparsity", [0.0, 0.17, 0.5, 0.83, 0.9])
def test_budget_is_met_exactly(sparsity: float) -> None:
    analysis = Sensitivity(
        10, 0.5, 1.0, (curve("a", 7, (0.6, 0.9)), curve("b", 1000, (0.5, 3.0)), curve("c", 33, (4, 5)))
    )
    assert zeros(allocate(analysis, sparsity), analysis) == pytest.approx(sparsity * 1040)


def test_budget_beyond_the_analysis_is_refused() -> None:
    with pytest.raises(UsageError, match=r"0\.95 is not legal; expected a number from 0 to 0\.9"):
        allocate(Sensitivity(1, 0.5, 1.0, (curve("a", 10, (0.6, 0.9)),)), 0.95)


def test_pruned_zeroes_the_smallest_and_keeps_one() -> None:
    kernel = np.array([[0.1, -3.0], [0.2, -0.05]], np.float32)
    np.testing.assert_array_equal(pruned(kernel, 0.5), [[0.0, -3.0], [np.float32(0.2), 0.0]])
    np.testing.assert_array_equal(pruned(kernel, 0.99), [[0.0, -3.0], [0.0, 0.0]])
    np.testing.assert_array_equal(pruned(kernel, 0.0), kernel)


def test_analysis_repeats_leaves_the_model_alone_and_survives_json() -> None:
    model, images = small_network(), blob_images(64)
    before = named_weights(model)
    found = analyse(model, images, ("stem_conv", "logits"), sparsities=GRID, max_images=48)
    assert found == analyse(model, images, ("stem_conv", "logits"), sparsities=GRID, max_images=48)
    for name, value in named_weights(model).items():
        np.testing.assert_array_equal(value, before[name])
    assert found.images == 48
    assert [(layer.layer, layer.size) for layer in found.layers] == [("stem_conv", 216), ("logits", 128)]
    assert from_plain(Sensitivity, to_plain(found)) == found
    assert canonical_json(found)


def test_loss_is_the_cross_entropy_that_training_minimizes() -> None:
    model, images = small_network(), blob_images(64)
    kernel = kernel_variable(model.get_layer("logits"))
    kernel.assign(np.zeros(kernel.shape))
    found = analyse(model, images, ())
    assert found.loss == pytest.approx(np.log(4))  # four classes, equal scores


def test_a_layer_that_does_nothing_is_the_least_sensitive() -> None:
    model, images = small_network(), blob_images(128)
    tuning = fine_tune(images, epochs=8, batch_size=32)
    tuning.run(model, (), "train")
    dead = kernel_variable(model.get_layer("s0_b0_se_reduce"))
    dead.assign(dead * 1e-6)  # the gate is then the same whatever the image
    found = analyse(model, images, ("stem_conv", "s0_b0_se_reduce"))
    stem, gate = found.layers
    assert max(abs(loss - found.loss) for loss in gate.losses) < 1e-3 < max(stem.losses) - found.loss
    allocated = allocate(found, 0.2)
    assert allocated["s0_b0_se_reduce"] > allocated["stem_conv"]
    assert all(later >= earlier for earlier, later in itertools.pairwise(sorted(stem.sparsities)))

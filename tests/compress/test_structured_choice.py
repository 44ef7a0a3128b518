"""What goes: importances, units that keep widths equal, and the greedy choice."""

from __future__ import annotations

import itertools

from core.keras_env import keras, tf

import numpy as np
import pytest

from compress.model_cost import model_cost
from compress.structured.channels import channels_in
from compress.structured.choose import BlockCandidate, Candidate, choose
from compress.structured.importance import importance_of
from compress.structured.ours import equal_widths
from compress.structured.residual import residual_blocks
from compress.structured.sizes import Sizes, terms_of
from compress.structured.surgery import without
from compress.structured.units import Group, groups_of
from core.errors import CandidateError
from tests.compress.structured_nets import fine_tune, network, settled


def chain(*, norm: bool = True) -> keras.Model:
    """Three convolutions in a row, of 4, 6 and 8 channels."""
    x = image = keras.Input((16, 16, 3))
    for index, filters in enumerate((4, 6, 8)):
        x = keras.layers.Conv2D(filters, 3, name=f"conv{index}")(x)
        x = keras.layers.BatchNormalization(name=f"bn{index}")(x) if norm else x
        x = keras.layers.ReLU(name=f"relu{index}")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return settled(keras.Model(image, keras.layers.Dense(4, name="logits")(x)), seed=1)


def importance(kind: str, model: keras.Model, layer: str, **changes: int) -> np.ndarray:
    channels = channels_in(model)
    classes = importance_of(kind, model, channels, (), fine_tune(**changes)).classes
    return classes[channels.layers[layer].output]


def test_l1_is_the_norm_of_the_filters():
    model = chain()
    norms = np.abs(model.get_layer("conv1").kernel.numpy()).sum(axis=(0, 1, 2))
    np.testing.assert_allclose(importance("l1", model, "conv1"), norms / norms.mean(), rtol=1e-6)


def test_bn_gamma_is_the_size_of_the_scale():
    model = chain()
    model.get_layer("bn1").gamma.assign([1.0, -2.0, 3.0, 0.0, 3.0, 3.0])
    np.testing.assert_allclose(importance("bn_gamma", model, "conv1"), [0.5, 1.0, 1.5, 0.0, 1.5, 1.5], rtol=1e-6)


def test_bn_gamma_without_normalization_is_refused():
    with pytest.raises(CandidateError, match="importance bn_gamma needs batch normalizations"):
        importance("bn_gamma", chain(norm=False), "conv1")


def test_random_depends_on_the_seed_alone():
    model = chain()
    one, same, other = (importance("random", model, "conv1", seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.allclose(one, other)


@pytest.mark.parametrize("norm", [True, False])
def test_taylor_is_the_squared_slope_of_the_loss(norm):
    """Against a difference quotient: the scale and shift (or the kernel and bias) of one channel times 1 +- epsilon."""
    model, data, epsilon = chain(norm=norm), fine_tune(8), 1e-2
    layer = model.get_layer("bn1" if norm else "conv1")
    variables = [layer.gamma, layer.beta] if norm else [layer.kernel, layer.bias]
    images = tf.cast(data.train.rgb(), tf.float32) / 255
    expected = []
    for channel in range(6):
        losses = []
        for sign in (1, -1):
            before = [variable.numpy() for variable in variables]
            for variable, values in zip(variables, before, strict=True):
                changed = values.copy()
                changed[..., channel] *= 1 + sign * epsilon
                variable.assign(changed)
            logits = model(images, training=False)
            losses.append(keras.losses.sparse_categorical_crossentropy(data.train.labels, logits, from_logits=True))
            for variable, values in zip(variables, before, strict=True):
                variable.assign(values)
        expected.append(np.mean(((losses[0] - losses[1]) / (2 * epsilon)) ** 2))
    # The quotient's own error is of the order of epsilon squared, where no ReLU changes its mind in between.
    found = importance("taylor", model, "conv1", count=8)
    np.testing.assert_allclose(found, expected, rtol=0.1, atol=1e-3 * max(expected))


def test_taylor_finds_the_channels_that_do_nothing():
    model = chain()
    model.get_layer("bn1").beta.assign(np.full(6, 5.0))  # no ReLU is off
    kernel = model.get_layer("conv2").kernel
    kernel.assign(kernel.numpy() * np.array([0, 1, 1, 0, 1, 1])[:, None])
    found = importance("taylor", model, "conv1")
    assert (found == 0).tolist() == [True, False, False, True, False, False]


@pytest.mark.parametrize("kind", ["l1", "bn_gamma", "taylor", "random"])
def test_blocks_and_gates_have_importances(kind):
    model = network("gates")
    channels = channels_in(model)
    blocks = residual_blocks(model, channels)
    found = importance_of(kind, model, channels, blocks, fine_tune())
    assert len(found.blocks) == len(blocks) == 2
    assert all(value > 0 for value in found.blocks)
    assert found.absolute == (kind == "taylor")
    hidden = found.classes[channels.layers["s0_b0_expand_conv"].output]
    assert np.isfinite(hidden).all()


def test_a_branch_of_zeros_is_the_first_to_go():
    model = network("residual")
    channels = channels_in(model)
    blocks = residual_blocks(model, channels)
    for variable in model.get_layer("s0_b1_2_bn").weights[:2]:
        variable.assign(np.zeros(variable.shape))
    for kind in ("bn_gamma", "taylor"):
        found = importance_of(kind, model, channels, blocks, fine_tune()).blocks
        assert found[1] == 0 < min(found[0], found[2])


def widths_after(name: str, units: int) -> dict[str, int]:
    """The width of each tensor when that many units are gone from each group."""
    channels = channels_in(network(name))
    importance = np.random.default_rng(0).uniform(0.5, 1.5, channels.num_classes)
    equal = equal_widths(channels.layers)
    assert equal
    groups = groups_of(channels, importance, [[channels.layers[n].output for n in names] for names in equal])
    gone = {item for group in groups for unit in group.units[: min(units, len(group.units) - 1)] for item in unit}
    return {n: sum(item not in gone for item in layer.output.tolist()) for n, layer in channels.layers.items()}


@pytest.mark.parametrize("name", ["residual", "groups", "shuffles", "branches", "cells"])
@pytest.mark.parametrize("units", [3])
def test_widths_that_the_grammar_has_one_number_for_stay_equal(name, units):
    before, after = widths_after(name, 0), widths_after(name, units)
    for names in equal_widths(before):
        assert len({after[n] for n in names}) == 1
    assert any(after[n] < before[n] for names in equal_widths(before) for n in names)


def test_units_are_ranked_and_paired_by_importance():
    channels = channels_in(network("residual"))
    first, second = (channels.layers[f"s1_b0_{index}_conv"].output for index in (1, 2))
    importance = np.ones(channels.num_classes)
    importance[first], importance[second] = np.arange(8)[::-1] + 1, np.arange(8) + 1
    groups = groups_of(channels, importance, [[first, second]])
    units = next(group.units for group in groups if first[0] in itertools.chain(*group.units))
    assert [set(unit) for unit in units] == [{first[7 - rank], second[rank]} for rank in range(8)]


def test_steps_keep_multiples():
    def steps(units: int, width: int, multiple: int) -> tuple[int, ...]:
        return Group(tuple((i,) for i in range(units)), (1.0,) * units, 1, width).steps(multiple)

    assert steps(24, 1, 8) == (0, 8, 16)
    assert steps(28, 1, 8) == (0, 4, 12, 20)
    assert steps(8, 1, 8) == steps(6, 1, 8) == (0,)  # nothing narrower than eight
    assert steps(4, 1, 1) == (0, 1, 2, 3)
    assert steps(8, 4, 8) == (0, 2, 4, 6)
    assert steps(6, 3, 8) == (0, 2)  # 18 channels in threes: 12 is a multiple of four


@pytest.mark.parametrize("metric", ["macs", "params"])
def test_sizes_are_those_of_the_smaller_model(metric):
    model = network("groups")
    channels = channels_in(model)
    gone = np.flatnonzero(~channels.frozen)[::3].tolist()
    sizes = Sizes(terms_of(channels, metric))
    saved = sizes.saving(gone)
    before, after = (getattr(model_cost(m), metric) for m in (model, without(model, channels, gone)[0]))
    assert saved == before - after > 0
    assert sizes.cost() == before
    sizes.remove(gone)
    assert sizes.saving(gone[:0]) == 0
    sizes.restore(gone)
    assert sizes.saving(gone) == saved


def group(importance: list[float], first: int) -> Candidate:
    return Candidate(Group(tuple((first + i,) for i in range(len(importance))), tuple(importance), 1, 1), 1.0)


def two_groups() -> tuple[list[Candidate], Sizes, int]:
    """The two first widths of a chain, 4 and 6."""
    model = chain()
    channels = channels_in(model)
    first, second = (int(channels.layers[f"conv{i}"].output[0]) for i in (0, 1))
    candidates = [group([1.0] * 4, first), group([0.01] * 3 + [1.0] * 3, second)]
    return candidates, Sizes(terms_of(channels, "macs")), model_cost(model).macs


def test_what_is_cheap_to_lose_goes_first():
    candidates, sizes, cost = two_groups()
    choice = choose(candidates, (), sizes, cost=cost, target=int(0.7 * cost), multiple=1)
    assert choice is not None
    assert choice.classes == {item for unit in candidates[1].group.units[:3] for item in unit}


def test_the_target_is_reached_and_nothing_goes_without_need():
    for target in (0.9, 0.6, 0.4, 0.3):
        candidates, sizes, cost = two_groups()
        choice = choose(candidates, (), sizes, cost=cost, target=int(target * cost), multiple=1)
        assert choice is not None
        assert choice.cost <= target * cost
        for candidate in candidates:
            gone = [unit[0] for unit in candidate.group.units if unit[0] in choice.classes]
            if gone:
                sizes.restore(gone[-1:])
                assert choice.cost + sizes.saving(gone[-1:]) > target * cost
                sizes.remove(gone[-1:])


def test_no_group_is_emptied():
    candidates, sizes, cost = two_groups()
    assert choose(candidates, (), sizes, cost=cost, target=cost // 100, multiple=1) is None


def test_a_cheap_block_goes_and_a_dear_one_stays():
    candidates, sizes, cost = two_groups()
    dear, cheap = BlockCandidate(0, ("conv0",), 100.0), BlockCandidate(1, ("conv1",), 0.001)
    choice = choose(candidates, (dear, cheap), sizes, cost=cost, target=int(0.9 * cost), multiple=1)
    assert choice is not None
    assert choice.blocks == (1,)
    assert not choice.classes
    assert choice.cost == cost - 12 * 12 * 9 * 4 * 6

"""Sorting channels by importance leaves the networks as they are, and puts the best channels first."""

from __future__ import annotations

import numpy as np
import pytest

from core.registry import load
from search.arch import ArchSpec, BlockSpec, StageSpec
from search.choice import OneOf
from search.space import SearchSpace
from search.spaces import SPACES
from search.supernet.network import ElasticNetwork
from search.supernet.phases import phases, sample
from search.supernet.settings import SupernetConfig
from search.supernet.sorting import channel_orders, narrowed, sort_channels
from tests.search.supernet.elastic_training import CLASSES, SIDE, fresh, images

IMAGES = images(12)
# Float32 sums of up to 100 terms of size 1 in another order.
TOLERANCE = 1e-5


def block(op: str, stage: int, channels: tuple[int, ...], **choices: tuple) -> BlockSpec:
    fields = {name: OneOf(values, f"{op}{stage}/{name}") for name, values in choices.items()}
    return BlockSpec(op, out_channels=OneOf(channels, f"{stage}/out"), **fields)


def rich_space() -> SearchSpace:
    """Blocks without a convolution for their hidden channels, squeeze-excite, operators, and stages of which some
    networks add the channels, as they happen to be as many."""
    first = block("ir", 0, (8, 12, 16), expand_ratio=(1, 2, 4), kernel_size=(3, 5))
    second = block("ir3", 1, (12, 16, 20), expand_ratio=(2, 3, 4), se_ratio=(0.0, 0.25))
    fused = block("fused", 1, (12, 16, 20), expand_ratio=(1, 2, 3))
    third = OneOf((StageSpec((second, second), OneOf((1, 2))), StageSpec((fused, fused), 2)))
    template = ArchSpec(
        OneOf((8, 16)), (StageSpec((first, first), OneOf((1, 2))), third), OneOf((16, 24)), 1.0, SIDE, CLASSES,
        head_units=(OneOf((8, 16)),),
    )  # fmt: skip
    return SearchSpace("rich", template)


def with_random_weights(network: ElasticNetwork) -> ElasticNetwork:
    """So that every channel differs from every other one in every weight."""
    draw = np.random.default_rng(1)
    for name, variable in network.weights.items():
        if not name.endswith(("transform3", "transform5")):
            noise = draw.normal(scale=0.5, size=variable.shape).astype(np.float32)
            variable.assign(variable + noise * (1.0 if variable.shape.rank == 1 else 0.1))
    return network


def outputs(network: ElasticNetwork, arch: ArchSpec) -> np.ndarray:
    network.recalibrate(arch, IMAGES)
    return network.logits(arch, IMAGES)


def assert_all_sorted_layers_have_their_best_channels_first(network: ElasticNetwork) -> None:
    """The L1 norms of what reads the channels of block and head fall."""
    for name in ("s0_b0/ir/project_conv/kernel", "s0_b1/ir/project_conv/kernel", "units0/kernel"):
        kernel = network.weights[name].numpy()
        norms = np.abs(kernel).sum(axis=tuple(axis for axis in range(kernel.ndim) if axis != kernel.ndim - 2))
        assert (np.diff(norms) <= 0).all(), name


@pytest.fixture(scope="module")
def network() -> ElasticNetwork:
    """One for all tests of the rich space: it is traced once."""
    return fresh(rich_space())


def test_sorting_leaves_the_largest_network_as_it_is(network):
    with_random_weights(network)
    arch = network.layout.largest
    before, kernels = outputs(network, arch), network.weights["s1_b0/ir3/expand_conv/kernel"].numpy()
    sort_channels(network)
    np.testing.assert_allclose(outputs(network, arch), before, atol=TOLERANCE)
    assert not np.array_equal(network.weights["s1_b0/ir3/expand_conv/kernel"].numpy(), kernels)
    assert_all_sorted_layers_have_their_best_channels_first(network)


def test_sorting_while_width_shrinks_leaves_all_networks_trained_so_far_as_they_are(network):
    with_random_weights(network)
    space = network.space
    phase = phases(SupernetConfig(), space)[-2]
    assert phase.name == "width 1"
    archs = [space.decode(sample(space, phase, np.random.default_rng(step))) for step in range(25)]
    archs.append(network.layout.largest)
    before = [outputs(network, arch) for arch in archs]
    orders = channel_orders(
        network.layout, {name: value.numpy() for name, value in network.weights.items()}, narrowed(space, phase)
    )
    assert not any(np.array_equal(order, np.arange(len(order))) for order in orders.values())  # all are sorted anew
    sort_channels(network, narrowed(space, phase))
    for arch, expected in zip(archs, before, strict=True):
        np.testing.assert_allclose(outputs(network, arch), expected, atol=TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["mobilenet_v2_small_se", "mobilenet_v2_small_xnnpack", "mobilenet_v3", "proxyless", "mnasnet"]
)
def test_sorting_a_named_space(name):
    """The outputs change no more than by rounding errors, which dozens of normalizations of few values multiply."""
    space = load(SPACES, name, "space")(32, CLASSES)
    network = with_random_weights(fresh(space))
    data = images(12, 32)
    phase = phases(SupernetConfig(), space)[-2]
    archs = [space.decode(sample(space, phase, np.random.default_rng(step))) for step in range(8)]

    def all_outputs() -> np.ndarray:
        found = []
        for arch in archs:
            network.recalibrate(arch, data)
            found.append(network.logits(arch, data))
        return np.stack(found)

    before = all_outputs()
    values = {key: variable.numpy() for key, variable in network.weights.items()}
    draw = np.random.default_rng(2)
    for variable in network.weights.values():  # one rounding error in each weight
        variable.assign(variable * (1 + draw.choice([-6e-8, 0, 6e-8], size=variable.shape).astype(np.float32)))
    by_rounding = np.abs(all_outputs() - before).max(axis=(1, 2))
    for key, variable in network.weights.items():
        variable.assign(values[key])
    sort_channels(network, narrowed(space, phase))
    by_sorting = np.abs(all_outputs() - before).max(axis=(1, 2))
    # Sums in another order have errors of the same size; both are maxima of few values.
    assert (by_sorting <= 5 * by_rounding).all(), (by_sorting, by_rounding)

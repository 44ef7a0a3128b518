"""What a supernet has, what each network takes of it, and which networks and spaces it refuses. No TensorFlow here."""

from __future__ import annotations

import dataclasses
import math
import random

import pytest

from core.errors import UsageError
from search.arch import ArchSpec, BlockSpec, StageSpec
from search.choice import OneOf
from search.cost import cost
from search.recipe_space import parse_template
from search.sampling import random_genotype
from search.space import SearchSpace
from search.spaces import SPACES as TABLE
from search.supernet.genotypes import genotype_of, largest_genotype, smallest_genotype
from search.supernet.layout import Layout, layout_of
from search.supernet.weight_specs import WeightSpec
from tests.search.supernet.elastic_spaces import (
    CLASSES,
    SHARED_SPACES,
    UNSHARED_SPACES,
    named_space,
    rich_space,
    some_archs,
    xnnpack_space,
)

SPACES = [*(named_space(name) for name in SHARED_SPACES), rich_space(), xnnpack_space()]
by_space = pytest.mark.parametrize("space", SPACES, ids=lambda space: f"{space.name}_{space.template.form}")


@by_space
def test_the_genotype_found_for_a_network_decodes_to_it(space: SearchSpace) -> None:
    for arch in some_archs(space, 20):
        assert space.decode(genotype_of(space, arch)) == arch


@by_space
def test_a_setting_takes_as_many_parameters_as_the_network_has(space: SearchSpace) -> None:
    layout = layout_of(space)
    for arch in some_archs(space, 10):
        setting = dict(zip(layout.slots, layout.setting(arch).tolist(), strict=True))
        taken = sum(_size(layout, spec, setting) for spec in (*layout.weights, *layout.statistics))
        assert taken == cost(arch).params


def _size(layout: Layout, spec: WeightSpec, setting: dict[str, int]) -> int:
    """Elements that a network's model has of a weight; the matrices that shrink kernels are in no model."""
    if spec.kind == "transform" or (spec.active and not setting[spec.active]):
        return 0
    sizes = [size if slot is None else setting[slot] for slot, size in zip(spec.axes, spec.shape, strict=True)]
    branches = {branch.name: branch for place in layout.branches for branch in place}
    branch = branches.get("/".join(spec.name.split("/")[:2]))
    if spec.axes[0] and len(spec.shape) == 4 and branch is not None:
        sizes[:2] = [setting[branch.kernel_slot or ""]] * 2  # not the part of the weight that makes the kernel
    return math.prod(sizes)


@by_space
def test_no_size_is_outside_its_weight_and_none_in_use_is_zero(space: SearchSpace) -> None:
    layout = layout_of(space)
    for arch in (layout.largest, layout.smallest, *some_archs(space, 10)):
        setting = dict(zip(layout.slots, layout.setting(arch).tolist(), strict=True))
        for spec in layout.weights:
            is_active = not spec.active or setting[spec.active] == 1
            for slot, size in zip(spec.axes, spec.shape, strict=True):
                low = 1 if is_active and spec.kind != "transform" else 0
                assert slot is None or low <= setting[slot] <= size


@by_space
def test_the_largest_network_is_the_most_expensive_and_the_smallest_the_least(space: SearchSpace) -> None:
    layout = layout_of(space)
    most, least = cost(layout.largest), cost(layout.smallest)
    assert least.macs < most.macs
    assert all(least.macs <= cost(arch).macs <= most.macs for arch in some_archs(space, 20))


@by_space
def test_no_network_like_the_smallest_is_cheaper_and_none_like_the_largest_more_expensive(space: SearchSpace) -> None:
    rng = random.Random(0)
    for extreme, sign in ((smallest_genotype(space), 1), (largest_genotype(space), -1)):
        bound = sign * cost(space.decode(extreme)).macs
        for _ in range(10):
            drawn = zip(random_genotype(space, rng), extreme, strict=True)
            other = tuple(index if rng.random() < 0.2 else kept for index, kept in drawn)
            assert sign * cost(space.decode(other)).macs >= bound


def test_shared_and_unshared_spaces_are_the_whole_table() -> None:
    assert sorted((*SHARED_SPACES, *UNSHARED_SPACES)) == sorted(TABLE)


@pytest.mark.parametrize("name", SHARED_SPACES)
def test_the_largest_network_takes_all_of_every_weight_of_its_operators(name: str) -> None:
    layout = layout_of(named_space(name))
    setting = dict(zip(layout.slots, layout.setting(layout.largest).tolist(), strict=True))
    taken = [spec for spec in layout.weights if not spec.active or setting[spec.active]]
    assert taken
    for spec in taken:
        if spec.kind != "transform" and "/fused/" not in spec.name:
            assert [slot and setting[slot] for slot in spec.axes] == [
                slot and size for slot, size in zip(spec.axes, spec.shape, strict=True)
            ]


def test_skips_and_activations_of_the_smallest_are_those_of_the_largest() -> None:
    space = named_space("mobilenet_v3")
    for gene, large, small in zip(space.genes, largest_genotype(space), smallest_genotype(space), strict=True):
        if isinstance(gene.choices[0], str | bool):
            assert large == small


def test_tensors_that_are_added_are_of_one_stream() -> None:
    layout = layout_of(named_space("mobilenet_v2_small"))
    for branches in layout.branches:
        for branch in branches:
            if branch.block > 0:
                assert branch.inputs.stream == branch.outputs.stream


def test_identities_leave_no_place_of_their_own() -> None:
    space = named_space("proxyless", 64)
    layout = layout_of(space)
    moved = ("stages/1/blocks/1", "stages/1/blocks/2")
    without = space.decode(tuple(len(gene.choices) - 1 if gene.path in moved else 0 for gene in space.genes))
    setting = dict(zip(layout.slots, layout.setting(without).tolist(), strict=True))
    assert (setting["s1_b1/ir"], setting["s1_b2/ir"], setting["s1_b3/ir"]) == (1, 0, 0)


@pytest.mark.parametrize("name", UNSHARED_SPACES)
def test_a_space_whose_operators_cannot_share_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=f"space {name}: .*where"):
        layout_of(named_space(name))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"norm": "bias"}, "norm: 'bias' is not legal"),
        ({"pooling": "flatten"}, "pooling: 'flatten' is not legal"),
        ({"stem_channels": 0}, "stem_channels: 0 is not legal"),
        ({"head_channels": OneOf((0, 16))}, "head_channels: 0 is not legal"),
        ({"stem_activation": OneOf(("relu", "relu6"))}, "stem_activation: OneOf"),
        ({"stages": (StageSpec((BlockSpec("ir", stride=OneOf((1, 2))),), 1),)}, "stages/0: strides of ir"),
        ({"stages": (StageSpec((BlockSpec(OneOf(("ir", "ir3"))),), 1),)}, "stages/0: op: OneOf"),
    ],
    ids=lambda item: str(next(iter(item))) if isinstance(item, dict) else "",
)
def test_what_cannot_be_shared_is_refused_by_name(fields: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match="space rich: " + message.replace("(", r"\(")) as caught:
        layout_of(rich_space(**fields))
    assert "\n" not in str(caught.value)


def _with_block(arch: ArchSpec, **fields: object) -> ArchSpec:
    stage = arch.stages[0]
    blocks = (dataclasses.replace(stage.blocks[0], **fields), *stage.blocks[1:])
    return dataclasses.replace(arch, stages=(dataclasses.replace(stage, blocks=blocks), *arch.stages[1:]))


@pytest.mark.parametrize(
    "change",
    [
        lambda arch: dataclasses.replace(arch, resolution=64),
        lambda arch: dataclasses.replace(arch, num_classes=CLASSES + 1),
        lambda arch: dataclasses.replace(arch, head_channels=128),
        lambda arch: dataclasses.replace(arch, stages=arch.stages[1:]),
        lambda arch: _with_block(arch, out_channels=32),
        lambda arch: _with_block(arch, op="ir3"),
        lambda arch: _with_block(arch, kernel_size=3),  # the kernels of a stage are tied, and the other one's is 7
    ],
    ids=["resolution", "classes", "head", "stages", "channels", "operator", "tie"],
)
def test_a_network_of_another_space_is_refused_in_one_line(change: object) -> None:
    layout = layout_of(named_space("mobilenet_v2_small"))
    with pytest.raises(UsageError, match="expected a network of space mobilenet_v2_small") as caught:
        layout.setting(change(layout.largest))  # type: ignore[operator]
    assert "\n" not in str(caught.value)


def test_a_recipe_that_is_searched_too_does_not_disturb() -> None:
    base = named_space("mobilenet_v2_small")
    space = dataclasses.replace(base, recipe=parse_template("prune:{none,0.5}+ptq"))
    assert layout_of(space).slots == layout_of(base).slots
    assert space.decode(genotype_of(space, layout_of(base).largest)) == layout_of(base).largest

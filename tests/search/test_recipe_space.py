from __future__ import annotations

import dataclasses

import pytest

from core.errors import UsageError
from search.named import space
from search.recipe_space import NONE, parse_template

TEXT = "structured:{none,0.5}+prune:{none,0.5,0.75}+cluster:16+{ptq,qat}"


def test_template_lists_every_recipe_once() -> None:
    template = parse_template(TEXT)
    recipes = list(template.all())
    assert len(recipes) == len(set(recipes)) == template.size == 2 * 3 * 2
    assert recipes[0] == "cluster:16+ptq"
    assert recipes[-1] == "structured:0.5+prune:0.75+cluster:16+qat"


def test_genes_are_the_alternatives_and_none_leaves_a_part_out() -> None:
    template = parse_template(TEXT)
    assert [path for path, _ in template.genes] == ["recipe/structured", "recipe/prune", "recipe/ptq|qat"]
    assert template.genes[1][1] == (NONE, "prune:0.5", "prune:0.75")
    assert template.fill((1, 0, 1)) == "structured:0.5+cluster:16+qat"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "part 1 ('')"),
        ("prune:{0.5", "part 1 ('prune:{0.5')"),
        ("prune:{none,0.5}+", "part 2 ('')"),
        ("prune:{0.5,0.5}", "part 1 ('prune:{0.5,0.5}') names a choice twice"),
        ("prune:{none,}", "part 1 ('prune:{none,}') names a choice twice, or an empty one"),
        ("prune:0.5+prune:{none,0.7}", "two parts for 'prune'"),
    ],
)
def test_bad_template_is_one_line_that_names_the_place(text: str, named: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_template(text)
    assert named in str(error.value)
    assert "\n" not in str(error.value)


def test_candidates_differ_by_network_and_recipe() -> None:
    plain = space("mobilenet_v2_small", 28, 10)
    joint = dataclasses.replace(plain, recipe=parse_template(TEXT))
    assert joint.size == plain.size * 12
    arch = (0,) * len(plain.genes)
    first, second = (*arch, 0, 0, 0), (*arch, 0, 0, 1)
    assert joint.decode(first) == joint.decode(second) == plain.decode(arch)
    assert joint.recipe_of(second) == "cluster:16+qat"
    assert len({plain.identity(arch), joint.identity(first), joint.identity(second)}) == 3
    assert plain.recipe_of(arch) == ""
    with pytest.raises(UsageError, match=r"recipe/ptq\|qat"):
        joint.decode((*arch, 0, 0, 2))

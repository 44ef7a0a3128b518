"""Genotypes of any hyperparameter space, conditional ones included."""

from __future__ import annotations

import keras_tuner
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import UsageError
from search.oracles.axes import LEVELS, MAX_VALUES, as_hyperparameters, choice_space
from search.oracles.choice_space import Axis, ChoiceSpace


def conditional() -> ChoiceSpace:
    """kind -> units -> drop: two levels of conditions."""
    hp = keras_tuner.HyperParameters()
    hp.Choice("kind", ["linear", "deep"])
    with hp.conditional_scope("kind", ["deep"]):
        hp.Int("units", 8, 32, step=8, default=16)
        with hp.conditional_scope("units", [24, 32]):
            hp.Boolean("drop", default=True)
    hp.Choice("last", [1, 2, 3])
    return choice_space(hp)


SPACE = conditional()
GENOTYPES = {SPACE.at(number) for number in range(SPACE.size)}
REAL = (1 + 2 + 2 * 2) * 3  # linear; deep with small units; deep with large units, twice each


def test_canonical_genotypes_are_the_configurations():
    assert SPACE.size == 2 * 4 * 2 * 3
    assert len(GENOTYPES) == REAL
    assert len({tuple(SPACE.values(genotype).items()) for genotype in GENOTYPES}) == REAL
    assert all(SPACE.genotype(SPACE.values(genotype)) == genotype for genotype in GENOTYPES)


def test_one_name_with_other_values_under_another_condition():
    hp = keras_tuner.HyperParameters()
    hp.Choice("kind", ["a", "b"])
    with hp.conditional_scope("kind", ["a"]):
        hp.Choice("size", [1, 2])
    with hp.conditional_scope("kind", ["b"]):
        hp.Choice("size", ["small", "large"])
    space = choice_space(hp)
    assert space.genotype({"kind": "a", "size": 2}) == (0, 1, 0)
    assert space.genotype({"kind": "b", "size": "large"}) == (1, 0, 1)
    with pytest.raises(UsageError, match="hyperparameter size: 1 is not legal"):
        space.genotype({"kind": "b", "size": 1})


def test_only_active_values_are_given():
    assert SPACE.values((0, 3, 1, 2)) == {"kind": "linear", "last": 3}
    assert SPACE.canonical((0, 3, 1, 2)) == (0, 0, 0, 2)
    assert SPACE.active((1, 1, 1, 0)) == (True, True, False, True)


def test_neighbours_are_all_real_and_one_step_away():
    for genotype in GENOTYPES:
        neighbours = SPACE.neighbours(genotype)
        assert len(set(neighbours)) == len(neighbours) == sum(SPACE.lengths[axis] - 1 for axis in SPACE.free(genotype))
        assert set(neighbours) <= GENOTYPES - {genotype}


def test_what_wakes_up_has_its_default():
    """units 16; a change of units to 24 wakes drop up."""
    assert (1, 1, 0, 0) in SPACE.neighbours((0, 0, 0, 0))
    assert (1, 2, 1, 0) in SPACE.neighbours((1, 1, 0, 0))


@given(st.integers(0, 2**32))
def test_mutations_change_one_free_axis(seed):
    random = np.random.default_rng(seed)
    genotype = SPACE.random(random)
    mutant = SPACE.mutate(genotype, random)
    assert {genotype, mutant} <= GENOTYPES
    was, now = SPACE.active(genotype), SPACE.active(mutant)
    changed = [i for i in range(4) if genotype[i] != mutant[i] and was[i] and now[i]]
    assert len(changed) == 1


def test_random_and_mutants_reach_everything():
    random = np.random.default_rng(0)
    # The rarest configuration has a chance of 1/48: missing it in 1,000 draws has one of 7e-10.
    assert {SPACE.random(random) for _ in range(1000)} == GENOTYPES
    reached = {(0, 0, 0, 0)}
    for _ in range(30):
        reached |= {SPACE.mutate(genotype, random) for genotype in reached for _ in range(10)}
    assert reached == GENOTYPES


def test_a_space_without_choice_stays_as_it_is():
    only = ChoiceSpace((Axis("a", (1,)),))
    assert only.mutate((0,), np.random.default_rng(0)) == (0,)
    assert only.neighbours((0,)) == []
    assert ChoiceSpace(()).size == 1


def test_ranges_are_taken_at_finitely_many_values():
    hp = keras_tuner.HyperParameters()
    hp.Float("rate", 1e-4, 1.0, sampling="log")
    hp.Int("many", 1, 10**9)
    hp.Int("few", 2, 32, step=2, sampling="log")
    hp.Float("step", 0.0, 1.0, step=0.25)
    rate, many, few, step = (axis.values for axis in choice_space(hp).axes)
    assert len(rate) == LEVELS
    assert (rate[0], pytest.approx(rate[-1])) == (1e-4, 1.0)
    assert np.allclose(np.diff(np.log(rate)), np.diff(np.log(rate))[0])
    assert (len(many), many[0], many[-1]) == (MAX_VALUES, 1, 10**9)
    assert few == (2, 4, 8, 16, 32)
    assert step == (0.0, 0.25, 0.5, 0.75, 1.0)


def test_a_value_between_is_the_nearest_one():
    axis = Axis("rate", (0.1, 0.2, 0.4), ordered=True)
    assert [axis.index(value) for value in (0.0, 0.19, 0.31, 9)] == [0, 1, 2, 2]
    with pytest.raises(UsageError, match=r"hyperparameter op: 'pool' is not legal; expected .*conv"):
        Axis("op", ("conv", "skip")).index("pool")


@pytest.mark.parametrize("genotype", [(0, 0, 0), (0, 4, 0, 0), (0, -1, 0, 0)])
def test_an_illegal_genotype_is_refused(genotype):
    with pytest.raises(UsageError, match="genotype"):
        SPACE.canonical(genotype)


def test_hyperparameters_and_back():
    space = ChoiceSpace((Axis("op", ("conv", "skip")), Axis("width", (8, 16, 24), ordered=True)))
    assert choice_space(as_hyperparameters(space)) == space

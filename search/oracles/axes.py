"""Keras Tuner hyperparameters -> axes with finitely many values."""

from __future__ import annotations

import itertools

import keras_tuner
import numpy as np
from keras_tuner.engine.hyperparameters import Boolean, Choice, Fixed, HyperParameter

from search.oracles.choice_space import Axis, ChoiceSpace

LEVELS = 10  # values of a continuous axis, both ends included; Keras Tuner itself lists ten
MAX_VALUES = 100  # an axis with more steps than this is taken at this many of them


def choice_space(hyperparameters: keras_tuner.HyperParameters) -> ChoiceSpace:
    """All hyperparameters known so far, in the order of their registration: parents come before their children."""
    return ChoiceSpace(tuple(_axis(parameter) for parameter in hyperparameters.space))


def _axis(parameter: HyperParameter) -> Axis:
    values = _values(parameter)
    ordered = not isinstance(parameter, Boolean | Fixed) and (not isinstance(parameter, Choice) or parameter.ordered)
    axis = Axis(parameter.name, values, ordered, 0, tuple(condition.is_active for condition in parameter.conditions))
    default = parameter.default
    return Axis(axis.name, values, ordered, axis.index(default), axis.conditions)


def _values(parameter: HyperParameter) -> tuple[object, ...]:
    if isinstance(parameter, Fixed):
        return (parameter.value,)
    if isinstance(parameter, Boolean):
        return (False, True)
    if isinstance(parameter, Choice):
        return tuple(dict.fromkeys(parameter.values))
    steps = 0
    if parameter.step is not None:
        listed = tuple(itertools.islice(parameter.values, MAX_VALUES + 1))
        if len(listed) <= MAX_VALUES:
            return tuple(dict.fromkeys(listed))
        steps = MAX_VALUES
    # Just below 1: the probability that stands for the largest value; 1 itself is beyond the last step.
    probabilities = np.linspace(0, np.nextafter(1, 0), steps or LEVELS)
    return tuple(dict.fromkeys(parameter.prob_to_value(float(probability)) for probability in probabilities))


def as_hyperparameters(space: ChoiceSpace) -> keras_tuner.HyperParameters:
    """The opposite, for a space without conditions, such as a table's: one Choice for each axis."""
    result = keras_tuner.HyperParameters()
    for axis in space.axes:
        result.Choice(axis.name, list(axis.values), ordered=axis.ordered)
    return result

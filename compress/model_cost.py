"""Multiply-accumulates and parameters of any functional tf_keras model: of our own ones what search.cost foresees."""

from __future__ import annotations

import math
from dataclasses import dataclass

from core.keras_env import keras

from compress.invariants import short_name
from compress.structured.graph import Call, calls_of, functional
from core.errors import CandidateError

Layers = keras.layers
# The kernel is applied at each place of the output ...
AT_OUTPUTS = (
    Layers.Conv1D,
    Layers.Conv2D,
    Layers.Conv3D,
    Layers.Dense,
    Layers.DepthwiseConv1D,
    Layers.DepthwiseConv2D,
    Layers.SeparableConv1D,
    Layers.SeparableConv2D,
)
# ... or of the input.
AT_INPUTS = (Layers.Conv1DTranspose, Layers.Conv2DTranspose, Layers.Conv3DTranspose)
KERNELS = ("kernel", "depthwise_kernel", "pointwise_kernel")


@dataclass(frozen=True, slots=True)
class ModelCost:
    """What a model costs.

    Attributes:
      macs: multiply-accumulates of the convolutions and dense layers for one image; of a layer that is used several
        times, of each use.
      params: all variables' values, as Keras counts them (a batch normalization has four per channel); each once.
    """

    macs: int
    params: int


def model_cost(model: keras.Model) -> ModelCost:
    """The cost of a plain model. Raises CandidateError naming a layer whose input has no fixed size."""
    macs = 0
    for call in calls_of(functional(model)):
        if isinstance(call.layer, keras.Model):
            macs += model_cost(call.layer).macs
        elif positions := positions_of(call):
            sizes = [v.shape.num_elements() for v in call.layer.weights if short_name(v) in KERNELS]
            macs += positions * sum(sizes)
    return ModelCost(macs, int(model.count_params()))


def positions_of(call: Call) -> int:
    """At how many places of one image a call applies its layer's kernels; 0 of a layer that has none."""
    if isinstance(call.layer, AT_INPUTS):
        shape = call.inputs[0].shape
    elif isinstance(call.layer, AT_OUTPUTS):
        shape = call.outputs[0].shape
    else:
        return 0
    sides = shape[1:-1]
    if None in sides:
        raise CandidateError(
            f"layer {call.layer.name!r}: the size of its images is not fixed, so its cost is not known"
        )
    return math.prod(sides)

"""How accuracy falls as each layer is pruned, and sparsities for all layers that fit one budget. No TensorFlow here.

The analysis itself is `compress.one_shot.analyse`; this is its value and what is concluded from it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from core.checks import in_range

# What is tried of each layer. The ends of the range are where pruning begins to show and where nothing is left.
SPARSITIES = (0.3, 0.5, 0.65, 0.75, 0.85, 0.9, 0.95, 0.99)
ROUNDING = 1e-9  # of sums of fractions


@dataclass(frozen=True, slots=True)
class LayerSensitivity:
    """One layer pruned alone: `losses[i]` and `accuracies[i]` belong to `sparsities[i]` of its `size` weights."""

    layer: str
    size: int
    sparsities: tuple[float, ...]
    losses: tuple[float, ...]
    accuracies: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """Loss (mean cross-entropy) and accuracy (0..1) of a trained network on `images` images, whole and pruned.

    `core.spec_io` turns it into JSON and back.
    """

    images: int
    loss: float
    accuracy: float
    layers: tuple[LayerSensitivity, ...]


def allocate(sensitivity: Sensitivity, sparsity: float) -> dict[str, float]:
    """Sparsities by layer of which `sparsity` is the mean over all weights, where they cost the least loss.

    The losses of single layers are taken to add up. Each curve is made convex from above (`_segments`), and then the
    weights go where the next one costs the least: greedy, which is optimal for convex curves. The last step is taken in
    part, so that the budget is met exactly. Raises UsageError for a sparsity that no curve reaches.
    """
    total = sum(layer.size for layer in sensitivity.layers)
    most = sum(layer.size * layer.sparsities[-1] for layer in sensitivity.layers) / max(total, 1)
    in_range("sparsity of all layers together", sparsity, 0.0, most + ROUNDING)
    found = dict.fromkeys((layer.layer for layer in sensitivity.layers), 0.0)
    sizes = {layer.layer: layer.size for layer in sensitivity.layers}
    steps = (segment for layer in sensitivity.layers for segment in _segments(layer, sensitivity.loss))
    wanted = sparsity * total
    for step in sorted(steps, key=lambda step: step.loss_per_weight):  # stable: each layer's own order stays
        taken = min(step.weights, wanted)
        found[step.layer] += taken / sizes[step.layer]
        wanted -= taken
    return found


@dataclass(frozen=True, slots=True)
class _Segment:
    """`weights` of a layer that cost `loss_per_weight` each."""

    layer: str
    weights: float
    loss_per_weight: float


def _segments(curve: LayerSensitivity, base_loss: float) -> Iterator[_Segment]:
    """The pieces of a layer's curve in rising order of their slope.

    The loss is not let fall, and neither is its slope: a network that guesses cannot get much worse, so that a curve
    turns flat where the layer is destroyed, and all the rest of it would seem to cost nothing.
    """
    slope = 0.0
    points = zip((0.0, *curve.sparsities), (0.0, *_rises(curve, base_loss)), strict=True)
    for (from_sparsity, from_rise), (to_sparsity, to_rise) in itertools.pairwise(points):
        weights = (to_sparsity - from_sparsity) * curve.size
        slope = max(slope, (to_rise - from_rise) / weights)
        yield _Segment(curve.layer, weights, slope)


def _rises(curve: LayerSensitivity, base_loss: float) -> tuple[float, ...]:
    rises = (max(0.0, loss - base_loss) for loss in curve.losses)
    return tuple(itertools.accumulate(rises, max))

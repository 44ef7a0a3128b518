"""EfficientNet's compound scaling (Tan & Le 2019, arXiv:1905.11946): depth, width and resolution grow together.

Step 1 searches alpha, beta and gamma (growth of depth, width and resolution for phi = 1) with alpha * beta^2 * gamma^2
close to 2 on a small baseline; step 2 scales it by phi, so that the multiply-accumulates grow by about 2^phi.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from core.checks import in_range
from core.errors import CandidateError, LitesmithError, UsageError, bad_value
from core.spec_io import content_id
from search.arch import ArchSpec, BlockSpec, StageSpec, canonical, make_divisible

# phi = 1 should double the multiply-accumulates. The published coefficients give 1.92.
PRODUCT = 2.0
PRODUCT_TOLERANCE = 0.1
GRID_STEP = 0.05
# phi is searched in steps of a hundredth (0.7 % more multiply-accumulates), within what a network of ours can be.
PHI_STEPS = 100
MIN_PHI, MAX_PHI = -4, 12


@dataclass(frozen=True, slots=True)
class Coefficients:
    """How depth (alpha), width (beta) and resolution (gamma) grow with phi = 1; each from 1 to 2.

    The defaults are EfficientNet's.
    """

    alpha: float = 1.2
    beta: float = 1.1
    gamma: float = 1.15

    def __post_init__(self) -> None:
        for name in ("alpha", "beta", "gamma"):
            in_range(name, getattr(self, name), 1, 2)

    @property
    def product(self) -> float:
        """By how much the multiply-accumulates grow with phi = 1, roughly."""
        return float(self.alpha * self.beta**2 * self.gamma**2)


@dataclass(frozen=True, slots=True)
class GridPoint:
    """A point of the grid search: the network that is the baseline scaled with phi = 1, and its accuracy."""

    coefficients: Coefficients
    arch: ArchSpec
    accuracy: float


@dataclass(frozen=True, slots=True)
class Scaled:
    """The network that fits a budget, its phi and what it costs."""

    phi: float
    arch: ArchSpec
    cost: float


def scale(arch: ArchSpec, depth_coefficient: float, width_coefficient: float, resolution: int) -> ArchSpec:
    """The network with more (or fewer) blocks and channels for another resolution.

    Channels are rounded to the nearest multiple of 8 that loses at most 10 %, the blocks of a stage up; added ones are
    like the stage's last. EfficientNet-B0 scaled with the published coefficients is B1 to B7. Raises UsageError for
    coefficients outside 0.01 to 100, and if the result is not a legal network.
    """
    in_range("depth_coefficient", depth_coefficient, 0.01, 100)
    in_range("width_coefficient", width_coefficient, 0.01, 100)

    def wide(channels: int) -> int:
        # Nothing is rounded where nothing is scaled, as in the authors' code.
        return channels if width_coefficient == 1 or not channels else make_divisible(channels * width_coefficient)

    def block(spec: BlockSpec) -> BlockSpec:
        return dataclasses.replace(spec, out_channels=wide(arch.scaled(spec.out_channels)))

    stages = []
    for stage in arch.stages:
        active = stage.active
        # 1.1 * 10 is 11.000000000000002: one block more would be the arithmetic's.
        count = max(1, math.ceil(round(depth_coefficient * len(active), 9)))
        added = [dataclasses.replace(active[-1], stride=1)] * (count - len(active))
        stages.append(StageSpec(tuple(block(spec) for spec in (*active[:count], *added)), count))
    return canonical(
        dataclasses.replace(
            arch,
            stem_channels=wide(arch.scaled(arch.stem_channels)),
            stages=tuple(stages),
            head_channels=wide(arch.head_channels),
            head_units=tuple(wide(units) for units in arch.head_units),
            width_multiplier=1.0,
            resolution=resolution,
        )
    )


def compound(arch: ArchSpec, coefficients: Coefficients, phi: float) -> ArchSpec:
    """The network scaled by alpha^phi, beta^phi and gamma^phi. Raises UsageError as `scale` does."""
    resolution = round(arch.resolution * coefficients.gamma**phi)
    return scale(arch, coefficients.alpha**phi, coefficients.beta**phi, resolution)


def coefficient_grid(step: float = GRID_STEP, tolerance: float = PRODUCT_TOLERANCE) -> tuple[Coefficients, ...]:
    """All coefficients from 1 in multiples of `step` whose product is within `tolerance` of 2."""
    in_range("step", step, 0.001, 1)
    in_range("tolerance", tolerance, 0, 1)
    values = [round(1 + index * step, 9) for index in range(math.floor(round(1 / step, 9)) + 1)]
    points = (Coefficients(*point) for point in itertools.product(values, repeat=3))
    # The margin is for the arithmetic: 2.1 is within 0.1 of 2.
    found = tuple(point for point in points if abs(point.product - PRODUCT) <= tolerance + 1e-9)
    if not found:
        raise UsageError(f"step: no multiple of {step:g} gives alpha * beta^2 * gamma^2 within {tolerance:g} of 2")
    return found


def grid_search(
    arch: ArchSpec, evaluate: Callable[[ArchSpec], float], grid: Sequence[Coefficients]
) -> tuple[GridPoint, ...]:
    """The baseline scaled with each point of the grid and phi = 1, best first; ties stay in the grid's order.

    `evaluate` gives the accuracy of a network and is called once for each: coefficients that round to one network share
    it. Networks for which it raises CandidateError are left out; LitesmithError if none is left.
    """
    known: dict[str, float | None] = {}
    points = []
    for coefficients in grid:
        scaled = compound(arch, coefficients, 1.0)
        name = content_id(scaled)
        if name not in known:
            known[name] = _accuracy(scaled, evaluate)
        accuracy = known[name]
        if accuracy is not None:
            points.append(GridPoint(coefficients, scaled, accuracy))
    if not points:
        raise LitesmithError(f"grid search: none of {len(known)} scaled networks could be evaluated")
    return tuple(sorted(points, key=lambda point: -point.accuracy))


def scale_to_budget(
    arch: ArchSpec, coefficients: Coefficients, measure: Callable[[ArchSpec], float], budget: float
) -> Scaled:
    """The largest compound scaling that keeps the budget; phi is a multiple of 0.01 from -4 to 12.

    `measure` gives the cost of a network (multiply-accumulates, a latency), which should not fall as networks grow; it
    is called once for each. The search goes up from phi = 0 in whole steps until one costs too much (down, if the
    baseline does) and then by bisection: no network of more than about twice the budget is measured on the way up.
    Raises UsageError if no network that can be built is small enough, CandidateError if the baseline cannot be built.
    """
    if not budget > 0:
        raise bad_value("budget", budget, "a number above 0")
    if coefficients.product <= 1:
        raise UsageError("alpha, beta and gamma are all 1: phi would scale nothing")
    costs: dict[str, float] = {}
    fitting: list[Scaled] = []

    def fits(steps: int) -> bool:
        """Whether phi = steps / 100 keeps the budget. What is too small to be built counts as fitting."""
        phi = steps / PHI_STEPS
        try:
            scaled = arch if steps == 0 else compound(arch, coefficients, phi)
        except UsageError:  # there is no such network
            return steps < 0
        name = content_id(scaled)
        try:
            costs[name] = cost = costs[name] if name in costs else measure(scaled)
        except CandidateError:
            if steps == 0:
                raise
            return steps < 0
        if cost <= budget:
            fitting.append(Scaled(phi, scaled, cost))
        return cost <= budget

    low, high = _bracket(fits)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    if not fitting:
        raise UsageError(
            f"budget: {budget:g} is too small; the least cost of a network seen is {min(costs.values()):g}"
        )
    return max(fitting, key=lambda scaled: scaled.phi)


def _accuracy(arch: ArchSpec, evaluate: Callable[[ArchSpec], float]) -> float | None:
    try:
        return evaluate(arch)
    except CandidateError:
        return None


def _bracket(fits: Callable[[int], bool]) -> tuple[int, int]:
    """Steps of phi, of which the first fits and the second, one whole phi more, does not; equal at either end."""
    if fits(0):
        phi = next((phi for phi in range(1, MAX_PHI + 1) if not fits(phi * PHI_STEPS)), None)
        return (MAX_PHI * PHI_STEPS,) * 2 if phi is None else ((phi - 1) * PHI_STEPS, phi * PHI_STEPS)
    phi = next((phi for phi in range(-1, MIN_PHI - 1, -1) if fits(phi * PHI_STEPS)), None)
    return (MIN_PHI * PHI_STEPS,) * 2 if phi is None else (phi * PHI_STEPS, (phi + 1) * PHI_STEPS)

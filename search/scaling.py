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
from search.arch import CHANNEL_DIVISOR, ArchSpec, BlockSpec, StageSpec, canonical, make_divisible
from search.blocks.shuffle import BOTTLENECK_RATIO
from search.blocks.table import BLOCKS

# phi = 1 should double the multiply-accumulates. The published coefficients give 1.92.
PRODUCT = 2.0
PRODUCT_TOLERANCE = 0.1
GRID_STEP = 0.05
# phi is searched in steps of a hundredth (0.7 % more multiply-accumulates), within what a network of ours can be.
PHI_STEPS = 100
MIN_PHI, MAX_PHI = -4, 12
# Single layers between or after blocks. A second pool would shrink the image, not deepen the network.
UNREPEATED_OPS = frozenset({"max", "avg", "id", "bn", "reduce"})


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

    Channels are rounded to the nearest multiple of 8 (and of what grouped convolutions need) that loses at most 10 %,
    the blocks of a stage up; added ones are like the stage's last. Pools, reductions and stages of a single convolution
    are not repeated. EfficientNet-B0 scaled with the published coefficients is B1 to B7. Raises UsageError for
    coefficients outside 0.01 to 100, and if the result is not a legal network.
    """
    in_range("depth_coefficient", depth_coefficient, 0.01, 100)
    in_range("width_coefficient", width_coefficient, 0.01, 100)
    arch = canonical(arch)  # identities that are no layers are no blocks to count
    divisor = _channel_divisor(arch)

    def wide(channels: int) -> int:
        # Nothing is rounded where nothing is scaled, as in the authors' code.
        if width_coefficient == 1 or not channels:
            return channels
        return make_divisible(channels * width_coefficient, divisor)

    def stage(spec: StageSpec) -> StageSpec:
        blocks = _deepened(spec.active, depth_coefficient)
        widened = (dataclasses.replace(block, out_channels=wide(arch.scaled(block.out_channels))) for block in blocks)
        return StageSpec(tuple(widened), len(blocks))

    return canonical(
        dataclasses.replace(
            arch,
            stem_channels=wide(arch.scaled(arch.stem_channels)),
            stages=tuple(map(stage, arch.stages)),
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
    it. Points that give no legal network, and networks for which it raises CandidateError, are left out;
    LitesmithError if none is left.
    """
    known: dict[str, float | None] = {}
    points = []
    illegal = ""
    for coefficients in grid:
        try:
            scaled = compound(arch, coefficients, 1.0)
        except UsageError as error:
            illegal = str(error)
            continue
        name = content_id(scaled)
        if name not in known:
            known[name] = _or_none(scaled, evaluate)
        accuracy = known[name]
        if accuracy is not None:
            points.append(GridPoint(coefficients, scaled, accuracy))
    if not known:
        raise UsageError(f"grid search: none of {len(grid)} points gives a legal network: {illegal}")
    if not points:
        raise LitesmithError(f"grid search: none of {len(known)} scaled networks could be evaluated")
    return tuple(sorted(points, key=lambda point: -point.accuracy))


def scale_to_budget(
    arch: ArchSpec,
    coefficients: Coefficients,
    measure: Callable[[ArchSpec], float],
    budget: float,
    where: str = "budget",
) -> Scaled:
    """The largest compound scaling that keeps the budget; phi is a multiple of 0.01 from -4 to 12.

    `measure` gives the cost of a network (multiply-accumulates, a latency), which should not fall as networks grow; it
    is called once for each. The search goes up from phi = 0 in whole steps until one costs too much (down, if the
    baseline does) and then by bisection: no network of more than about twice the budget is measured on the way up.
    For a phi whose network cannot be built (CandidateError of `measure`), the next larger one that can be counts.
    Raises UsageError, naming `where` the budget is from, if no network that can be built is small enough,
    CandidateError if the baseline cannot be built.
    """
    if not budget > 0:
        raise bad_value(where, budget, "a number above 0")
    if coefficients.product <= 1:
        raise UsageError("alpha, beta and gamma are all 1: phi would scale nothing")
    # The baseline is taken as it is, and its CandidateError is the caller's.
    baseline = Scaled(0.0, arch, measure(arch))
    seen: dict[int, Scaled | None] = {0: baseline}
    costs: dict[str, float | None] = {content_id(arch): baseline.cost}

    def at(steps: int) -> Scaled | None:
        """The network of phi = steps / 100; None if there is none or it cannot be built."""
        if steps not in seen:
            seen[steps] = _measured(arch, coefficients, steps / PHI_STEPS, measure, costs)
        return seen[steps]

    def fits(steps: int) -> bool:
        """Whether a network from phi = steps / 100 on keeps the budget: that is, whether the smallest does."""
        smallest = next(filter(None, map(at, range(steps, MAX_PHI * PHI_STEPS + 1))), None)
        return smallest is not None and smallest.cost <= budget

    low, high = _bracket(fits)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    built = [scaled for scaled in seen.values() if scaled is not None]
    fitting = [scaled for scaled in built if scaled.cost <= budget]
    if not fitting:
        least = min(scaled.cost for scaled in built)
        raise UsageError(f"{where}: {budget:g} is too small; the least cost of a network seen is {least:g}")
    return max(fitting, key=lambda scaled: scaled.phi)


def _channel_divisor(arch: ArchSpec) -> int:
    """What all channels of a network are to be multiples of: 8, and what each of its grouped convolutions divides by.

    One divisor for all, because the input channels of a block are the output channels of another.
    """
    grouped = (block for stage in arch.stages for block in stage.active if "groups" in BLOCKS[block.op].fields)
    needed = (block.groups * (BOTTLENECK_RATIO if block.op == "shuffle1" else 1) for block in grouped)
    return math.lcm(CHANNEL_DIVISOR, *needed)


def _deepened(active: tuple[BlockSpec, ...], depth_coefficient: float) -> tuple[BlockSpec, ...]:
    """The blocks of a stage repeated; the single layers at its end stay there, and a lone convolution stays alone."""
    size = len(active)
    while size and active[size - 1].op in UNREPEATED_OPS:
        size -= 1
    blocks, end = active[:size], active[size:]
    if not blocks or (size == 1 and blocks[0].op == "conv"):
        return active
    # 1.1 * 10 is 11.000000000000002: one block more would be the arithmetic's.
    count = max(1, math.ceil(round(depth_coefficient * size, 9)))
    added = (dataclasses.replace(blocks[-1], stride=1),) * (count - size)
    return (*blocks[:count], *added, *end)


def _measured(
    arch: ArchSpec,
    coefficients: Coefficients,
    phi: float,
    measure: Callable[[ArchSpec], float],
    costs: dict[str, float | None],
) -> Scaled | None:
    """The scaled network and its cost, which is also put in `costs` under its content id; None if there is none."""
    try:
        scaled = compound(arch, coefficients, phi)
    except UsageError:
        return None
    name = content_id(scaled)
    if name not in costs:
        costs[name] = _or_none(scaled, measure)
    cost = costs[name]
    return None if cost is None else Scaled(phi, scaled, cost)


def _or_none(arch: ArchSpec, evaluate: Callable[[ArchSpec], float]) -> float | None:
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

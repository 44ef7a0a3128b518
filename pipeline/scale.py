"""Command `scale`: EfficientNet's compound scaling of a network to a budget; its coefficients are given, or found by
training the baseline scaled with each point of a grid."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from android_bench.connections import Connections
from core.errors import UsageError, bad_value, one_of
from core.progress import Reporter
from core.spec_io import from_plain
from core.workspace import read_json
from pipeline.config import Config
from pipeline.workdir import read_plan
from search.arch import ArchSpec
from search.cost import cost
from search.grammar import from_text, to_text
from search.named import DEFAULT_CLASSES, DEFAULT_RESOLUTION, network
from search.networks import NETWORKS
from search.scaling import Coefficients, GridPoint, Scaled, coefficient_grid, grid_search, scale_to_budget
from search.trials import Trial

GRID_STEP = 0.1
SHOWN_POINTS = 5


@dataclass(frozen=True, slots=True)
class ScaleRequest:
    """What is asked for.

    Attributes:
      arch: the baseline, a network's name or its text; "" for the best of the search that WORKDIR holds.
      max_macs, max_latency_us: the budget, at most one of them; a latency is that of the int8 model on the target of
        the configuration's search.
      alpha, beta, gamma: growth of depth, width and resolution; not used where the grid search finds them.
      resolution, num_classes: of a baseline that is given by its name; by default 224 and 1000, or the data set's.
    """

    arch: str = ""
    max_macs: float | None = None
    max_latency_us: float | None = None
    alpha: float = 1.2
    beta: float = 1.1
    gamma: float = 1.15
    resolution: int | None = None
    num_classes: int | None = None

    def __post_init__(self) -> None:
        if self.max_macs is not None and self.max_latency_us is not None:
            raise UsageError("--max_macs, --max_latency_us: expected one budget, got both")
        for name in ("max_macs", "max_latency_us"):
            budget = getattr(self, name)
            if budget is not None and not 0 < budget < math.inf:
                raise bad_value(f"--{name}", budget, "a number above 0")
        try:
            coefficients = self.coefficients
        except UsageError as error:
            raise UsageError(f"--{error}") from error  # it begins with the field's name
        if coefficients.product <= 1:
            raise UsageError("--alpha, --beta, --gamma: all are 1; expected one that is larger, else nothing is scaled")

    @property
    def coefficients(self) -> Coefficients:
        """Those that are given, of EfficientNet by default."""
        return Coefficients(self.alpha, self.beta, self.gamma)


def scale_command(request: ScaleRequest) -> list[str]:
    """The lines that tell of the largest network within `max_macs`. Raises UsageError naming the flag at fault."""
    if request.max_latency_us is not None:
        raise UsageError("--max_latency_us: needs --config and --workdir, which say where and how to measure")
    if request.max_macs is None:
        raise UsageError("--max_macs: missing; expected the multiply-accumulates that the scaled network may have")
    if not request.arch:
        raise UsageError("--arch: missing; expected the name of a network or its text")
    baseline = _baseline(request, request.arch, DEFAULT_RESOLUTION, DEFAULT_CLASSES)
    scaled = scale_to_budget(baseline, request.coefficients, _macs, request.max_macs, "--max_macs")
    return _scaled_lines(scaled, baseline, request.coefficients)


def grid_command(
    request: ScaleRequest,
    config: Config,
    workdir: Path,
    reporter: Reporter,
    step: float = GRID_STEP,
    connections: Connections | None = None,
) -> list[str]:
    """The lines that tell of the best points of the grid, and of the baseline scaled by the best if there is a budget.

    Each point is a training on `config.data`, resized to the point's resolution, with the settings of `config.search`.
    What is finished is kept in WORKDIR/scale, and the same call goes on there. `step` is that of alpha, beta and gamma,
    `connections` where a target is that a latency budget is for.
    Raises UsageError for bad input and LitesmithError if no point could be trained.
    """
    grid = coefficient_grid(step)
    arch = request.arch or _winner(workdir)
    _baseline(request, arch, DEFAULT_RESOLUTION, DEFAULT_CLASSES)  # refused here if malformed: reading data takes long
    from pipeline.scale_trials import opened_trials  # brings TensorFlow

    with opened_trials(config, workdir, reporter, connections) as trials:
        baseline = _baseline(request, arch, trials.data.resolution, trials.data.num_classes)
        if baseline.num_classes != trials.data.num_classes:
            raise UsageError(
                f"--arch: a network for {baseline.num_classes} classes; expected the data set's "
                f"{trials.data.num_classes}"
            )
        points = grid_search(baseline, trials.accuracy, grid)
        trained = "" if len(points) == len(grid) else f", of which {len(points)} could be trained"
        lines = [f"grid search: {len(grid)} points{trained}; the best:", *map(_point_line, points[:SHOWN_POINTS])]
        lines += _budget_lines(request, baseline, points[0].coefficients, trials.latency_us)
    return lines


def _budget_lines(
    request: ScaleRequest, baseline: ArchSpec, best: Coefficients, latency_us: Callable[[ArchSpec], float]
) -> list[str]:
    """The lines of the baseline scaled to the budget; none without one."""
    if request.max_latency_us is not None:
        scaled = scale_to_budget(baseline, best, latency_us, request.max_latency_us, "--max_latency_us")
        return _scaled_lines(scaled, baseline, best, "us")
    if request.max_macs is not None:
        scaled = scale_to_budget(baseline, best, _macs, request.max_macs, "--max_macs")
        return _scaled_lines(scaled, baseline, best)
    return []


def _baseline(request: ScaleRequest, arch: str, resolution: int, num_classes: int) -> ArchSpec:
    if arch in NETWORKS:
        return network(
            arch,
            resolution if request.resolution is None else request.resolution,
            num_classes if request.num_classes is None else request.num_classes,
        )
    for name in ("resolution", "num_classes"):
        if getattr(request, name) is not None:
            raise UsageError(f"--{name}: only for a network that --arch names; a network's text tells its own")
    if len(arch.split()) == 1:
        raise bad_value("--arch", arch, f"a network's text or {one_of(NETWORKS)}")
    return from_text(arch)


def _winner(workdir: Path) -> str:
    """The text of the best network that the run in WORKDIR has found."""
    for stage in read_plan(workdir):
        path = stage.directory(workdir) / "winners.json"
        if stage.kind == "search" and path.exists():
            return from_plain(Trial, read_json(path)[0], str(path)).arch
    raise UsageError(f"--arch: missing, and the run in {workdir} has no finished search; expected a network")


def _macs(arch: ArchSpec) -> float:
    return float(cost(arch).macs)


def _point_line(point: GridPoint) -> str:
    growth = point.coefficients
    return (
        f"  alpha {growth.alpha:g}, beta {growth.beta:g}, gamma {growth.gamma:g}: validation accuracy "
        f"{100 * point.accuracy:.2f} %, {cost(point.arch).macs:,} MACs, resolution {point.arch.resolution}"
    )


def _scaled_lines(scaled: Scaled, baseline: ArchSpec, coefficients: Coefficients, unit: str = "MACs") -> list[str]:
    computed = cost(scaled.arch)
    depth, width = coefficients.alpha**scaled.phi, coefficients.beta**scaled.phi
    measured = "" if unit == "MACs" else f", {scaled.cost:,.1f} {unit}"
    return [
        f"phi {scaled.phi:g}: depth x {depth:.2f}, width x {width:.2f}, resolution {baseline.resolution} -> "
        f"{scaled.arch.resolution}",
        to_text(scaled.arch),
        f"{computed.macs:,} MACs{measured}, {computed.params:,} parameters, peak memory "
        f"{computed.peak_memory_bytes / 1e3:,.1f} kB of int8 activations",
    ]

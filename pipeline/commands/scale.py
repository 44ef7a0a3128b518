"""Command `scale`: compound scaling of a network to a budget."""

from __future__ import annotations

from core.errors import EXIT_DONE, UsageError
from core.progress import Reporter
from pipeline.call import Call
from pipeline.scale import GRID_STEP, ScaleRequest, grid_command, scale_command


def run(call: Call) -> int:
    """Prints the scaled network; with --config and --workdir the coefficients are found by training."""
    call.no_arguments("scale")
    names = ("arch", "max_macs", "max_latency_us", "alpha", "beta", "gamma", "resolution", "num_classes")
    given = {name: call.flags[name] for name in names if name in call.flags}
    step = call.flags.get("grid_step")
    if not call.has_config and not call.has_workdir:
        if step is not None:
            raise UsageError("--grid_step: needs --config and --workdir, with which the grid is searched")
        lines = scale_command(ScaleRequest(**given))
    else:
        for name in ("alpha", "beta", "gamma"):
            if name in given:
                raise UsageError(f"--{name}: the grid search finds it; leave --config and --workdir out to give it")
        workdir, config = call.workdir(), call.config()
        step, where = GRID_STEP if step is None else step, call.connections()
        lines = grid_command(ScaleRequest(**given), config, workdir, Reporter(), step, where)
    for line in lines:
        print(line)
    return EXIT_DONE

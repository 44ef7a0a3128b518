"""Scheduled runs: `.venv-schedule/bin/python -m pipeline.schedule --config=FILE --workdir=DIR --cron="0 3 * * *"`.

Prefect (https://docs.prefect.io/v3) keeps the schedule, tries again what failed, and shows runs, stages and logs on a
page. It has an environment of its own (`make schedule`); the runs are of the pipeline's.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn
from zoneinfo import ZoneInfo

from core.errors import EXIT_DONE, EXIT_USAGE, UsageError, bad_value, run_command

# Of pipeline.schedule_flow.litesmith_run.
PARAMETERS = ("config", "workdir", "store", "channel", "overrides", "retries", "retry_delay_s", "limit")

HELP = """\
usage: .venv-schedule/bin/python -m pipeline.schedule --config=FILE --workdir=DIR (--cron=TEXT | --once)
           [--store=URL] [--channel=NAME] [--timezone=NAME] [--name=NAME]
           [--retries=N] [--retry_delay_s=X] [--limit=N] [FLAG OF pipeline.main run ...]

  --config         a Python file like those in configs/
  --workdir        the folder of the runs; each goes on with what is done there
  --cron           when: minute, hour, day of the month, month, day of the week, like "0 3 * * *"; this command then
                   waits, and runs go on as long as it does
  --timezone       of --cron, like Europe/Berlin; by default UTC
  --once           one run now, and end; exit codes as those of a run
  --store          where each run publishes its release (config.release.store), if it has something new
  --channel        of the store (config.release.channel)
  --name           of the deployment in Prefect; by default the workdir's name
  --retries        how often what failed is tried again, by default 2; what was refused (exit code 2) is not
  --retry_delay_s  seconds before that, by default 60
  --limit          how many runs go on at once on this computer, by default 1; 0: any number
  other flags      go to `pipeline.main run`: --config.KEY=VALUE, --serial=..., --ssh=...

exit codes: 0 done, 1 failed, 2 bad usage or input"""


class _Parser(argparse.ArgumentParser):
    """One line for bad usage, as everywhere in litesmith."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The command line; `overrides` are the flags for the run. Raises UsageError in one line."""
    parser = _Parser(add_help=False, allow_abbrev=False)
    for name in ("config", "workdir", "store", "channel", "cron", "name"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--timezone", default="UTC")
    parser.add_argument("--once", action="store_true")
    parser.add_argument("--retries", type=int, default=2)
    parser.add_argument("--retry_delay_s", type=float, default=60.0)
    parser.add_argument("--limit", type=int, default=1)
    settings, overrides = parser.parse_known_args(argv)
    settings.overrides = overrides
    _check(settings)
    return settings


def _check(settings: argparse.Namespace) -> None:
    for name, what in (("config", "a Python file like those in configs/"), ("workdir", "a folder for the runs")):
        if not getattr(settings, name):
            raise UsageError(f"--{name}: missing; expected {what}")
    if settings.once == (settings.cron is not None):
        raise UsageError("--cron, --once: expected one of them")
    _check_timezone(settings.timezone)
    for name, highest in (("retries", 100), ("limit", 1000), ("retry_delay_s", 86400)):
        if not 0 <= getattr(settings, name) <= highest:
            raise bad_value(f"--{name}", getattr(settings, name), f"a number from 0 to {highest}")
    for text in settings.overrides:
        if not text.startswith("--"):
            raise UsageError(f"schedule: unexpected {text}; it takes flags only")


def _check_timezone(name: str) -> None:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:  # unknown, no name at all, a folder
        raise bad_value("--timezone", name, "a name of the tz database, like Europe/Berlin") from error


def main(argv: Sequence[str]) -> int:
    """Runs once or serves the schedule; every error ends in one line on stderr and its exit code."""
    if not argv or argv[0] in ("--help", "-h", "help"):
        print(HELP)
        return EXIT_DONE if argv else EXIT_USAGE
    return run_command(lambda: _scheduled(parse(argv)))


def _scheduled(settings: argparse.Namespace) -> int:
    # Prefect reports how it is used unless told not to; whoever wants that sets these variables.
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    # Where no server is, it starts one for the time of the run; on a busy computer that takes longer than its 20 s.
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "300")
    try:
        from pipeline import schedule_flow
    except ModuleNotFoundError as error:
        if error.name != "prefect":
            raise
        how = "`make schedule` sets it up, and .venv-schedule/bin/python has it"
        raise UsageError(f"schedule: this Python has no Prefect; {how}") from error
    given = {name: getattr(settings, name) for name in PARAMETERS}
    if settings.once:
        return schedule_flow.run_once(given)
    name = settings.name or Path(settings.workdir).resolve().name
    schedule_flow.serve(given, name, settings.cron, settings.timezone)
    return EXIT_DONE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Stands in for the pipeline's Python: prints what a run of a scenario prints, and ends as it does.

The scenario is the configuration's name: a JSON file with a list of attempts. Each attempt is a list of stage lines and
an exit code; WORKDIR counts the attempts.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main(arguments: list[str]) -> int:
    """`-m pipeline.main run|status FLAGS`."""
    flags = dict(argument.removeprefix("--").split("=", 1) for argument in arguments if "=" in argument)
    workdir = Path(flags["workdir"])
    workdir.mkdir(parents=True, exist_ok=True)
    (workdir / "calls.txt").open("a").write(" ".join(arguments[2:]) + "\n")
    if arguments[2] == "status":
        print((workdir / "status.json").read_text())
        return 0
    scenario = json.loads(Path(flags["config"]).read_text())
    count = len([line for line in (workdir / "calls.txt").read_text().splitlines() if "--dry_run" in line])
    attempt = scenario["attempts"][min(count, len(scenario["attempts"])) - 1]
    if "refused" in attempt:
        print(f"litesmith: {attempt['refused']}", file=sys.stderr)
        return 2
    if "--dry_run" in arguments:
        print(json.dumps({"stages": attempt["before"], "store": flags.get("config.release.store")}))
        return 0
    for line in attempt["out"]:
        print(line, flush=True)
    for line in attempt.get("err", ()):
        print(line, file=sys.stderr)
    (workdir / "status.json").write_text(json.dumps({"stages": attempt["after"]}))
    return int(attempt["code"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

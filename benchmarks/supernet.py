"""What weight sharing costs and reaches, on this computer.

    python -m benchmarks.supernet [--only=PART,...] [--data=fashion_mnist|cifar10_jpeg] [--seed=1] [--smoke]
        [--out=out/supernet] [--write_docs]

The parts, with their wall time on 2 cores (28 pixels; 32 take a third more):

- speed: seconds to evaluate a sub-network by its inherited weights against training it alone, and candidates an hour
  with everything counted (about 15 minutes, of which ranking needs the same supernet and trainings);
- ranking: Kendall's tau between inherited and stand-alone accuracy of 24 networks spread over the range of MACs,
  against the tau between two trainings of each (about 35 minutes);
- wall_time: Once-for-All against training each candidate with the best oracle, at four latency limits and at equal wall
  time (about 70 minutes, and 10 for the latency table);
- differentiable: what DARTS and ProxylessNAS find against 24 random networks of the same latency (about an hour, and
  5 minutes for the latency table);
- memory: peak memory and time of a training step against the largest network alone (about 8 minutes).

benchmarks.supernet_place has the settings, FULL and (--smoke) SMOKE, which shows that everything works and is no
figure. Finished parts, trainings and searches are kept in --out, in a folder for each data set and seed; after a kill
the same command goes on. Nothing else should run meanwhile. --write_docs puts all finished tables into
docs/supernet.md.

Needs Debian's dataset-fashion-mnist; cifar10_jpeg needs ../shared.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.marks import put_between
from benchmarks.parts import make_missing
from benchmarks.search_results import Rows, as_markdown
from benchmarks.supernet_differentiable import differentiable
from benchmarks.supernet_memory import memory
from benchmarks.supernet_place import FULL, SMOKE, Place
from benchmarks.supernet_ranking import ranking, speed
from benchmarks.supernet_wall_time import wall_time
from core.checks import in_choices, in_range
from core.errors import EXIT_DONE, EXIT_FAILED, EXIT_USAGE, LitesmithError, UsageError, one_line
from core.progress import Reporter
from core.spec_io import content_id, from_plain
from core.workspace import atomic_write_json, locked, read_json

ROOT = Path(__file__).resolve().parents[1]
DOC = ROOT / "docs" / "supernet.md"
BEGIN = "<!-- figures of benchmarks.supernet: begin -->"
END = "<!-- figures of benchmarks.supernet: end -->"
DATA = ("fashion_mnist", "cifar10_jpeg")
PARTS: dict[str, Callable[[Place], list[Rows]]] = {
    "speed": speed,
    "ranking": ranking,
    "wall_time": wall_time,
    "differentiable": differentiable,
    "memory": memory,
}


def finished(folder: Path) -> list[Rows]:
    """The tables of all parts that are done."""
    paths = (_path(folder, name) for name in PARTS)
    return [from_plain(Rows, table, str(path)) for path in paths if path.exists() for table in read_json(path)]


def _path(folder: Path, name: str) -> Path:
    return folder / f"part_{name}.json"


def show(tables: Iterable[Rows], console: Console) -> None:
    """Prints tables."""
    for table in tables:
        shown = Table(title=table.title, box=None, pad_edge=False)
        for number, heading in enumerate(table.headings):
            shown.add_column(heading, justify="right" if number else "left")
        for row in table.rows:
            shown.add_row(*row)
        console.print(shown)


def write_docs(tables: dict[str, list[Rows]], path: Path = DOC) -> None:
    """Puts the tables of each data set and seed into the page, between its marks. Raises UsageError without them."""
    blocks = [f"### {name}\n\n{as_markdown(found)}" for name, found in tables.items() if found]
    put_between(path, BEGIN, END, "\n\n" + "\n\n".join(blocks) + "\n\n")


def pin(folder: Path, scale_id: str) -> None:
    """Raises UsageError if what is in the folder was made with other settings."""
    path = folder / "settings.json"
    if path.exists() and read_json(path)["scale"] != scale_id:
        raise UsageError(
            f"--out: {folder} was made with other settings of benchmarks.supernet_place; name another folder"
        )
    atomic_write_json(path, {"scale": scale_id})


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The checked options. Raises UsageError."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default=",".join(PARTS), help="parts to run; all that are finished are shown")
    parser.add_argument("--data", default=DATA[0], help="which images")
    parser.add_argument("--seed", type=int, default=1, help="of everything that is drawn")
    parser.add_argument("--smoke", action="store_true", help="a few images and epochs: to see that it works")
    parser.add_argument("--out", type=Path, help="where everything is kept")
    parser.add_argument("--write_docs", action="store_true", help="also fill docs/supernet.md")
    options = parser.parse_args(words)
    options.only = [name for name in options.only.split(",") if name]
    for name in options.only:
        in_choices("--only", name, tuple(PARTS))
    in_choices("--data", options.data, DATA)
    in_range("--seed", options.seed, 0, 1_000_000)
    if options.smoke and options.write_docs:
        raise UsageError("--write_docs: not with --smoke, whose figures mean nothing")
    options.out = (options.out or ROOT / "out" / ("supernet_smoke" if options.smoke else "supernet")).resolve()
    return options


def run(options: argparse.Namespace, reporter: Reporter) -> bool:
    """Runs what is missing; whether a part failed."""
    folder = options.out / f"{options.data}-seed{options.seed}"
    folder.mkdir(parents=True, exist_ok=True)
    scale = SMOKE if options.smoke else FULL
    with locked(folder):
        pin(folder, content_id(scale))
        place = Place(folder, scale, options.data, options.seed, reporter)
        paths = {name: _path(folder, name) for name in options.only}
        failed = make_missing(
            "part", paths, lambda name: PARTS[name](place), lambda tables: show(tables, reporter.console), reporter
        )
        show(finished(folder), reporter.console)
    return failed


def main() -> int:
    """Runs what is missing and shows all that is finished; 1 if a part failed."""
    reporter = Reporter()
    try:
        options = arguments()
        failed = run(options, reporter)
        if options.write_docs:
            folders = sorted(folder for folder in options.out.iterdir() if (folder / "settings.json").exists())
            write_docs({folder.name: finished(folder) for folder in folders})
    except LitesmithError as error:
        print(one_line(error), file=sys.stderr)
        return EXIT_USAGE
    return EXIT_FAILED if failed else EXIT_DONE


if __name__ == "__main__":
    sys.exit(main())

"""What compression reaches on trained networks, each row beside the plain calls of the libraries in the same run.

    python -m benchmarks.compression [--only=CASE,...] [--out=out/compression] [--epochs=X] [--write_docs]

Trains its float networks once (benchmarks.compression_cases.PARENTS): ResNet8 of MLPerf Tiny and MobileNetV2-style
networks on CIFAR-10-JPEG and Fashion-MNIST. Then for each case what a recipe of ours makes of its network, and what
tfmot's and the converter's calls make of it as their guides show them (benchmarks.compression_plain), with the same
epochs of fine-tuning. Figures are on the 10,000 test images; latencies are LiteRT's on this computer, of both models in
turn. Finished networks and rows are kept in --out; after a kill the same command goes on. --epochs multiplies all
epochs (0.1 for a quick look). --write_docs puts the table into docs/compression.md.

All of it takes about three hours of 2 cores. Needs ../shared/data, and Debian's dataset-fashion-mnist.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.compression_cases import CASES, Row, Workplace
from benchmarks.marks import put_between
from benchmarks.parts import make_missing
from core.checks import in_choices, in_range
from core.errors import EXIT_DONE, EXIT_FAILED, EXIT_USAGE, LitesmithError, UsageError, one_line
from core.progress import Reporter
from core.spec_io import from_plain
from core.workspace import atomic_write_json, locked, read_json

ROOT = Path(__file__).resolve().parents[1]
DOC = ROOT / "docs" / "compression.md"
BEGIN = "<!-- figures of benchmarks.compression: begin -->"
END = "<!-- figures of benchmarks.compression: end -->"
HEADINGS = ("case", "how", "parameters", "MACs", "accuracy, %", "lost", "size, kB", "zipped, kB", "smaller", "notes")


def finished(out: Path) -> dict[str, tuple[Row, ...]]:
    """The rows of all cases that are done."""
    paths = {name: _path(out, name) for name in CASES}
    return {
        name: tuple(from_plain(Row, row) for row in read_json(path)) for name, path in paths.items() if path.exists()
    }


def _path(out: Path, name: str) -> Path:
    return out / f"{name}.json"


def cells(row: Row) -> tuple[str, ...]:
    """A row as texts; "smaller" is the float file's size over the zipped size, and over the size."""
    known = row.float_accuracy is not None and row.accuracy is not None
    ratio = f"{row.float_size_bytes / row.zipped_bytes:.1f}x, {row.float_size_bytes / row.size_bytes:.1f}x"
    return (
        row.case,
        row.how,
        f"{row.params:,}",
        f"{row.macs / 1e6:.1f}M",
        f"{100 * row.accuracy:.2f}" if row.accuracy is not None else "–",
        f"{100 * (row.float_accuracy - row.accuracy):.2f}" if known else "–",  # type: ignore[operator]
        f"{row.size_bytes / 1000:.1f}",
        f"{row.zipped_bytes / 1000:.1f}",
        ratio,
        row.note,
    )


def show(rows: Sequence[Row], console: Console) -> None:
    """Prints the rows as a table."""
    table = Table(box=None, pad_edge=False)
    for number, heading in enumerate(HEADINGS):
        table.add_column(heading, justify="left" if number in (0, 1, 9) else "right")
    for row in rows:
        table.add_row(*cells(row))
    console.print(table)


def write_docs(rows: Sequence[Row], path: Path = DOC) -> None:
    """Puts the rows into the page, between its marks. Raises UsageError if they are not there."""
    aligned = "|".join("---" if number in (0, 1, 9) else "---:" for number in range(len(HEADINGS)))
    lines = ["", f"| {' | '.join(HEADINGS)} |", f"|{aligned}|", *(f"| {' | '.join(cells(row))} |" for row in rows), ""]
    put_between(path, BEGIN, END, "\n" + "\n".join(lines) + "\n")


def pin(out: Path, factor: float) -> None:
    """Raises UsageError if what is in the folder was made with another number of epochs."""
    path = out / "settings.json"
    if path.exists() and read_json(path)["epochs"] != factor:
        raise UsageError(f"--out: {out} was made with --epochs={read_json(path)['epochs']:g}; name another folder")
    atomic_write_json(path, {"epochs": factor})


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The checked options. Raises UsageError."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default=",".join(CASES), help="cases to run; the table has all that are finished")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "compression")
    parser.add_argument("--epochs", type=float, default=1.0, help="factor of all epochs")
    parser.add_argument("--write_docs", action="store_true", help="also fill docs/compression.md")
    options = parser.parse_args(words)
    options.only = [name for name in options.only.split(",") if name]
    for name in options.only:
        in_choices("--only", name, tuple(CASES))
    in_range("--epochs", options.epochs, 0.01, 10.0)
    return options


def main() -> int:
    """Runs what is missing and shows all that is finished; 1 if a case failed."""
    reporter = Reporter()
    try:
        options = arguments()
        options.out.mkdir(parents=True, exist_ok=True)
        with locked(options.out):
            pin(options.out, options.epochs)
            place = Workplace(options.out.resolve(), options.epochs, reporter)
            paths = {name: _path(options.out, name) for name in options.only}
            failed = make_missing(
                "case", paths, lambda name: CASES[name](place), lambda rows: show(rows, reporter.console), reporter
            )
            everything = [row for found in finished(options.out).values() for row in found]
            show(everything, reporter.console)
            if options.write_docs:
                write_docs(everything)
    except LitesmithError as error:
        print(one_line(error), file=sys.stderr)
        return EXIT_USAGE
    return EXIT_FAILED if failed else EXIT_DONE


if __name__ == "__main__":
    sys.exit(main())

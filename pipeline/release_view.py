"""What the commands of releases print: tables, and a release in lines."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence

from rich.table import Table

from core.progress import Reporter
from core.spec_io import to_plain
from deploy.manifest import Manifest
from deploy.store.diff import Difference
from deploy.store.index import IndexEntry
from deploy.store.pull import Pull
from deploy.store.select import accuracy_text, latency_text, size_text

MISSING = "–"


def show_table(reporter: Reporter, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Prints rows of text under their headings."""
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    reporter.console.print(table, markup=False)


def show_lines(reporter: Reporter, lines: Iterable[str]) -> None:
    """Prints the answer to a question: without the clock that lines of progress have."""
    for line in lines:
        reporter.console.print(line, markup=False, emoji=False)


def show_json(value: object) -> None:
    """Prints a value for other programs."""
    print(json.dumps(to_plain(value), indent=2, sort_keys=True))


def index_rows(entries: Iterable[IndexEntry]) -> Iterator[tuple[str, ...]]:
    """A row of `list` for each release."""
    for entry in entries:
        accuracies = [model.test_accuracy for model in entry.models]
        sizes = [model.size_bytes for model in entry.models]
        yield (
            entry.release_id,
            entry.created,
            ", ".join(entry.channels) or MISSING,
            str(len(entry.models)),
            accuracy_text(max(accuracies)) if accuracies else MISSING,
            size_text(min(sizes)) if sizes else MISSING,
        )


INDEX_COLUMNS = ("release", "created", "channels", "models", "best accuracy", "smallest")
MODEL_COLUMNS = ("model", "recipe", "scheme", "size", "zipped", "accuracy", "of its float parent", "MACs")


def model_rows(manifest: Manifest) -> Iterator[tuple[str, ...]]:
    """A row of `show` for each model."""
    for model in manifest.artifacts:
        accuracies = (accuracy_text(model.test_accuracy), accuracy_text(model.float_test_accuracy))
        sizes = (size_text(model.size_bytes), size_text(model.zipped_bytes))
        yield (model.file, model.recipe, model.scheme, *sizes, *accuracies, f"{model.macs:,}")


LATENCY_COLUMNS = ("model", "target", "median us", "95 % interval", "p95 us", "threads", "device", "tool", "verdict")


def latency_rows(manifest: Manifest) -> Iterator[tuple[str, ...]]:
    """A row of `show` for each figure, target by target."""
    figures = [(latency, model.file) for model in manifest.artifacts for latency in model.latency]
    for latency, file in sorted(figures, key=lambda figure: figure[0].target):
        interval = f"{latency.low_us:,.1f} to {latency.high_us:,.1f}" if latency.high_us else MISSING
        p95 = f"{latency.p95_us:,.1f}" if latency.p95_us else MISSING
        where = ", ".join(filter(None, (latency.device, latency.abi, latency.delegate))) or MISSING
        conditions = (str(latency.threads), where, latency.tool, latency.verdict)
        yield (file, latency.target, f"{latency.median_us:,.1f}", interval, p95, *conditions)


def release_lines(manifest: Manifest) -> Iterator[str]:
    """What holds for the whole release."""
    tested = manifest.test_set
    yield f"{manifest.release_id}, created {manifest.created}"
    yield f"accuracies: {tested.images:,} test images of {tested.name}, {len(tested.class_names)} classes"
    if manifest.command:
        yield f"made by: {manifest.command}"


def file_lines(manifest: Manifest) -> Iterator[str]:
    """All files with their sizes."""
    total = sum(file.size_bytes for file in manifest.all_files)
    yield f"{len(manifest.all_files)} files, {size_text(total)}:"
    for file in manifest.all_files:
        yield f"  {file.path}  {size_text(file.size_bytes)}  sha256 {file.sha256[:12]}"


DIFF_COLUMNS = ("model", "what", "before", "after", "change")


def diff_rows(found: Difference) -> Iterator[tuple[str, ...]]:
    """A row of `diff` for each figure that differs; a model's name stands once."""
    last = ""
    for row in found.rows:
        yield (row.model if row.model != last else "", row.what, row.before, row.after, row.change)
        last = row.model


def diff_lines(found: Difference) -> Iterator[str]:
    """What differs besides the figures."""
    yield from (f"same: {name}" for name in found.same)
    yield from (f"only before: {name}" for name in found.removed)
    yield from (f"only after: {name}" for name in found.added)
    yield from (f"{key}: {before} -> {after}" for key, before, after in found.config)
    yield from (f"note: {caution}" for caution in found.cautions)
    if found.is_same:
        yield "nothing differs"


def pull_lines(done: Pull) -> Iterator[str]:
    """What was taken and why, what was not, what was checked, and how to go on."""
    taken = done.selection
    model = taken.model
    figures = [
        f"{accuracy_text(model.test_accuracy)} accurate",
        *([latency_text(taken.latency)] if taken.latency else []),
    ]
    origin = f" ({done.channel.channel}, sequence {done.channel.sequence})" if done.channel else ""
    yield f"release: {done.release_id}{origin}; {_trust(done)}"
    yield f"took {model.file}: {', '.join((*figures, size_text(model.size_bytes)))}"
    yield f"  why: {taken.why}"
    yield from (f"  but: {caution}" for caution in (*taken.cautions, *done.notes))
    yield from (f"  not {file}: {reason}" for file, reason in taken.others)
    held = f"{done.files} files, {size_text(done.size_bytes)}"
    yield f"{done.out}: {held}, all as the manifest says" + ("" if done.is_new else "; they were there already")
    yield f"next: python -m pipeline.main verify {done.out}"
    yield from (f"      python {done.out / path} IMAGE" for path in model.extras if path.endswith(".py"))


def _trust(done: Pull) -> str:
    if done.is_checked:
        return "signed with your key"
    return "signed, which only --public_key=FILE checks" if done.is_signed else "not signed"

"""Command `show`: one release of a store."""

from __future__ import annotations

from core.errors import EXIT_DONE, UsageError
from core.progress import Reporter
from deploy.store.filesystem import open_store
from deploy.store.resolve import resolve
from pipeline.call import Call
from pipeline.release_view import (
    LATENCY_COLUMNS,
    MODEL_COLUMNS,
    file_lines,
    latency_rows,
    model_rows,
    release_lines,
    show_json,
    show_lines,
    show_table,
)


def run(call: Call) -> int:
    """Prints the release's models, figures with their conditions, and files."""
    if len(call.arguments) != 1:
        raise UsageError(f"show: expected one channel or ID, got {' '.join(call.arguments) or 'none'}")
    store = open_store(call.needed("store", "a folder or URL that holds releases"), must_exist=True)
    found = resolve(store, call.arguments[0], call.file("public_key"), "show")
    if call.flags.get("json"):
        show_json(found.manifest)
        return EXIT_DONE
    reporter = Reporter()
    show_lines(reporter, release_lines(found.manifest))
    show_table(reporter, MODEL_COLUMNS, model_rows(found.manifest))
    latencies = list(latency_rows(found.manifest))
    if latencies:
        show_table(reporter, LATENCY_COLUMNS, latencies)
    show_lines(reporter, file_lines(found.manifest))
    return EXIT_DONE

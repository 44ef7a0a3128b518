"""Command `diff`: two releases of a store beside each other."""

from __future__ import annotations

from core.errors import EXIT_DONE, UsageError
from core.progress import Reporter
from deploy.store.diff import difference
from deploy.store.filesystem import open_store
from deploy.store.resolve import resolve
from pipeline.call import Call
from pipeline.release_view import DIFF_COLUMNS, diff_lines, diff_rows, show_json, show_lines, show_table


def run(call: Call) -> int:
    """Prints what the second release changes of the first; 0 whether or not they differ."""
    if len(call.arguments) != 2:
        raise UsageError(f"diff: expected two channels or IDs, got {' '.join(call.arguments) or 'none'}")
    store = open_store(call.needed("store", "a folder or URL that holds releases"), must_exist=True)
    key = call.file("public_key")
    before, after = (resolve(store, asked, key, "diff") for asked in call.arguments)
    found, reporter = difference(before.manifest, after.manifest), Reporter()
    if call.flags.get("json"):
        show_json(found)
        return EXIT_DONE
    show_lines(reporter, [f"{before.release_id} -> {after.release_id}"])
    if found.rows:
        show_table(reporter, DIFF_COLUMNS, diff_rows(found))
    show_lines(reporter, diff_lines(found))
    return EXIT_DONE

"""Command `list`: the releases of a store."""

from __future__ import annotations

from core.errors import EXIT_DONE
from core.progress import Reporter
from deploy.store.filesystem import open_store
from deploy.store.index import read_index
from pipeline.call import Call
from pipeline.release_view import INDEX_COLUMNS, index_rows, show_json, show_lines, show_table


def run(call: Call) -> int:
    """Prints the store's index, newest first."""
    call.no_arguments("list")
    store = open_store(call.needed("store", "a folder or URL that holds releases"), must_exist=True)
    entries, reporter = read_index(store), Reporter()
    if call.flags.get("json"):
        show_json(entries)
    elif entries:
        show_table(reporter, INDEX_COLUMNS, index_rows(entries))
    else:
        show_lines(reporter, [f"{store.url}: no releases"])
    return EXIT_DONE

"""Command `pull`: the best model of a release for a device, checked, in a folder."""

from __future__ import annotations

from pathlib import Path

from core.errors import EXIT_DONE
from core.progress import Reporter
from deploy.store.filesystem import open_store
from deploy.store.pull import pull
from deploy.store.select import Wish, check_wish
from pipeline.call import Call
from pipeline.release_view import pull_lines, show_lines

NAMES = {"target": "a target that the release was measured on", "model": "a file or recipe of the release"}
WISHES = ("target", "max_latency_us", "min_accuracy", "max_size_bytes", "prefer", "model")


def run(call: Call) -> int:
    """Pulls into --out and says what was taken and why."""
    call.no_arguments("pull")
    url = call.needed("store", "a folder or URL that holds releases")
    out = Path(call.needed("out", "a folder for the model"))
    for name, what in NAMES.items():  # an empty one is a variable of a script that was not set
        if name in call.flags:
            call.needed(name, what)
    wish = Wish(**{name: call.flags[name] for name in WISHES if name in call.flags})
    check_wish(wish)
    reporter = Reporter()
    done = pull(
        open_store(url, must_exist=True), call.flags.get("release"), wish, out, call.file("public_key"), reporter
    )
    show_lines(reporter, pull_lines(done))
    return EXIT_DONE

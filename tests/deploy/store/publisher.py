"""A publisher of its own: `python -m tests.deploy.store.publisher STORE CHANNEL GATE FOLDER...` publishes all folders.

It begins when the file GATE is there, so that several can begin at once.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from core.progress import SilentReporter
from deploy.store.filesystem import open_store
from deploy.store.publish import publish


def main() -> None:
    """Publishes the folders in turn."""
    url, channel, gate, *folders = sys.argv[1:]
    print("ready", flush=True)
    while not Path(gate).exists():
        time.sleep(0.001)
    for folder in folders:
        publish(Path(folder), None, open_store(url), channel, None, SilentReporter())


if __name__ == "__main__":
    main()

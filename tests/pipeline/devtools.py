"""Chromium without a window, driven by the DevTools protocol over a pipe: pages, scripts, keys, what it complains of.

The protocol (https://chromedevtools.github.io/devtools-protocol): JSON messages that end with a zero byte, which
--remote-debugging-pipe reads from file descriptor 3 and writes to 4.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --remote-debugging-pipe"
)
KEYS = {"Tab": 9, "Enter": 13, "ArrowRight": 39, " ": 32}


class Browser:
    """One tab of a running Chromium; `complaints` are the uncaught errors and console messages of its page."""

    def __init__(self, read: int, write: int) -> None:
        self._read, self._write = read, write
        self._left = b""
        self._count = 0
        self._session = ""
        self.complaints: list[str] = []
        self._loaded = False

    def attach(self) -> None:
        """To a new tab."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def close(self) -> None:
        """Ends the browser."""
        self._session = ""
        self.call("Browser.close")

    def open(self, path: Path, width: int) -> None:
        """Shows a page, `width` CSS pixels wide, as a phone does if that is narrow."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        self.complaints.clear()
        self._loaded = False
        self.call("Page.navigate", url=path.as_uri())
        while not self._loaded:
            self._take()

    def run(self, script: str) -> Any:
        """The JSON value of an expression in the page."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def press(self, key: str) -> None:
        """Presses a key as a person does: to the element that has the focus."""
        event = {"key": key, "code": key, "windowsVirtualKeyCode": KEYS[key], "text": "\r" if key == "Enter" else ""}
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, **event)

    def call(self, method: str, **params: Any) -> Any:
        """The result of a command."""
        self._count += 1
        own = self._count
        message = {"id": own, "method": method, "params": params}
        message |= {"sessionId": self._session} if self._session else {}
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            found = self._take()
            if found.get("id") == own:
                assert "error" not in found, found["error"]
                return found["result"]

    def _take(self) -> dict[str, Any]:
        """The next message, of which events are noted."""
        while b"\0" not in self._left:
            piece = os.read(self._read, 1 << 20)
            assert piece, "Chromium has ended"
            self._left += piece
        text, _, self._left = self._left.partition(b"\0")
        found: dict[str, Any] = json.loads(text)
        method = found.get("method", "")
        if method in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"):
            self.complaints.append(json.dumps(found["params"]))
        self._loaded |= method == "Page.loadEventFired"
        return found


@contextlib.contextmanager
def started(chromium: str, profile: Path) -> Iterator[Browser]:
    """A browser of its own for as long as the context lasts."""
    in_read, in_write = os.pipe()
    out_read, out_write = os.pipe()
    # The shell gives the pipes the two numbers that Chromium expects.
    script = f'exec "$@" 3</dev/fd/{in_read} 4>/dev/fd/{out_write}'
    command = ["sh", "-c", script, "sh", chromium, *FLAGS.split(), f"--user-data-dir={profile}"]
    with open(profile.with_suffix(".log"), "w", encoding="utf-8") as log:
        process = subprocess.Popen(command, pass_fds=(in_read, out_write), stdout=log, stderr=log)
    os.close(in_read)
    os.close(out_write)
    browser = Browser(out_read, in_write)
    try:
        browser.attach()
        yield browser
        browser.close()
    finally:
        os.close(in_write)
        os.close(out_read)
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

"""The report in a real browser: no errors, plots drawn and legible, sortable tables within the keyboard's reach, no
sideways scroll on a phone."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.report_runs import EDGES, rendered

BROWSER_CHECK = """
<script>
const errors = [];
addEventListener("error", (event) => errors.push(event.message));
addEventListener("securitypolicyviolation", (event) => errors.push("blocked: " + event.blockedURI));
addEventListener("load", () => {
  const shown = (element) => { const box = element.getBoundingClientRect(); return box.width > 0 && box.height > 0; };
  const plot = [...document.querySelectorAll("figure > div > svg")].find(shown);
  const texts = [...plot.querySelectorAll("text")];
  const boxes = texts.map((text) => [text.textContent.trim(), text.getBoundingClientRect()]);
  const overlaps = [];
  boxes.forEach(([a, p], i) => boxes.slice(i + 1).forEach(([b, q]) => {
    if (p.left < q.right && q.left < p.right && p.top < q.bottom && q.top < p.bottom) overlaps.push(a + " / " + b);
  }));
  const table = document.querySelector("#trials");
  const column = (n) => [...table.tBodies[0].rows].map((row) => row.cells[n].textContent.trim());
  const button = table.tHead.querySelectorAll("button")[2];
  const sorted = [];
  for (const press of [1, 2]) {
    button.focus(); button.click();
    sorted.push([button.parentElement.ariaSort, document.activeElement === button, column(0)]);
  }
  const reached = (element) => {
    element.focus();
    const visible = getComputedStyle(element).outlineStyle !== "none";
    return document.activeElement === element && element.tabIndex === 0 && visible;
  };
  document.querySelectorAll("details").forEach((details) => { details.open = true; });
  const regions = [...document.querySelectorAll(".scroll, pre")].filter(shown);
  const [copy] = document.querySelectorAll(".copy button");
  const copied = copy.parentElement.querySelector("pre").textContent;
  copy.click();
  const plots = [...document.querySelectorAll("svg")].filter(shown);
  const result = {
    errors, sorted, overlaps,
    width: innerWidth,
    pageWidth: document.documentElement.scrollWidth,
    points: [...plot.querySelectorAll("a")].filter(shown).length,
    labels: boxes.map(([text]) => text),
    hidden: [...document.querySelectorAll("#models ~ .scroll")].map((box) => box.scrollWidth - box.clientWidth),
    unreached: regions.filter((region) => !reached(region)).map((region) => region.ariaLabel),
    regions: regions.length,
    unnamed: regions.filter((region) => !region.ariaLabel).length,
    selected: getSelection().toString().trim() === copied.trim(),
    empty: plots.filter((svg) => !svg.querySelector("path") || !svg.ariaLabel).length,
    plots: plots.length,
    pictures: [...document.images].map((image) => [image.complete && image.naturalWidth > 0, image.alt.length > 0]),
    bars: [...document.querySelectorAll(".panel svg")].filter(shown).length,
  };
  parent.postMessage(JSON.stringify(result), "*");
});
</script>
"""
RECEIVER = 'addEventListener("message", (event) => { document.querySelector("pre").textContent = event.data; });'


@pytest.fixture(scope="session")
def chromium() -> str:
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("needs the Debian package chromium")
    return path


def browse(chromium: str, tmp_path: Path, page: str, width: int) -> tuple[dict[str, Any], str]:
    """What the injected script finds in a page of that width in CSS pixels, and the browser's own log.

    The page is in a frame: Chromium's own windows are at least 500 pixels wide.
    """
    (tmp_path / "index.html").write_text(page.replace("<head>", "<head>" + BROWSER_CHECK, 1), encoding="utf-8")
    frame = f'<iframe src="index.html" style="width: {width}px; height: 900px; border: 0"></iframe>'
    (tmp_path / "frame.html").write_text(f"<pre></pre><script>{RECEIVER}</script>{frame}", encoding="utf-8")
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    flags += "--disable-component-update --disable-sync --enable-logging=stderr --dump-dom --window-size=1400,1000"
    command = [chromium, *flags.split(), f"--user-data-dir={tmp_path / 'profile'}", (tmp_path / "frame.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found = re.search(r"<pre>(.+?)</pre>", done.stdout, re.DOTALL)
    assert found, done.stderr
    return json.loads(html.unescape(found[1])), done.stderr


@pytest.mark.parametrize(
    ("width", "edge"), [(1280, "everything"), (390, "everything"), (390, "two winners"), (1280, "hundred classes")]
)
def test_in_a_browser(chromium: str, tmp_path: Path, width: int, edge: str) -> None:
    report = EDGES[edge]
    found, log = browse(chromium, tmp_path, rendered(edge), width)
    assert found["errors"] == [] and "CONSOLE" not in log
    assert found["width"] == width
    assert found["pageWidth"] <= width, "the page scrolls sideways"
    earlier = len(report.previous.manifest.artifacts) if report.previous else 0
    # One of five trials failed; each of the others has a point against latency and one against size.
    assert found["points"] == 2 * (4 + len(report.released) + earlier)
    assert {"ptq", "float32"} <= {label.split()[-1] for label in found["labels"] if label}
    assert found["overlaps"] == []
    if width == 1280:
        assert found["hidden"][0] <= 0, "the table of the models is cut off"
    assert found["bars"] == 4 * (len(report.released) - len(report.winners))
    assert (found["plots"], found["empty"]) == (found["bars"] + 1 + (earlier > 0), 0)  # Pareto, history
    assert found["unreached"] == [] and found["regions"] > 10 and found["unnamed"] == 0
    assert found["selected"], "the button selects what it copies"
    assert found["pictures"] == [[True, True]] * len(report.mistakes)
    by_score = ["3", "4", "2", "1"]  # trial 5 failed: without a score it comes last both ways
    assert found["sorted"] == [["descending", True, [*by_score, "5"]], ["ascending", True, [*by_score[::-1], "5"]]]

"""The templates of all pages, with the filters that write numbers."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import jinja2

from pipeline import report_units

TEMPLATES = Path(__file__).parent / "templates"


@functools.cache
def environment() -> jinja2.Environment:
    """The templates of all pages, with the filters that write numbers."""
    found = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=lambda name: bool(name and name.endswith(".html.j2")),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    names = ("number", "tiny", "percent", "points", "size", "latency", "count", "duration", "ratio", "moment")
    found.filters |= {name: getattr(report_units, name) for name in names}
    found.filters |= {"times": times, "lost": lost, "markdown": _markdown, "fixed": _fixed}
    found.globals["latencies"] = report_units.latencies
    return found


def times(ratio: float, better: str, worse: str) -> str:
    """A ratio in words: "2.1× smaller", turned round "1.3× larger", or "no smaller"."""
    if f"{ratio:.2f}" == "1.00":
        return f"no {better}"
    return f"{report_units.ratio(ratio)} {better}" if ratio >= 1 else f"{report_units.ratio(1 / ratio)} {worse}"


def lost(fraction: float, images: int) -> str:
    """A loss of accuracy (a fraction of 1) over so many images in words: "0.30 points lost", "no points lost"."""
    text = report_units.points(fraction, images).lstrip("+−")
    if float(text) == 0:
        return "no points lost"
    return f"{text} points {'lost' if fraction > 0 else 'gained'}"


def _markdown(text: object) -> str:
    """Text for one cell of a Markdown table, taken literally."""
    return re.sub(r"([\\`*_{}\[\]<>|#])", r"\\\1", " ".join(str(text).split()))


def _fixed(value: float, digits: int | None) -> str:
    return report_units.number(value) if digits is None else f"{value:.{digits}f}"

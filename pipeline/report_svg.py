"""How all plots of a report look, and how they become inline SVG: deterministic text, no metadata, no reference to
anything outside the page.

Colours are Okabe and Ito's, which colour-blind readers tell apart; shapes, signs and hatches say the same again.
"""

from __future__ import annotations

import contextlib
import html
import io
import re
from collections.abc import Iterator
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.typing import RcKeyType

INK, MUTED, LINE = "#1b2733", "#55636f", "#d5dde4"
BLUE, ORANGE, GREEN, VERMILLION, PURPLE, GREY = "#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#aab4bd"
POINTS_PER_INCH = 72  # of SVG's viewBox, so that lengths below are in points

_STYLE: dict[RcKeyType, Any] = {
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.parse_math": False,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "hatch.linewidth": 1.0,
}


@contextlib.contextmanager
def drawing(name: str) -> Iterator[None]:
    """Within it Matplotlib draws in the report's style; `name`, unique in the page, makes its ids repeatable."""
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": name}):
        yield


def new_figure(width: float, height: float) -> Figure:
    """An empty transparent figure; inches."""
    figure = Figure(figsize=(width, height), dpi=POINTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)  # measures text for the labels' places
    figure.patch.set_visible(False)
    return figure


def as_svg(figure: Figure, name: str, alt: str) -> str:
    """The figure as an SVG element whose ids are its own within the page; `alt` says in words what it shows."""
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(buffer, format="svg", metadata=nothing, dpi=2 * POINTS_PER_INCH)  # dpi: of embedded images
    text = buffer.getvalue()
    box = re.search(r'viewBox="([^"]+)"', text)
    assert box is not None  # every SVG of Matplotlib has one
    body = text[text.index(">", text.index("<svg")) + 1 :]
    # Matplotlib's style rule would reach beyond this element: the page's style sheet has it instead.
    body = re.sub(r"\s*<defs>\s*<style[^>]*>.*?</style>\s*</defs>", "", body, count=1, flags=re.DOTALL)
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = re.sub(r"url\(#", f"url(#{name}-", body)
    # HTML needs no xlink; markers are this element's own, links (of <a>) are the page's.
    body = re.sub(r'(<use[^>]*?)xlink:href="#', rf'\1href="#{name}-', body).replace("xlink:href", "href")
    width = figure.get_figwidth() * 96  # CSS pixels per inch
    opening = f'<svg viewBox="{box[1]}" role="img" aria-label="{html.escape(alt)}" style="max-width: {width:.0f}px">'
    return opening + re.sub(r"\n\s*", "\n", body).strip()

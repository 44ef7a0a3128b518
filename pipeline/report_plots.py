"""The plots of a report as inline SVG: deterministic text, no metadata, no reference to anything outside the page.

Colours are Okabe and Ito's, which colour-blind readers tell apart; shapes and hatches say the same again.
"""

from __future__ import annotations

import html
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Annotation
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from matplotlib.transforms import Bbox
from matplotlib.typing import RcKeyType

INK, MUTED, LINE = "#1b2733", "#55636f", "#d5dde4"
BLUE, ORANGE, GREEN, VERMILLION, PURPLE, GREY = "#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#aab4bd"

# Marker and colour of each quantization scheme.
SCHEME_MARKS = {
    "float32": ("s", INK),
    "float16": ("^", PURPLE),
    "dynamic_range": ("v", ORANGE),
    "full_integer": ("D", GREEN),
    "mixed": ("P", VERMILLION),
    "int8_weights": ("<", MUTED),
    "int4_weights": (">", MUTED),
}
LOG_RANGE = 20  # costs that differ by more than this factor get a logarithmic axis
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


@dataclass(frozen=True, slots=True)
class Dot:
    """One point: cost in the axis' unit, accuracy in percent, tooltip, and the page's anchor that it leads to."""

    cost: float
    accuracy: float
    tooltip: str
    anchor: str


@dataclass(frozen=True, slots=True)
class Series:
    """Points of one kind. `labels` are printed beside them where there is room; one per point, or none.

    With `linked` each point is a link with a tooltip; else all are one embedded image, which stays small.
    """

    name: str
    marker: str
    color: str
    area: float
    dots: tuple[Dot, ...]
    labels: tuple[str, ...] = ()
    linked: bool = True


@dataclass(frozen=True, slots=True)
class Pareto:
    """Accuracy against cost: the series from back to front, the front's points, and the search's budget
    (None: it had none)."""

    series: tuple[Series, ...]
    front: tuple[tuple[float, float], ...]
    budget: float | None
    cost_label: str
    alt: str


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of a panel: its name, length, printed value, low and high end of the repeats, and whether it is noisy."""

    name: str
    value: float
    text: str
    repeats: tuple[float, float] | None = None
    noisy: bool = False


def pareto_svg(view: Pareto, name: str, width: float, height: float) -> str:
    """The Pareto plot; `width` and `height` in inches, `name` unique in the page."""
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure = _figure(width, height)
        axes = figure.add_subplot()
        _set_range(axes, view)
        axes.set_xlabel(view.cost_label)
        axes.set_ylabel("Validation accuracy, %")
        _draw_front(axes, view)
        if view.budget is not None:
            axes.axvline(view.budget, color=MUTED, linewidth=1.2, linestyle=(0, (1, 2)), label="budget of the search")
        for series in view.series:
            _scatter(axes, series)
        figure.legend(loc="outside lower center", ncols=3 if width > 6 else 1, frameon=False, fontsize=8.5)
        figure.draw_without_rendering()
        _place_labels(axes, view.series)
        tooltips = {dot.anchor: dot.tooltip for series in view.series for dot in series.dots}
        return _with_tooltips(_svg(figure, name, view.alt), tooltips)


def bars_svg(bars: Sequence[Bar], name: str, alt: str, *, zero_based: bool = True) -> str:
    """Horizontal bars, or points on a zoomed axis where zero says nothing; the first bar is at the top."""
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": name, "axes.grid": False}):
        figure = _figure(2.75, 0.28 * len(bars) + 0.1)
        axes = figure.add_subplot()
        axes.spines[["left", "bottom"]].set_visible(False)
        axes.set_xticks([])
        axes.set_yticks(range(len(bars)), [bar.name for bar in bars], color=INK)
        axes.tick_params(length=0)
        axes.set_ylim(len(bars) - 0.4, -0.6)
        if zero_based:
            _draw_bars(axes, bars)
        else:
            _draw_points(axes, bars)
        return _svg(figure, name, alt)


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), dpi=POINTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)  # measures text for the labels' places
    figure.patch.set_visible(False)
    return figure


def _set_range(axes: Axes, view: Pareto) -> None:
    dots = [dot for series in view.series for dot in series.dots]
    costs = [dot.cost for dot in dots] + ([] if view.budget is None else [view.budget])
    accuracies = [dot.accuracy for dot in dots]
    low, high = min(costs), max(costs)
    if low > 0 and high / low > LOG_RANGE:
        axes.set_xscale("log")
        axes.set_xlim(low / 1.25, high * 1.25)
        room = axes.bbox.width / math.log10(high / low)  # points for a decade, about
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if room > 160 else (1, 3) if room > 80 else (1,)))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    else:
        margin = 0.08 * (high - low) or 0.2 * high or 1.0
        axes.set_xlim(max(0.0, low - margin), high + margin)
        axes.xaxis.set_major_locator(MaxNLocator(6))
    margin = max(1.0, 0.1 * (max(accuracies) - min(accuracies)))
    axes.set_ylim(min(accuracies) - margin, min(max(accuracies) + margin, 100 + 0.3 * margin))


def _draw_front(axes: Axes, view: Pareto) -> None:
    """A staircase: below and right of it, some trial is better. It begins and ends at the edges of the plot."""
    if not view.front:
        return
    costs, accuracies = zip(*view.front, strict=True)
    xs = (costs[0], *costs, axes.get_xlim()[1])
    ys = (axes.get_ylim()[0], *accuracies, accuracies[-1])
    axes.plot(xs, ys, color=BLUE, linewidth=1.3, drawstyle="steps-post", label="front of the trials", zorder=1.5)


def _scatter(axes: Axes, series: Series) -> None:
    marks = axes.scatter(
        [dot.cost for dot in series.dots],
        [dot.accuracy for dot in series.dots],
        s=series.area if series.linked else 0.3 * series.area,
        marker=series.marker,
        color=series.color,
        edgecolors="white" if series.linked else "none",
        linewidths=0.8,
        label=series.name,
        zorder=3,
        rasterized=not series.linked,
    )
    if series.linked:
        marks.set_urls([f"#{dot.anchor}" for dot in series.dots])


def _place_labels(axes: Axes, all_series: Sequence[Series]) -> None:
    """Puts each label at the nearest place beside its point where it covers no mark, no line and no other label; one
    without such a place is left out (tooltip and table have it)."""
    points = [axes.transData.transform((dot.cost, dot.accuracy)) for s in all_series for dot in s.dots]
    marks = [Bbox.from_bounds(x - 6, y - 6, 12, 12) for x, y in points]
    lines = [box for line in axes.lines for box in _boxes_of_steps(line)]
    labels: list[Bbox] = []
    for series in reversed(all_series):
        for dot, text in zip(series.dots, series.labels, strict=False):
            note = axes.annotate(text, (dot.cost, dot.accuracy), (0, 0), textcoords="offset points", va="center")
            note.set(in_layout=False, fontsize=8.5)
            for offset in _OFFSETS:
                box, leader = _try(axes, note, dot, offset)
                inside = axes.bbox.contains(*box.min) and axes.bbox.contains(*box.max)
                if inside and not box.count_overlaps([*marks, *lines, *labels]) and not _cross(leader, labels):
                    labels.append(box)
                    lines += leader
                    if leader:
                        _draw_leader(axes, dot, offset, series.color)
                    break
            else:
                note.remove()


_DIRECTIONS = ((1, 0), (-1, 0), (0.8, 0.8), (0.8, -0.8), (0, 1), (0, -1), (-0.8, 0.8), (-0.8, -0.8), (1, 0.4))
_OFFSETS = [(distance * x, distance * y) for distance in (10, 18, 28, 40, 54, 70) for x, y in _DIRECTIONS]


def _try(axes: Axes, note: Annotation, dot: Dot, offset: tuple[float, float]) -> tuple[Bbox, list[Bbox]]:
    """Moves a label; its box then, and boxes along the line that leads to it (none right beside the point)."""
    right, up = offset
    note.set_position(offset)
    note.set_horizontalalignment("left" if right > 0 else "right" if right < 0 else "center")
    box = note.get_window_extent().padded(1)
    if max(abs(right), abs(up)) <= 10:
        return box, []
    x, y = axes.transData.transform((dot.cost, dot.accuracy))
    return box, [Bbox.from_bounds(x + right * i / 12 - 1, y + up * i / 12 - 1, 2, 2) for i in range(2, 12)]


def _cross(leader: Sequence[Bbox], labels: Sequence[Bbox]) -> bool:
    return any(box.count_overlaps(labels) for box in leader)


def _draw_leader(axes: Axes, dot: Dot, offset: tuple[float, float], color: str) -> None:
    shrink = 7 if offset[0] == 0 else 0  # above or below its point a label is centred on the line's end
    style = {"arrowstyle": "-", "color": color, "linewidth": 0.7, "shrinkA": shrink, "shrinkB": 4}
    line = axes.annotate("", (dot.cost, dot.accuracy), offset, textcoords="offset points", arrowprops=style, zorder=2)
    line.set_in_layout(False)


def _boxes_of_steps(line: Line2D) -> list[Bbox]:
    """Boxes around the pieces of a line that runs along the axes (a staircase, or the vertical line of the budget)."""
    corners = np.asarray(line.get_transform().transform_path(line.get_path()).vertices)
    return [Bbox(corners[i : i + 2]).padded(1) for i in range(len(corners) - 1)]


def _draw_bars(axes: Axes, bars: Sequence[Bar]) -> None:
    ends = [max(bar.value, bar.repeats[1] if bar.repeats else 0.0) for bar in bars]
    axes.set_xlim(0, (max(ends) or 1.0) * 1.55)  # the rest of the width is for the values' text
    for row, (bar, end) in enumerate(zip(bars, ends, strict=True)):
        last = row == len(bars) - 1
        color = GREEN if last else GREY
        style: dict[str, Any] = {"facecolor": "white", "hatch": "////"} if bar.noisy else {"facecolor": color}
        axes.barh(row, bar.value, height=0.62, edgecolor=color, linewidth=1.0, **style)
        if bar.repeats:
            axes.plot(bar.repeats, (row, row), color=INK, linewidth=1.1, marker="|", markersize=5)
        note = axes.annotate(bar.text, (end, row), xytext=(6, 0), textcoords="offset points", va="center", fontsize=8.5)
        note.set_in_layout(False)


def _draw_points(axes: Axes, bars: Sequence[Bar]) -> None:
    values = [bar.value for bar in bars]
    span = max(max(values) - min(values), 1e-9)
    axes.set_xlim(min(values) - 0.12 * span, max(values) + 0.8 * span)
    axes.plot(values, range(len(bars)), color=GREY, linewidth=1.2, zorder=1)
    for row, bar in enumerate(bars):
        color = GREEN if row == len(bars) - 1 else MUTED
        axes.plot(bar.value, row, "o", color=color, markersize=6)
        axes.text(1.0, row, bar.text, transform=axes.get_yaxis_transform(), va="center", ha="right", fontsize=8.5)


def _svg(figure: Figure, name: str, alt: str) -> str:
    """The figure as an SVG element whose ids are its own within the page."""
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


def _with_tooltips(svg: str, tooltips: dict[str, str]) -> str:
    """Adds a title to each link; the table holds the same, so that the tab key need not visit every point."""

    def opened(match: re.Match[str]) -> str:
        title = html.escape(tooltips[match[1]])
        return f'<a href="#{match[1]}" tabindex="-1"><title>{title}</title>'

    # Matplotlib's target="_blank" would open the page again.
    return re.sub(r'<a href="#([^"]+)"[^>]*>', opened, svg)

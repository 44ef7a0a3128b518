"""The plot of accuracy against cost, as inline SVG (report_svg): trials, their front, released models, earlier ones."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Annotation
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from matplotlib.transforms import Bbox

from pipeline.report_svg import BLUE, GREEN, INK, MUTED, ORANGE, PURPLE, VERMILLION, as_svg, drawing, new_figure

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
LOG_RANGE = 8  # costs that differ by more than this factor get a logarithmic axis
EARLIER = "previous release"  # what the names of series of earlier models begin with
_WIDE = 6.0  # inches: from here on panes stand side by side

Point = tuple[float, float]


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
    hollow: bool = False


@dataclass(frozen=True, slots=True)
class Pane:
    """Accuracy against one cost.

    Attributes:
      series: from back to front.
      front: the points of the trials that no other beats, by rising cost.
      budget: of the search; None: it had none of this cost.
      moves: lines from an earlier release's point to this one's.
    """

    cost_label: str
    series: tuple[Series, ...]
    front: tuple[Point, ...] = ()
    budget: float | None = None
    moves: tuple[tuple[Point, Point], ...] = ()

    @property
    def dots(self) -> tuple[Dot, ...]:
        """Of all series."""
        return tuple(dot for series in self.series for dot in series.dots)


def pareto_svg(panes: Sequence[Pane], name: str, alt: str, width: float, height: float) -> str:
    """All panes side by side, or below each other in a narrow figure; inches; `name` unique in the page."""
    with drawing(name):
        figure = new_figure(width, height)
        wide = width > _WIDE
        grid = figure.subplots(*((1, len(panes)) if wide else (len(panes), 1)), sharey=True, squeeze=False)
        drawn = list(zip(grid.flat, panes, strict=True))
        _set_accuracies(drawn[0][0], [dot.accuracy for pane in panes for dot in pane.dots])
        for number, (axes, pane) in enumerate(drawn):
            _draw_pane(axes, pane)
            if number == 0 or not wide:
                axes.set_ylabel("Validation accuracy, %")
        _draw_legend(figure, wide)
        figure.draw_without_rendering()
        for axes, pane in drawn:
            _place_labels(axes, pane)
        tooltips = {dot.anchor: dot.tooltip for pane in panes for dot in pane.dots}
        return _with_tooltips(as_svg(figure, name, alt), tooltips)


def _draw_pane(axes: Axes, pane: Pane) -> None:
    _set_costs(axes, pane)
    axes.set_xlabel(pane.cost_label)
    _draw_front(axes, pane)
    if pane.budget is not None:
        axes.axvline(pane.budget, color=MUTED, linewidth=1.2, linestyle=(0, (1, 2)), label="budget of the search")
    for before, after in pane.moves:
        style = {"arrowstyle": "->", "color": MUTED, "linewidth": 0.8, "shrinkA": 4, "shrinkB": 5}
        axes.annotate("", after, before, arrowprops=style, zorder=2).set_in_layout(False)
    for series in pane.series:
        _scatter(axes, series)


def _draw_legend(figure: Figure, wide: bool) -> None:
    """What any pane shows, once each: lines, then marks, what is hollow last."""
    found: dict[str, Artist] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    names = sorted(found, key=lambda name: name.startswith(EARLIER))
    handles, columns = [found[name] for name in names], 4 if wide else 1
    figure.legend(handles, names, loc="outside lower center", ncols=columns, frameon=False, fontsize=8.5)


def _set_accuracies(axes: Axes, accuracies: Sequence[float]) -> None:
    margin = max(1.0, 0.1 * (max(accuracies) - min(accuracies)))
    axes.set_ylim(min(accuracies) - margin, min(max(accuracies) + margin, 100 + 0.3 * margin))


def _set_costs(axes: Axes, pane: Pane) -> None:
    costs = [dot.cost for dot in pane.dots] + ([] if pane.budget is None else [pane.budget])
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


def _draw_front(axes: Axes, pane: Pane) -> None:
    """A staircase: below and right of it, some trial is better. It begins and ends at the edges of the plot."""
    if not pane.front:
        return
    costs, accuracies = zip(*pane.front, strict=True)
    xs = (costs[0], *costs, axes.get_xlim()[1])
    ys = (axes.get_ylim()[0], *accuracies, accuracies[-1])
    axes.plot(xs, ys, color=BLUE, linewidth=1.3, drawstyle="steps-post", label="front of the trials", zorder=1.5)


def _scatter(axes: Axes, series: Series) -> None:
    outline = {"facecolors": "white", "edgecolors": series.color, "linewidths": 1.3}
    filled = {"color": series.color, "edgecolors": "white" if series.linked else "none", "linewidths": 0.8}
    marks = axes.scatter(
        [dot.cost for dot in series.dots],
        [dot.accuracy for dot in series.dots],
        s=series.area if series.linked else 0.3 * series.area,
        marker=series.marker,
        label=series.name,
        zorder=3,
        rasterized=not series.linked,
        **(outline if series.hollow else filled),
    )
    if series.linked:
        marks.set_urls([f"#{dot.anchor}" for dot in series.dots])


def _place_labels(axes: Axes, pane: Pane) -> None:
    """Puts each label at the nearest place beside its point where it covers no mark, no line and no other label; one
    without such a place is left out (tooltip and table have it)."""
    points = [axes.transData.transform((dot.cost, dot.accuracy)) for dot in pane.dots]
    marks = [Bbox.from_bounds(x - 6, y - 6, 12, 12) for x, y in points]
    lines = [box for line in axes.lines for box in _boxes_of_steps(line)]
    lines += [box for ends in pane.moves for box in _boxes_between(*axes.transData.transform(ends))]
    labels: list[Bbox] = []
    for series in reversed(pane.series):
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
    return box, _boxes_between((x, y), (x + right, y + up))[1:]


def _boxes_between(start: Sequence[float], end: Sequence[float]) -> list[Bbox]:
    """Small boxes along a straight line, without its ends; in points."""
    (x, y), (right, up) = start, (end[0] - start[0], end[1] - start[1])
    count = max(12, round(math.hypot(right, up) / 4))
    return [Bbox.from_bounds(x + right * i / count - 1, y + up * i / count - 1, 2, 2) for i in range(1, count)]


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


def _with_tooltips(svg: str, tooltips: dict[str, str]) -> str:
    """Adds a title to each link; the table holds the same, so that the tab key need not visit every point."""

    def opened(match: re.Match[str]) -> str:
        title = html.escape(tooltips[match[1]])
        return f'<a href="#{match[1]}" tabindex="-1"><title>{title}</title>'

    # Matplotlib's target="_blank" would open the page again.
    return re.sub(r'<a href="#([^"]+)"[^>]*>', opened, svg)

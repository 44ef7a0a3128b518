"""Plots of figures over releases, as inline SVG (report_svg)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pipeline.report_svg import BLUE, GREEN, INK, MUTED, ORANGE, PURPLE, VERMILLION, as_svg, drawing, new_figure

_MARKS = (
    ("s", INK),
    ("D", GREEN),
    ("o", BLUE),
    ("^", VERMILLION),
    ("v", PURPLE),
    ("P", ORANGE),
    ("X", MUTED),
    ("<", BLUE),
    (">", GREEN),
    ("*", VERMILLION),
)
_MAX_TICKS = 5  # names of releases below an axis
_SHIFT = 0.05  # of the way between two releases: so far apart are the recipes, which else may hide each other
_LEAST_SPAN = 0.02  # of the values, that an axis shows at least
_WIDE = 6.0  # inches: from here on plots stand side by side


@dataclass(frozen=True, slots=True)
class Line:
    """A figure of one recipe: a value for each release, None where it has none, and the ends of its interval."""

    name: str
    values: tuple[float | None, ...]
    intervals: tuple[tuple[float, float] | None, ...] = ()


@dataclass(frozen=True, slots=True)
class LinePlot:
    """One figure of all recipes; `label` has the unit, and no value is above `most`."""

    label: str
    lines: tuple[Line, ...]
    most: float = math.inf

    @property
    def limits(self) -> tuple[float, float]:
        """The ends of its axis: what is flat is not blown up, and no tick says more than `most`."""
        values = [value for line in self.lines for value in line.values if value is not None]
        values += [end for line in self.lines for interval in line.intervals if interval for end in interval]
        middle, span = (min(values) + max(values)) / 2, max(values) - min(values)
        half = 0.65 * max(span, _LEAST_SPAN * abs(middle))
        return middle - half, min(middle + half, self.most + 0.05 * half)  # room for half a marker


def lines_svg(plots: Sequence[LinePlot], releases: Sequence[str], name: str, alt: str, width: float) -> str:
    """The plots side by side, or below each other in a narrow figure; a recipe has one colour and marker in all.

    Args:
      releases: their short names, oldest first; the last one is this run's.
      width: in inches; the height follows from the number of plots.
    """
    wide = width > _WIDE
    names = list(dict.fromkeys(line.name for plot in plots for line in plot.lines))
    marks = {line: _MARKS[number % len(_MARKS)] for number, line in enumerate(names)}
    shape = (1, len(plots)) if wide else (len(plots), 1)
    with drawing(name):
        figure = new_figure(width, 3.4 if wide else 2.5 * len(plots) + 0.2 * len(names) + 0.3)
        for axes, plot in zip(figure.subplots(*shape, squeeze=False).flat, plots, strict=True):
            _draw(axes, plot, releases, marks)
        _draw_legend(figure, names, min(6, len(names)) if wide else 2)
        return as_svg(figure, name, alt)


def _draw(axes: Axes, plot: LinePlot, releases: Sequence[str], marks: Mapping[str, tuple[str, str]]) -> None:
    for place, line in enumerate(plot.lines):
        marker, color = marks[line.name]
        shift = _SHIFT * (place - (len(plot.lines) - 1) / 2)
        known = [(number + shift, value) for number, value in enumerate(line.values) if value is not None]
        xs, ys = zip(*known, strict=True)
        style: dict[str, Any] = {"color": color, "linewidth": 1.4, "marker": marker, "markersize": 6.5}
        axes.plot(xs, ys, label=line.name, markeredgecolor="white", zorder=3, **style)
        for number, interval in enumerate(line.intervals):
            if interval:
                axes.plot(
                    (number + shift,) * 2, interval, color=color, linewidth=1.0, marker="_", markersize=4, zorder=2
                )
    axes.set_title(plot.label, loc="left", fontsize=9, color=INK)
    last = len(releases) - 1
    axes.set_xlim(-0.3 - 0.02 * last, last + 0.3 + 0.02 * last)
    shown = range(last, -1, -math.ceil((last + 1) / _MAX_TICKS))
    axes.set_xticks(shown, [releases[number] for number in shown])
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.set_ylim(*plot.limits)


def _draw_legend(figure: Figure, names: Sequence[str], columns: int) -> None:
    found: dict[str, Artist] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    handles = [found[name] for name in names]
    figure.legend(handles, names, loc="outside lower center", ncols=columns, frameon=False, fontsize=8.5)

"""The waterfall of one figure over the steps of a recipe, as inline SVG (report_svg)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes

from pipeline.report_svg import BLUE, GREEN, INK, MUTED, VERMILLION, as_svg, drawing, new_figure

_BARS_SHARE = 0.68  # of the width; the rest is for the values' text
_ROW_INCHES = 0.27


@dataclass(frozen=True, slots=True)
class Step:
    """The figure after one step.

    Attributes:
      change: the difference from the step before, as it is printed; "" for the first.
      gain: how good the change is: above 0 better, below 0 worse, 0 neither.
      interval: low and high end of what repeats give, if the value was measured.
      noisy: whether the measurement says not to rely on it.
    """

    name: str
    value: float
    text: str
    change: str = ""
    gain: int = 0
    interval: tuple[float, float] | None = None
    noisy: bool = False


def waterfall_svg(steps: Sequence[Step], result: str, name: str, alt: str, *, zero_based: bool = True) -> str:
    """From the first step's value, through the change that each further step makes, to the `result`.

    Without `zero_based` the axis shows the range of the values alone, and totals are points, since a bar's length would
    say nothing.
    """
    with drawing(name):
        figure = new_figure(2.75, _ROW_INCHES * (len(steps) + 1) + 0.1)
        axes = figure.add_subplot()
        axes.grid(False)
        axes.spines[["left", "bottom"]].set_visible(False)
        axes.set_xticks([])
        axes.set_yticks(range(len(steps) + 1), [*(step.name for step in steps), result], color=INK)
        axes.tick_params(length=0)
        axes.set_ylim(len(steps) + 0.6, -0.6)
        _set_range(axes, steps, zero_based)
        _draw_total(axes, 0, steps[0], MUTED, zero_based)
        for row, (before, step) in enumerate(itertools.pairwise(steps), 1):
            _draw_change(axes, row, before, step)
        _draw_total(axes, len(steps), steps[-1], BLUE, zero_based)
        _draw_connections(axes, steps)
        return as_svg(figure, name, alt)


def _set_range(axes: Axes, steps: Sequence[Step], zero_based: bool) -> None:
    values = [value for step in steps for value in (step.value, *(step.interval or ()))]
    low, high = (0.0, max(values) or 1.0) if zero_based else (min(values), max(values))
    span = high - low or 1.0
    low = low if zero_based else low - 0.1 * span
    axes.set_xlim(low, low + (high - low + 0.04 * span) / _BARS_SHARE)


def _draw_total(axes: Axes, row: int, step: Step, color: str, zero_based: bool) -> None:
    if zero_based:
        axes.barh(row, step.value, height=0.62, **_fill(color, step.noisy))
    else:
        axes.plot(step.value, row, "o", color=color, markersize=6.5, zorder=3)
    _draw_interval(axes, row, step)
    _write(axes, row, step.text, bold=True)


def _draw_change(axes: Axes, row: int, before: Step, step: Step) -> None:
    color = GREEN if step.gain > 0 else VERMILLION if step.gain < 0 else MUTED
    if step.value == before.value:
        axes.plot((step.value, step.value), (row - 0.31, row + 0.31), color=color, linewidth=1.6)
    else:
        left, width = min(before.value, step.value), abs(step.value - before.value)
        axes.barh(row, width, left=left, height=0.62, **_fill(color, step.noisy))
    _draw_interval(axes, row, step)
    _write(axes, row, step.change, bold=False)


def _fill(color: str, noisy: bool) -> dict[str, Any]:
    style: dict[str, Any] = {"facecolor": "white", "hatch": "////"} if noisy else {"facecolor": color}
    return {**style, "edgecolor": color, "linewidth": 1.0}


def _draw_interval(axes: Axes, row: int, step: Step) -> None:
    if step.interval:
        axes.plot(step.interval, (row, row), color=INK, linewidth=1.1, marker="|", markersize=5, zorder=4)


def _draw_connections(axes: Axes, steps: Sequence[Step]) -> None:
    """Each value goes on, as a thin line, to the row below, which begins where this one ends."""
    for row, step in enumerate(steps):
        axes.plot((step.value, step.value), (row, row + 1), color=MUTED, linewidth=0.7, zorder=0)


def _write(axes: Axes, row: int, text: str, *, bold: bool) -> None:
    """Puts a value's text at the right edge of its row."""
    style: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "va": "center", "ha": "right", "color": INK}
    axes.text(1.0, row, text, fontsize=8.5, fontweight="bold" if bold else "normal", **style)

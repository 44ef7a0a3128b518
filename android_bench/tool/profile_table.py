"""The operator profile as benchmark_model prints it: padded tables (stdout) or comma-separated ones (csv).

Both are sections ("Run Order", "Top by Computation Time", "Summary by node type") of the initialization and of the
measured runs. Times are in milliseconds: the header of [first] names no unit, but it is the first of the runs that
[avg ms] is the mean of.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from android_bench.tool.lines import LogLine, count, kilobytes, microseconds, percentage, read_lines, unreadable
from android_bench.tool.timings import read_timing
from android_bench.tool.values import NodeTypeTime, OpProfile, OpTime, Timing, ToolFailure

_MS = 1000  # microseconds in one
_RUN_ORDER, _BY_TYPE = "Run Order", "Summary by node type"
_SECTION = re.compile(r"={30} (.+) ={30}")
_NODES = re.compile(r"Number of nodes executed: (.*)")
_TIMINGS = re.compile(r"Timings \((.*?)\): (.*)")

# Header cells of one operator and of one type, by table. Older builds have a start column.
_OP_COLUMNS = ("type", "first", "avg", "percent", "cdf", "memory", "times", "name")
_TYPE_COLUMNS = ("type", "count", "avg", "percent", "cdf", "memory", "times")
_START_COLUMNS = ("type", "start", *_OP_COLUMNS[1:])
_TEXT_OP = "[node type]|[first]|[avg ms]|[%]|[cdf%]|[mem KB]|[times called]|[Name]"
_CSV_OP = "node type|first|avg_ms|%|cdf%|mem KB|times called|name"
_HEADERS = {
    _TEXT_OP: _OP_COLUMNS,
    _TEXT_OP.replace("[first]", "[start]|[first]"): _START_COLUMNS,
    "[Node type]|[count]|[avg ms]|[avg %]|[cdf %]|[mem KB]|[times called]": _TYPE_COLUMNS,
    _CSV_OP: _OP_COLUMNS,
    _CSV_OP.replace("first|", "start|first|"): _START_COLUMNS,
    "node type|count|avg_ms|avg %|cdf %|mem KB|times called": _TYPE_COLUMNS,
}
_INITIALIZATION = "Profiling Info for Benchmark Initialization"
_RUNS = "Operator-wise Profiling Info for Regular Benchmark Runs"
_DELEGATE = "Delegate internal"
_PRIMARY = "Primary graph"
_SUBGRAPH = "Subgraph (index"


@dataclass(slots=True)
class _Report:
    """The tables of one graph in one phase, as they are read."""

    ops: list[OpTime] = field(default_factory=list)
    by_type: list[NodeTypeTime] = field(default_factory=list)
    total: Timing | None = None
    nodes: int | None = None
    ended: bool = False


def parse_op_profile(text: str) -> OpProfile:
    """The profile of a tool's output or of its csv file.

    Operators of subgraphs are left out: the operator that calls them has their time in its own. Raises ToolFailure
    for a text without a profile, a damaged table and a unit that is not the known one.
    """
    profile = read_op_profile(read_lines(text))
    if profile is None:
        raise ToolFailure("truncated", "there is no table of operators of the measured runs")
    return profile


def read_op_profile(lines: tuple[LogLine, ...]) -> OpProfile | None:
    """The profile among the lines of an output; None if there is none."""
    tables = _Tables()
    for line in lines:
        tables.take(line)
    return _profile(tables.reports)


@dataclass(slots=True)
class _Tables:
    """Reads tables line by line: `section` is the one that we are in, "" outside of any; `columns` its header."""

    reports: dict[str, _Report] = field(default_factory=dict)
    phase: str = _RUNS
    graph: str = _PRIMARY
    section: str = ""
    columns: tuple[str, ...] = ()
    comma: bool = False

    def take(self, line: LogLine) -> None:
        """Reads one line; one that belongs to no table is passed over."""
        title = line.text.strip().removesuffix(":")
        if title in (_INITIALIZATION, _RUNS):
            self.phase, self.graph, self.section = title, _PRIMARY, ""
            self._report()
        elif title.startswith((_PRIMARY, _SUBGRAPH)) or title == _DELEGATE:
            self.graph, self.section = title.partition(" (name")[0], ""
        elif found := _SECTION.fullmatch(title):
            self.section, self.columns = found[1], ()
        elif found := _NODES.fullmatch(line.text):
            self._report().nodes, self.section = count(found[1], line.text), ""
        elif found := _TIMINGS.fullmatch(line.text):
            _set_total(self._report(), found[1], found[2], line.text)
            self.section = ""
        elif not title:
            self.section = ""
        elif self.section and not line.level:  # a line with a level is a message in between
            self._take_row(line.text)

    def _take_row(self, line: str) -> None:
        if not self.columns:
            self.columns, self.comma = _columns(line)
        elif self.section in (_RUN_ORDER, _BY_TYPE):
            _add_row(self._report(), self.section, _cells(line, self.columns, self.comma), line)

    def _report(self) -> _Report:
        return self.reports.setdefault(self.phase + self.graph, _Report())


def _set_total(report: _Report, unit: str, figures: str, line: str) -> None:
    if unit != "microseconds":
        raise unreadable("timings in another unit than microseconds", line)
    if report.ended:
        raise unreadable("a second profile of the same runs", line)
    report.total, report.ended = read_timing(figures), True


def _columns(line: str) -> tuple[tuple[str, ...], bool]:
    """The columns that a header names, and whether commas separate them."""
    comma = "\t" not in line
    cells = [cell.strip() for cell in line.split("," if comma else "\t")]
    header = "|".join(cells if comma else cells[1:])
    if header not in _HEADERS:
        raise unreadable("a table of operators with columns (or units) that we do not know", line)
    return _HEADERS[header], comma


def _cells(line: str, columns: tuple[str, ...], comma: bool) -> dict[str, str]:
    """The cells by column. Node types and names hold commas and white space; the columns between them do not."""
    parts = _split_commas(line, columns) if comma else [cell.strip() for cell in line.split("\t")[1:]]
    if len(parts) != len(columns) or not parts[0]:
        raise unreadable(f"a row of operators without its {len(columns)} columns", line)
    return dict(zip(columns, parts, strict=True))


def _split_commas(line: str, columns: tuple[str, ...]) -> list[str]:
    """Cells of a comma-separated row: unescaped commas in the type, commas as tabs in the name."""
    named = columns[-1] == "name"
    parts = line.rsplit(", ", len(columns) - 1)
    return [*parts[:-1], parts[-1].replace("\t", ",")] if named else parts


def _add_row(report: _Report, section: str, cells: dict[str, str], line: str) -> None:
    if section == _BY_TYPE and "count" in cells:
        report.by_type.append(_node_type(cells, line))
    elif section == _RUN_ORDER and "name" in cells:
        report.ops.append(_op(cells, line))
    else:
        raise unreadable("a row of another table", line)


def _op(cells: dict[str, str], line: str) -> OpTime:
    return OpTime(
        node_type=cells["type"],
        name=cells["name"],
        start_us=microseconds(cells["start"], line, _MS) if "start" in cells else None,
        first_us=microseconds(cells["first"], line, _MS),
        avg_us=microseconds(cells["avg"], line, _MS),
        percent=percentage(cells["percent"], line),
        cdf_percent=percentage(cells["cdf"], line),
        memory_kb=kilobytes(cells["memory"], line),
        times_called=count(cells["times"], line),
    )


def _node_type(cells: dict[str, str], line: str) -> NodeTypeTime:
    return NodeTypeTime(
        node_type=cells["type"],
        count=count(cells["count"], line),
        avg_us=microseconds(cells["avg"], line, _MS),
        percent=percentage(cells["percent"], line),
        cdf_percent=percentage(cells["cdf"], line),
        memory_kb=kilobytes(cells["memory"], line),
        times_called=count(cells["times"], line),
    )


def _profile(reports: dict[str, _Report]) -> OpProfile | None:
    for message in _gaps(reports):
        raise ToolFailure("truncated", message)
    if not reports:
        return None
    runs = reports.get(_RUNS + _PRIMARY)
    if runs is None:
        raise ToolFailure("truncated", "the profile ends before the operators of the measured runs")
    if not runs.ops:  # a dry run
        return None
    empty = _Report()
    return OpProfile(
        ops=tuple(runs.ops),
        by_node_type=tuple(runs.by_type),
        init_ops=tuple(reports.get(_INITIALIZATION + _PRIMARY, empty).ops),
        delegate_ops=tuple(reports.get(_RUNS + _DELEGATE, empty).ops),
        total=runs.total,
    )


def _gaps(reports: dict[str, _Report]) -> Iterator[str]:
    """What says that rows are missing: the tool states how many operators there are."""
    for report in reports.values():
        rows, typed = len(report.ops), sum(row.count for row in report.by_type)
        if not report.ended or not report.nodes == rows == typed:
            stated = "no number" if report.nodes is None else report.nodes
            yield (
                f"the profile's tables are not whole: {rows} operators in run order, {typed} by type, "
                f"{stated} stated, {'with' if report.ended else 'without'} the line after them"
            )

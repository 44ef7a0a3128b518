"""Which delegates a run was asked for, which took nodes, and whether the CPU ran the model after all.

benchmark_model ends with exit code 0 when a delegate cannot be applied and the CPU runs the model instead. So a
delegate counts as used only if a line says so.
"""

from __future__ import annotations

import re

from android_bench.tool.lines import LogLine, count, shorten
from android_bench.tool.values import DelegateUse

# The part of a delegate's own name (TfLiteGpuDelegateV2, TfLiteXNNPackDelegate, ...) that tells it, by our names.
_KERNELS = {"gpu": "gpu", "nnapi": "nnapi", "hexagon": "hexagon", "xnnpack": "xnnpack", "npu": "dispatch"}
_ON_CPU = ("xnnpack",)

_ASKED = re.compile(r"Use (?:legacy )?(gpu|nnapi|hexagon|xnnpack) ?: \[(?:1|true)\]", re.IGNORECASE)
_EXTERNAL = re.compile(r"External delegate path ?: \[.+\]")
_ACCELERATORS = re.compile(r"Accelerators: +([A-Z |]+)")
_REPLACING = re.compile(
    r"Replacing ([0-9]+)(?: out of ([0-9]+))? node\(s\) with delegate \(([^)]*)\) node, yielding ([0-9]+) partitions"
    r"(?: for subgraph ([0-9]+)| for the whole graph)?\.?"
)
_APPLIED = re.compile(r"(?:Explicitly a|A)pplied (\w+) delegate\b")
_DENIED = (
    re.compile(r"(\w+) acceleration is unsupported on this platform"),
    re.compile(r"Could not create (\w+) delegate"),
    re.compile(r"Failed to (?:apply|create) (\w+) delegate"),
    re.compile(r"Though (\w+) delegate is explicitly applied, the model graph will not be"),
    re.compile(r"(\w+) accelerator could not be loaded and registered"),
)
_RESTORED = "Restored original execution plan after delegate application failure"


def asked_delegates(lines: tuple[LogLine, ...], delegate: str = "") -> tuple[str, ...]:
    """The delegates that the log's echo of the flags names, and `delegate` (cpu and "" are none)."""
    asked = [] if delegate in ("", "cpu") else [delegate]
    for line in lines:
        if found := _ASKED.fullmatch(line.text):
            asked.append(found[1].lower())
        elif _EXTERNAL.fullmatch(line.text):
            asked.append("external")
        elif found := _ACCELERATORS.fullmatch(line.text):
            asked += [name for name in ("gpu", "npu") if name in found[1].lower()]
    return tuple(dict.fromkeys(asked))


def delegate_uses(lines: tuple[LogLine, ...]) -> tuple[DelegateUse, ...]:
    """The delegates that took nodes, in order; none where the plan was restored after a failure."""
    uses: list[DelegateUse] = []
    for line in lines:
        if found := _REPLACING.fullmatch(line.text):
            total = count(found[2], line.text) if found[2] else None
            use = DelegateUse(
                name=found[3],
                nodes_replaced=count(found[1], line.text),
                nodes_total=total,
                partitions=count(found[4], line.text),
                subgraph=count(found[5] or "0", line.text),
            )
            uses.append(use)
        elif line.text.startswith(_RESTORED) and uses:
            uses.pop()  # of the delegate that has just failed
    return tuple(uses)


def fall_back(lines: tuple[LogLine, ...], asked: tuple[str, ...]) -> str:
    """ "" if a delegate that was asked for ran the model, or none was; else the line that says so, or what is missing.

    XNNPACK runs beside every other delegate, so it is judged only when it was asked for alone.
    """
    judged = tuple(name for name in asked if name not in _ON_CPU) or asked
    if not judged or any(_runs_alone(lines, name) for name in judged):
        return ""
    reasons = [_denial(lines, name) for name in judged]
    return next((reason for reason in reasons if reason is not None), "")


def denial_line(lines: tuple[LogLine, ...]) -> str:
    """The first line that says that a delegate cannot be used; "" if there is none."""
    return next((shorten(line.text) for line in lines if any(denied.search(line.text) for denied in _DENIED)), "")


def _runs_alone(lines: tuple[LogLine, ...], name: str) -> bool:
    """Whether LiteRT was given this accelerator and not the CPU: then there is nothing to fall back to."""
    found = [match for line in lines if (match := _ACCELERATORS.fullmatch(line.text))]
    return bool(found) and all(match[1].strip().lower() == name for match in found)


def _denial(lines: tuple[LogLine, ...], name: str) -> str | None:
    """Why this delegate did not run the model; None if it did."""
    for line in lines:
        named = (found[1].lower() for denied in _DENIED if (found := denied.search(line.text)))
        if name in named or line.text.startswith(_RESTORED):
            return shorten(line.text)
    return None if _took_nodes(lines, name) else f"no line says that the {name} delegate took the model"


def _took_nodes(lines: tuple[LogLine, ...], name: str) -> bool:
    if any(found[1].lower() == name for line in lines if (found := _APPLIED.search(line.text))):
        return True
    uses = [use.name.lower() for use in delegate_uses(lines) if use.nodes_replaced]
    if name == "external":  # its kernel has any name
        return any(not any(part in use for part in _KERNELS.values()) for use in uses)
    return any(_KERNELS.get(name, name) in use for use in uses)

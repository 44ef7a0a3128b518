"""Command `devices`: what can be measured on from here, and what hinders."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table

from android_bench.connections import Connections
from android_bench.devices import DeviceInfo, list_devices
from android_bench.protocol import runner_for
from android_bench.settings import BenchConfig
from android_bench.targets import resolve_target
from core.errors import EXIT_DONE, LitesmithError, one_line
from core.progress import Reporter
from core.values import Target
from pipeline.call import Call

COLUMNS = ("device", "kind", "what it is", "system", "cores", "power and heat", "usable")
Cells = tuple[str, ...]


def run(call: Call) -> int:
    """Prints a table: this computer, every Android device that adb lists, and every board of --ssh."""
    call.no_arguments("devices")
    table = Table(box=None, pad_edge=False)
    for column in COLUMNS:
        table.add_column(column, overflow="fold")
    for cells in _rows(call.connections()):
        table.add_row(*cells)
    Reporter().console.print(table, markup=False)
    return EXIT_DONE


def _rows(connections: Connections) -> Iterator[Cells]:
    yield _reached(resolve_target("host", BenchConfig()), connections)
    wanted = set(connections.serials.values())
    try:
        yield from (_android(info) for info in list_devices() if not wanted or info.serial in wanted)
    except LitesmithError as error:
        yield ("adb", "android", "", "", "", "", f"no: {one_line(error)}")
    for name in connections.hosts:
        yield _reached(Target(name, kind="ssh", delegate="cpu"), connections)


def _android(info: DeviceInfo) -> Cells:
    if not info.is_usable:
        return (info.serial, "android", info.model, "", "", "", f"no: {info.problem}")
    cores = "; ".join(group.text for group in info.groups)
    system = f"Android {info.android}, {info.abi}"
    return (info.serial, "android", f"{info.model} ({info.soc})", system, cores, _power(info), "yes")


def _power(info: DeviceInfo) -> str:
    charging = {True: ", charging", False: ", not charging", None: ""}[info.is_charging]
    battery = "" if info.battery_percent is None else f"battery {info.battery_percent} %{charging}; "
    return f"{battery}thermal status {info.thermal}"


def _reached(target: Target, connections: Connections) -> Cells:
    """A target whose runner tells its state."""
    try:
        runner = runner_for(target, connections)
        with runner.exclusive(target):
            state, tool = runner.state(target), runner.tool
    except LitesmithError as error:
        return (target.name, target.kind, "", "", "", "", f"no: {one_line(error)}")
    known = state.conditions
    what = known.get("board") or known.get("host_cpu") or known.get("cpu", "")
    system = ", ".join(known[key] for key in ("machine", "kernel") if key in known) or target.abi
    heat = "; ".join(f"{key.replace('_', ' ')} {known[key]}" for key in ("temperature_c", "governor") if key in known)
    hindrances = "; ".join(filter(None, (state.wait_for, *(concern.reason for concern in state.concerns))))
    usable = f"yes, by {tool}" + (f"; now {hindrances}" if hindrances else "")
    return (target.name, target.kind, what, system, known.get("cores_online", ""), heat, usable)

"""Measures on edge boards with Linux, over ssh: LiteRT there, or a benchmark tool that is sent there."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from android_bench.connections import Connections
from android_bench.cores import pinned_cores
from android_bench.session import NOISY, Concern, Session, SessionPlan, TargetState
from android_bench.ssh.board import LOOK, Board, read_board
from android_bench.ssh.find import find_tool
from android_bench.ssh.link import Link, open_link
from android_bench.ssh.state import board_state, emulation
from android_bench.ssh.tools import BoardTool
from android_bench.tool.job import Job
from android_bench.worker import GRACE_SECONDS
from core.errors import UsageError
from core.values import Target


def make(target: Target, connections: Connections) -> SshRunner:
    """The runner of a target of kind "ssh". Raises UsageError if no host is named for it."""
    host = connections.hosts.get(target.name) or connections.hosts.get("", "")
    if not host:
        raise UsageError(f"target {target.name}: no host; name it by --ssh={target.name}=[user@]host")
    return SshRunner(target, host, connections)


class SshRunner:
    """The runner of target kind "ssh" (see android_bench.session.Runner), for one target.

    One connection serves a whole block of `exclusive`; if it drops, the next call opens another. Outside of a block
    every call has a connection of its own. `grace_seconds` is added to a session's own limit before it is stopped.
    """

    def __init__(
        self, target: Target, host: str, connections: Connections, grace_seconds: float = GRACE_SECONDS
    ) -> None:
        self._target, self._host, self._connections = target, host, connections
        self._grace_seconds = grace_seconds
        self._stack: contextlib.ExitStack | None = None  # holds the link of a block
        self._link: Link | None = None
        self._board: Board | None = None
        self._tool: BoardTool | None = None
        self._firmware_bits: int | None = None

    @property
    def tool(self) -> str:
        """The program there with its version; looks for it if nothing has been measured yet."""
        if self._tool is None:
            with self._connected() as link:
                return self._known_tool(link).title
        return self._tool.title

    @contextlib.contextmanager
    def exclusive(self, target: Target) -> Iterator[None]:
        """Holds the connection and the lock on the board, which keeps out other computers too; waits for its turn.

        Raises UsageError if the user has to change something (host, key), MeasurementError if it cannot be reached.
        """
        self._firmware_bits = None
        with contextlib.ExitStack() as stack:
            self._stack = stack
            stack.callback(self._forget)
            self._link = self._opened(stack)
            yield

    def state(self, target: Target) -> TargetState:
        """The board's governor, load, temperatures, memory and space, and what its firmware says of throttling."""
        with self._connected() as link:
            board = self._looked(link)
            tool = self._known_tool(link)
            cores = pinned_cores(target, board.cores)
            found = board_state(board, cores, self._firmware_bits)
            self._firmware_bits = board.firmware_bits
            emulated = self._emulated()
            conditions = {
                **found.conditions,
                **tool.conditions,
                "pinned_to": ",".join(map(str, cores)) or "not pinned",
                "locked_for_others": "yes" if link.locked else "no: flock is not there",
            }
        if emulated:
            conditions["emulated"] = emulated
        return TargetState(conditions, found.concerns, found.wait_for)

    def run(self, model_path: Path, target: Target, plan: SessionPlan) -> Session:
        """One session in a fresh process on the board, where nothing of it stays, whatever happens.

        Raises UsageError for a model that the runtime there refuses, else MeasurementError with target, host and step;
        it is transient if the connection failed.
        """
        with self._connected() as link:
            tool = self._known_tool(link)
            cores = pinned_cores(target, self._known_board(link).cores)
            session = tool.session(link, Job(Path(model_path), target, cores, plan, self._grace_seconds))
        return _marked(session, self._emulated())

    @contextlib.contextmanager
    def _connected(self) -> Iterator[Link]:
        """The block's link, opened anew if it dropped; outside of a block, one for the moment."""
        if self._stack is None:
            with open_link(self._target.name, self._host, self._connections.ssh_config) as link:
                yield link
            return
        if self._link is None or not self._link.is_open:
            previous = self._link.token if self._link else ""
            self._link = None
            self._link = self._opened(self._stack, previous)
        yield self._link

    def _opened(self, stack: contextlib.ExitStack, previous: str = "") -> Link:
        return stack.enter_context(open_link(self._target.name, self._host, self._connections.ssh_config, previous))

    def _forget(self) -> None:
        self._stack = self._link = None

    def _looked(self, link: Link) -> Board:
        self._board = read_board(link.run("looking at the board", LOOK).stdout)
        return self._board

    def _known_board(self, link: Link) -> Board:
        return self._board or self._looked(link)

    def _known_tool(self, link: Link) -> BoardTool:
        if self._tool is None:
            board = self._known_board(link)
            tool = find_tool(link, self._target, self._connections, board)
            machines = {board.machine, tool.machine} - {""}
            if self._target.abi and self._target.abi not in machines:
                there = " and ".join(sorted(machines))
                raise UsageError(f"{link.where}: abi of the target is {self._target.abi!r}, but the board says {there}")
            self._tool = tool
        return self._tool

    def _emulated(self) -> str:
        return emulation(self._board, self._tool.machine) if self._board and self._tool else ""


def _marked(session: Session, emulated: str) -> Session:
    """With the warning that an emulator's figure is no latency of a processor."""
    if not emulated:
        return session
    concern = Concern(NOISY, f"{emulated}: the figure says nothing of a real device")
    return replace(
        session,
        conditions={**session.conditions, "emulated": emulated},
        concerns=(*session.concerns, concern),
    )

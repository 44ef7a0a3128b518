"""What the state of a board says of measuring on it."""

from __future__ import annotations

from android_bench.session import NOISY, THROTTLED, Concern, TargetState
from android_bench.ssh.board import Board

# A core counts as busy above this share, as on the host; the look itself takes a few per cent of one.
MAX_BUSY = 0.20
# Bits of the Raspberry Pi firmware's get_throttled (raspberrypi.com, documentation of vcgencmd); 16 bits higher: since
# the start.
UNDER_VOLTAGE, CAPPED, THROTTLED_NOW, SOFT_LIMIT = 1, 2, 4, 8
_FIRMWARE_WORDS = {
    UNDER_VOLTAGE: "under-voltage (a weak power supply or cable)",
    CAPPED: "the clock is capped",
    THROTTLED_NOW: "throttled",
    SOFT_LIMIT: "at the soft temperature limit",
}
_SINCE_START = 16


def board_state(board: Board, cores: tuple[int, ...], firmware_bits_before: int | None = None) -> TargetState:
    """What the state of a board says of measuring on `cores` (empty: on any).

    Throttling now is worth waiting for. Under-voltage is not, nor what the firmware remembers to have happened since
    the last look, whose bits are `firmware_bits_before`.
    """
    waits = list(board.too_hot)
    if board.is_cooling:
        waits.append("the kernel has lowered a clock to cool the board")
    concerns = []
    bits = board.firmware_bits or 0
    waits += [_firmware_words(bit) for bit in (CAPPED, THROTTLED_NOW, SOFT_LIMIT) if bits & bit]
    if bits & UNDER_VOLTAGE:
        concerns.append(Concern(THROTTLED, _firmware_words(UNDER_VOLTAGE)))
    if firmware_bits_before is not None:
        news = (bits & ~firmware_bits_before) >> _SINCE_START
        words = [_FIRMWARE_WORDS[bit] for bit in _FIRMWARE_WORDS if news & bit]
        concerns += [Concern(THROTTLED, f"since the last look the firmware noted: {word}") for word in words]
    concerns += [
        Concern(NOISY, f"core {core} was {share:.0%} busy (limit {MAX_BUSY:.0%})")
        for core, share in (board.busy or {}).items()
        if share > MAX_BUSY and (not cores or core in cores)
    ]
    return TargetState(_conditions(board), tuple(concerns), "; ".join(waits))


def _firmware_words(bit: int) -> str:
    return f"the board's firmware says: {_FIRMWARE_WORDS[bit]}"


def _conditions(board: Board) -> dict[str, str]:
    found = {
        "board": board.model,
        "machine": board.machine,
        "kernel": board.kernel,
        "cpu": board.cpuinfo.strip(";"),
        "cores_online": str(len(board.cores) or ""),
        "governor": ", ".join(sorted({core.governor for core in board.cores if core.governor})) or "not readable",
        "clock_limited": ", ".join(f"core {core.number}" for core in board.cores if core.is_limited),
        "load_average": board.load_average,
        "memory_free_mib": _mib(board.memory_free_bytes),
        "disk_free_mib": _mib(board.disk_free_bytes),
        "temperature_c": ", ".join(f"{zone} {value:.1f}" for zone, value in (board.temperatures_c or {}).items()),
        "firmware_throttled": "" if board.firmware_bits is None else f"{board.firmware_bits:#x}",
        "busy": ", ".join(f"core {core} {share:.0%}" for core, share in (board.busy or {}).items()),
    }
    return {key: value for key, value in found.items() if value}


def _mib(size_bytes: int | None) -> str:
    return "" if size_bytes is None else f"{size_bytes / (1 << 20):.0f}"


def emulation(board: Board, machine: str = "") -> str:
    """Why what runs there is emulated, "" if it is not: then its latency says nothing of a real processor.

    `machine` is what the measuring program takes its machine for. User-mode qemu runs programs of one processor on
    another, whose /proc/cpuinfo still shows.
    """
    is_x86 = "vendor_id=" in board.cpuinfo
    for claimed in (machine, board.machine):
        if claimed and board.machine and _family(claimed) != _family(board.machine):
            return f"emulated: {claimed} programs on a processor of kind {board.machine}"
        if claimed and is_x86 and _family(claimed) != "x86":
            return f"emulated: {claimed} programs on an x86 processor"
    return ""


def _family(machine: str) -> str:
    """Processors whose programs one machine can run natively: 32-bit ones count with their 64-bit successors."""
    if machine in ("x86_64", "amd64") or (machine.startswith("i") and machine.endswith("86")):
        return "x86"
    return "arm" if machine.startswith(("arm", "aarch64")) else machine

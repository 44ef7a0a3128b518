"""What a board prints of its state, what that says of measuring, and which cores are chosen. No ssh here."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from android_bench.cores import Core, pinned_cores
from android_bench.session import NOISY, THROTTLED, Concern
from android_bench.ssh.board import Board, read_board
from android_bench.ssh.state import board_state, emulation
from core.errors import UsageError
from core.values import Target

# As LOOK prints on a Raspberry Pi 4; two of the four cores, to be short.
PI = """
machine aarch64
kernel Linux 6.6.31-v8
model Raspberry Pi 4 Model B Rev 1.4
cpuinfo CPU part=0xd08;
core 0
governor 0 ondemand
max_khz 0 1500000
limit_khz 0 1500000
core 10
governor 10 performance
max_khz 10 1500000
limit_khz 10 1000000
load_average 0.11 0.22 0.33 1/180 999
memory_free_kib 2048000
disk_free_kib 1024000
zone 0 cpu-thermal
temperature 0 51121
passive 0 80000
cooling 0 0
firmware_temperature temp=51.1'C
firmware_throttled throttled=0x50000
ticks_before 0 100 0 50 1000 10 0 0 0 0 0
ticks_before 10 100 0 50 1000 0 0 0 0 0 0
ticks_after 0 101 0 51 1026 12 0 0 0 0 0
ticks_after 10 120 0 60 1000 0 0 0 0 0 0
"""


def test_every_fact_of_a_board() -> None:
    assert read_board(PI) == Board(
        machine="aarch64",
        kernel="Linux 6.6.31-v8",
        model="Raspberry Pi 4 Model B Rev 1.4",
        cpuinfo="CPU part=0xd08;",
        cores=(Core(0, 1_500_000, "ondemand"), Core(10, 1_500_000, "performance", is_limited=True)),
        load_average="0.11 0.22 0.33",
        memory_free_bytes=2_048_000 * 1024,
        disk_free_bytes=1_024_000 * 1024,
        temperatures_c={"cpu-thermal": 51.121, "firmware": 51.1},
        firmware_bits=0x50000,
        # Core 0: 2 of 30 ticks were not idle or waiting; core 10: all 30.
        busy={0: pytest.approx(2 / 30), 10: 1.0},
    )


def test_conditions_say_what_was_read_and_nothing_else() -> None:
    conditions = board_state(read_board(PI), ()).conditions
    assert conditions["board"] == "Raspberry Pi 4 Model B Rev 1.4"
    assert conditions["governor"] == "ondemand, performance"
    assert conditions["clock_limited"] == "core 10"
    assert conditions["temperature_c"] == "cpu-thermal 51.1, firmware 51.1"
    assert conditions["firmware_throttled"] == "0x50000"
    assert (conditions["memory_free_mib"], conditions["disk_free_mib"]) == ("2000", "1000")
    assert board_state(Board(), ()).conditions == {"governor": "not readable"}


def test_a_busy_core_counts_if_it_is_measured_on() -> None:
    board = read_board(PI)
    assert board_state(board, (0,)).concerns == ()
    busy = (Concern(NOISY, "core 10 was 100% busy (limit 20%)"),)
    assert board_state(board, (10,)).concerns == board_state(board, ()).concerns == busy


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("firmware_throttled throttled=0x4", "the board's firmware says: throttled"),
        ("firmware_throttled throttled=0x2", "the board's firmware says: the clock is capped"),
        ("firmware_throttled throttled=0x8", "the board's firmware says: at the soft temperature limit"),
        ("zone 3 soc\ntemperature 3 80000\npassive 3 80000", "soc is at 80.0 C, its passive trip point is 80.0 C"),
        ("cooling 2 1", "the kernel has lowered a clock to cool the board"),
    ],
)
def test_throttling_now_is_waited_for(line: str, words: str) -> None:
    assert board_state(read_board(line), ()).wait_for == words


def test_what_happened_before_the_first_look_is_no_concern() -> None:
    board = replace(read_board(PI), busy=None)
    assert board_state(board, ()).concerns == ()
    assert board_state(board, (), firmware_bits_before=0x50000).concerns == ()


def test_what_happened_since_the_last_look_is_one() -> None:
    state = board_state(read_board("firmware_throttled throttled=0x50000"), (), firmware_bits_before=0x10000)
    assert state.concerns == (Concern(THROTTLED, "since the last look the firmware noted: throttled"),)
    assert state.wait_for == ""


def test_under_voltage_is_a_concern_that_waiting_does_not_mend() -> None:
    state = board_state(read_board("firmware_throttled throttled=0x1"), ())
    assert [concern.kind for concern in state.concerns] == [THROTTLED]
    assert "under-voltage" in state.concerns[0].reason and state.wait_for == ""


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(PI.splitlines()), max_size=12), st.text(max_size=80))
def test_any_text_can_be_read(lines: list[str], noise: str) -> None:
    board_state(read_board("\n".join([*lines, noise, *(line[:-3] + noise for line in lines)])), ())


@pytest.mark.parametrize(
    ("machine", "program", "cpuinfo", "words"),
    [
        ("aarch64", "aarch64", "CPU part=0xd08;", ""),
        ("aarch64", "armv7l", "CPU part=0xd08;", ""),  # a 32-bit program runs natively
        ("x86_64", "", "vendor_id=GenuineIntel;", ""),
        ("x86_64", "i686", "vendor_id=GenuineIntel;", ""),
        ("x86_64", "aarch64", "vendor_id=GenuineIntel;", "emulated: aarch64 programs on a processor of kind x86_64"),
        ("aarch64", "aarch64", "vendor_id=AuthenticAMD;", "emulated: aarch64 programs on an x86 processor"),
        ("riscv64", "x86_64", "", "emulated: x86_64 programs on a processor of kind riscv64"),
    ],
)
def test_emulation_is_seen(machine: str, program: str, cpuinfo: str, words: str) -> None:
    assert emulation(Board(machine=machine, cpuinfo=cpuinfo), program) == words


# Two slow cores, one middle and two fast ones, not in order.
CORES = (Core(0, 500), Core(1, 1000), Core(2, 500), Core(3, 900), Core(4, 1000))


@pytest.mark.parametrize(
    ("kind", "threads", "chosen"),
    [("big", 1, (4,)), ("big", 2, (1, 4)), ("middle", 1, (3,)), ("little", 1, (2,)), ("", 4, ())],
)
def test_cores_of_a_kind(kind: str, threads: int, chosen: tuple[int, ...]) -> None:
    assert pinned_cores(Target("pi", "ssh", num_threads=threads, cores=kind), CORES) == chosen


def test_equal_cores_are_big_and_little() -> None:
    equal = tuple(Core(number) for number in range(4))
    assert pinned_cores(Target("pi", "ssh", cores="big"), equal) == (3,)
    assert pinned_cores(Target("pi", "ssh", cores="little"), equal) == (3,)


def test_the_own_mask_counts() -> None:
    assert pinned_cores(Target("pi", "ssh", cpu_mask=(3, 0)), CORES) == (0, 3)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (Target("pi", cpu_mask=(1, 9)), r"target pi: cpu_mask has cores \[9\]; online there are \[0, 1, 2, 3, 4\]"),
        (Target("pi", cores="middle", num_threads=2), r"2 threads do not fit the 1 middle cores \[3\] there \(fastest"),
        (Target("pi", cores="big", num_threads=3), r"3 threads do not fit the 2 big cores \[1, 4\]"),
    ],
)
def test_cores_that_are_not_there(target: Target, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        pinned_cores(target, CORES)

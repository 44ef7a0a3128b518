"""What is read from an Android device's own words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from android_bench.adb.device import CoreGroup, parse_facts
from android_bench.adb.fitness import target_state


def output(**sections: str) -> str:
    return "".join(f"litesmith-section:{name}\n{text}\n" for name, text in sections.items())


def cores(*speeds: tuple[str, str]) -> str:
    """Lines of the script for (max kHz, capacity) of each core."""
    return "\n".join(f"{number}:{khz}:{capacity}:schedutil" for number, (khz, capacity) in enumerate(speeds))


LITTLE, GOLD, PRIME = ("1785600", "378"), ("2419200", "871"), ("2841600", "1024")


def test_a_prime_core_is_the_big_one():
    facts = parse_facts(output(cores=cores(*[LITTLE] * 4, *[GOLD] * 3, PRIME), online="0-7"))
    assert facts.layout == {"little": (0, 1, 2, 3), "middle": (4, 5, 6), "big": (7,)}
    assert [group.text for group in facts.groups] == ["0-3 at 1.79 GHz", "4-6 at 2.42 GHz", "7 at 2.84 GHz"]


def test_capacity_tells_cores_of_one_clock_apart():
    facts = parse_facts(output(cores=cores(("2000000", "1024"), ("2000000", "400"))))
    assert facts.layout == {"big": (0,), "little": (1,)}


def test_clocks_alone_order_the_cores_of_old_kernels():
    facts = parse_facts(output(cores=cores(("2000000", ""), ("1000000", ""))))
    assert facts.groups == (CoreGroup((1,), 1000000, None), CoreGroup((0,), 2000000, None))


def test_equal_cores_are_all_big():
    assert parse_facts(output(cores=cores(GOLD, GOLD))).layout == {"big": (0, 1)}


def test_cores_that_are_switched_off_do_not_count():
    facts = parse_facts(output(cores=cores(LITTLE, LITTLE, GOLD, GOLD), online="0,2-3"))
    assert facts.layout == {"big": (2, 3), "little": (0,)}


def test_cores_without_any_speed():
    facts = parse_facts(output(cores="0:::\n1:::\n"))
    assert facts.groups == (CoreGroup((0, 1), None, None),)
    assert facts.groups[0].text == "0-1"


@pytest.mark.parametrize(
    ("status", "charging"), [("2", True), ("3", False), ("4", False), ("5", True), ("1", None), ("x", None)]
)
def test_the_battery(status, charging):
    text = f"Current Battery Service state:\n  status: {status}\n  level: 40\n  scale: 200\n  temperature: 305"
    facts = parse_facts(output(battery=text))
    assert (facts.battery_percent, facts.battery_celsius, facts.is_charging) == (20, 30.5, charging)


def test_thermal_status_of_android_9_is_unknown():
    facts = parse_facts(output(thermal="Can't find service: thermalservice"))
    assert (facts.thermal_status, facts.thermal_text) == (None, "unknown")
    assert target_state(facts).wait_for == ""


@pytest.mark.parametrize(("status", "text"), [(0, "0 (none)"), (3, "3 (severe)"), (9, "9 (?)")])
def test_thermal_status_in_words(status, text):
    assert parse_facts(output(thermal=f"Thermal Status: {status}")).thermal_text == text


def test_free_space_is_df_s_column():
    text = "Filesystem 1K-blocks Used Available Use% Mounted on\n/dev/block/dm-5 10 6 4 60% /data/user/0"
    assert parse_facts(output(df=text)).free_bytes == 4096
    toolbox = "Filesystem Size Used Free Blksize\n/data 10G 6G 4G 4096"
    assert parse_facts(output(df=toolbox)).free_bytes is None


def test_the_chip_has_its_name_where_android_tells_it():
    board = "[ro.board.platform]: [gs101]\n[ro.hardware]: [oriole]"
    assert parse_facts(output(getprop=board)).soc == "gs101"
    named = f"{board}\n[ro.soc.manufacturer]: [Google]\n[ro.soc.model]: [GS101]"
    assert parse_facts(output(getprop=named)).soc == "Google GS101"


def test_a_phone_that_says_nothing_is_unknown_not_wrong():
    facts = parse_facts("")
    assert facts.groups == ()
    state = target_state(facts)
    assert (state.concerns, state.wait_for) == ((), "")
    assert state.conditions["battery"] == state.conditions["charging"] == state.conditions["free_space"] == "unknown"


def test_power_saving_is_a_concern():
    facts = parse_facts(output(cores="0:1000000::powersave", low_power="1"))
    reasons = [concern.reason for concern in target_state(facts).concerns]
    assert reasons == ["battery saver is on", "governor powersave holds cores at their lowest clock"]


_SECTIONS = ("getprop", "cores", "online", "battery", "thermal", "power", "low_power", "df", "load")


@given(st.dictionaries(st.sampled_from(_SECTIONS), st.text(st.sampled_from("0123456789:-,.[] \nAvailable%level"))))
def test_no_output_makes_it_fail(sections):
    target_state(parse_facts(output(**sections)))

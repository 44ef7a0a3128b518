"""Whether an Android device is fit to be measured on."""

from __future__ import annotations

from android_bench.adb.device import DeviceFacts
from android_bench.session import NOISY, Concern, TargetState

# Below this Android offers its battery saver, and makers slow their phones down by rules of their own.
MIN_BATTERY_PERCENT = 20


def target_state(facts: DeviceFacts) -> TargetState:
    """The device's conditions; it is waited for while its thermal status is above 0."""
    return TargetState(_conditions(facts), _concerns(facts), _wait_for(facts))


def _wait_for(facts: DeviceFacts) -> str:
    return f"thermal status {facts.thermal_text}" if facts.thermal_status else ""


def _concerns(facts: DeviceFacts) -> tuple[Concern, ...]:
    found = []
    percent = facts.battery_percent
    if percent is not None and percent < MIN_BATTERY_PERCENT:
        found.append(f"battery at {percent} % (limit {MIN_BATTERY_PERCENT} %), where phones slow down")
    if facts.is_saving_power:
        found.append("battery saver is on")
    if "powersave" in facts.governors:
        found.append("governor powersave holds cores at their lowest clock")
    return tuple(Concern(NOISY, reason) for reason in found)


def _conditions(facts: DeviceFacts) -> dict[str, str]:
    battery = "unknown" if facts.battery_percent is None else f"{facts.battery_percent} %"
    free = "unknown" if facts.free_bytes is None else f"{facts.free_bytes / 1e9:.1f} GB"
    celsius = "unknown" if facts.battery_celsius is None else f"{facts.battery_celsius:.1f}"
    return {
        "device": facts.model or "unknown",
        "soc": facts.soc or "unknown",
        "android": facts.android or "unknown",
        "abi": facts.abi or "unknown",
        "cores_online": "; ".join(group.text for group in facts.groups) or "unknown",
        "governor": ", ".join(facts.governors) or "not readable",
        "battery": battery,
        "charging": _yes_or_no(facts.is_charging),
        "battery_celsius": celsius,
        "thermal_status": facts.thermal_text,
        "screen_on": _yes_or_no(facts.is_screen_on),
        "battery_saver": _yes_or_no(facts.is_saving_power),
        "free_space": free,
        "load_average": facts.load_average or "unknown",
    }


def _yes_or_no(value: bool | None) -> str:
    return "unknown" if value is None else "yes" if value else "no"

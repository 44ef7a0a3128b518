"""What an Android device says of itself: pure parsing of one script's output.

Sources: getprop; /sys/devices/system/cpu (Linux: ABI/testing/sysfs-devices-system-cpu); dumpsys battery, thermalservice
(Android 10 and newer) and power; df; /proc/loadavg. What a device does not tell is None.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

FOLDER = "/data/local/tmp"  # where adb's user may write and execute

# PowerManager.THERMAL_STATUS_*
THERMAL_NAMES = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")

_SECTION = "litesmith-section:"
FACTS_SCRIPT = f"""
echo {_SECTION}getprop; getprop
echo {_SECTION}cores
for cpu in /sys/devices/system/cpu/cpu[0-9]*; do
  khz= capacity= governor=
  {{ read -r khz <$cpu/cpufreq/cpuinfo_max_freq; read -r governor <$cpu/cpufreq/scaling_governor; }} 2>/dev/null
  {{ read -r capacity <$cpu/cpu_capacity; }} 2>/dev/null
  echo "${{cpu##*/cpu}}:$khz:$capacity:$governor"
done
echo {_SECTION}online; cat /sys/devices/system/cpu/online
echo {_SECTION}battery; dumpsys battery
echo {_SECTION}thermal; dumpsys thermalservice
echo {_SECTION}power; dumpsys power | grep -E '^ *mWakefulness='
echo {_SECTION}low_power; settings get global low_power
echo {_SECTION}df; df -k {FOLDER}
echo {_SECTION}load; cat /proc/loadavg
true"""

_BATTERY_STATUS = {2: True, 3: False, 4: False, 5: True}  # BatteryManager: charging, discharging, not charging, full


@dataclass(frozen=True, slots=True)
class CoreGroup:
    """Cores of the same speed. `capacity` is the kernel's measure of it, 1024 for the device's fastest core."""

    cores: tuple[int, ...]
    max_khz: int | None
    capacity: int | None

    @property
    def text(self) -> str:
        """For people: "4-7 at 2.80 GHz"."""
        numbers = ",".join(map(str, self.cores))
        if len(self.cores) > 1 and self.cores == tuple(range(self.cores[0], self.cores[-1] + 1)):
            numbers = f"{self.cores[0]}-{self.cores[-1]}"
        return numbers if self.max_khz is None else f"{numbers} at {self.max_khz / 1e6:.2f} GHz"


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """A device now. `groups` holds the cores that are switched on, slowest first; "" and None: it does not say."""

    model: str
    soc: str
    android: str
    abi: str
    groups: tuple[CoreGroup, ...]
    governors: tuple[str, ...]
    battery_percent: int | None
    is_charging: bool | None
    battery_celsius: float | None
    thermal_status: int | None
    is_screen_on: bool | None
    is_saving_power: bool | None
    free_bytes: int | None
    load_average: str

    @property
    def thermal_text(self) -> str:
        """For people: "0 (none)"."""
        if self.thermal_status is None:
            return "unknown"
        name = THERMAL_NAMES[self.thermal_status] if self.thermal_status < len(THERMAL_NAMES) else "?"
        return f"{self.thermal_status} ({name})"

    @property
    def layout(self) -> dict[str, tuple[int, ...]]:
        """The cores by what a target calls them. Two speeds have no middle; with one speed all cores are big."""
        names: dict[str, tuple[int, ...]] = {}
        if self.groups:
            names["big"] = self.groups[-1].cores
        if len(self.groups) > 1:
            names["little"] = self.groups[0].cores
        if len(self.groups) > 2:
            names["middle"] = tuple(sorted(core for group in self.groups[1:-1] for core in group.cores))
        return names


def parse_facts(text: str) -> DeviceFacts:
    """The facts in the output of FACTS_SCRIPT; never fails, whatever the text."""
    sections = _sections(text)
    properties = dict(re.findall(r"^\[([^\]]+)\]: \[(.*)\]$", sections.get("getprop", ""), re.MULTILINE))
    battery = dict(re.findall(r"^\s*([\w ]+): (\S+)\s*$", sections.get("battery", ""), re.MULTILINE))
    groups, governors = _cores(sections)
    tenths = _number(battery.get("temperature"))
    return DeviceFacts(
        model=properties.get("ro.product.model", ""),
        soc=_soc(properties),
        android=properties.get("ro.build.version.release", ""),
        abi=properties.get("ro.product.cpu.abi", ""),
        groups=groups,
        governors=governors,
        battery_percent=_percent(battery),
        is_charging=_BATTERY_STATUS.get(_number(battery.get("status")) or 0),
        battery_celsius=None if tenths is None else tenths / 10,
        thermal_status=_found(r"Thermal Status: (\d+)", sections.get("thermal", "")),
        is_screen_on=_wakefulness(sections.get("power", "")),
        is_saving_power={"0": False, "1": True}.get(sections.get("low_power", "").strip()),
        free_bytes=_free_bytes(sections.get("df", "")),
        load_average=" ".join(sections.get("load", "").split()[:3]),
    )


def _sections(text: str) -> dict[str, str]:
    parts = text.split(_SECTION)[1:]
    return {name: body for name, _, body in (part.partition("\n") for part in parts)}


def _soc(properties: dict[str, str]) -> str:
    """Android 12 and newer name the chip; before, the board's platform usually is its name."""
    named = f"{properties.get('ro.soc.manufacturer', '')} {properties.get('ro.soc.model', '')}".strip()
    return named or properties.get("ro.board.platform") or properties.get("ro.hardware", "")


def _cores(sections: dict[str, str]) -> tuple[tuple[CoreGroup, ...], tuple[str, ...]]:
    """The groups of cores that are switched on, and their distinct frequency governors."""
    online = _core_list(sections.get("online", ""))
    speeds: dict[tuple[int, int], list[int]] = {}
    governors: list[str] = []
    for line in sections.get("cores", "").splitlines():
        match = re.fullmatch(r"(\d+):(\d*):(\d*):(\S*)", line.strip())
        if match is None or (online and int(match[1]) not in online):
            continue
        # By capacity first: it counts what a core does in a cycle, too.
        speeds.setdefault((int(match[3] or 0), int(match[2] or 0)), []).append(int(match[1]))
        governors += [match[4]] if match[4] else []
    groups = [CoreGroup(tuple(sorted(speeds[key])), key[1] or None, key[0] or None) for key in sorted(speeds)]
    return tuple(groups), tuple(dict.fromkeys(governors))


def _core_list(text: str) -> set[int]:
    """The kernel's list format: "0-3,6"."""
    cores: set[int] = set()
    for first, last in re.findall(r"(\d+)(?:-(\d+))?", text):
        cores.update(range(int(first), int(last or first) + 1))
    return cores


def _percent(battery: dict[str, str]) -> int | None:
    level, scale = _number(battery.get("level")), _number(battery.get("scale")) or 100
    return None if level is None else round(100 * level / scale)


def _wakefulness(text: str) -> bool | None:
    match = re.search(r"mWakefulness=(\w+)", text)
    return None if match is None else match[1] == "Awake"


def _free_bytes(text: str) -> int | None:
    """The column "Available" of df's last line, in KiB."""
    lines = [line.split() for line in text.splitlines() if line.strip()]
    if len(lines) < 2 or "Available" not in lines[0]:
        return None
    column = lines[0].index("Available")
    number = _number(lines[-1][column]) if column < len(lines[-1]) else None
    return None if number is None else number * 1024


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and re.fullmatch(r"-?\d{1,18}", text) else None


def _found(pattern: str, text: str) -> int | None:
    match = re.search(pattern, text)
    return None if match is None else _number(match[1])

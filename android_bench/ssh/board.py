"""The state of a Linux board: what one look over ssh prints, read into values."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from android_bench.cores import Core

# One line a fact, "key value"; what the board does not have is left out. Raspberry Pi's firmware answers vcgencmd.
LOOK = r"""
fact() { [ -n "$2" ] && printf '%s %s\n' "$1" "$2"; }
file() { [ -r "$2" ] && fact "$1" "$(tr -d '\000' <"$2" 2>/dev/null | head -n 1)"; }
fact machine "$(uname -m)"
fact kernel "$(uname -sr)"
file model /proc/device-tree/model
file product /sys/class/dmi/id/product_name
cpu_lines='s/^\(model name\|vendor_id\|CPU part\)[[:space:]]*:[[:space:]]*/\1=/p'
fact cpuinfo "$(sed -n "$cpu_lines" /proc/cpuinfo | sort -u | tr '\n' ';')"
for cpu in /sys/devices/system/cpu/cpu[0-9]*; do
  core=${cpu##*cpu}
  [ -r "$cpu/online" ] && [ "$(cat "$cpu/online")" = 0 ] && continue
  fact core "$core"
  file "governor $core" "$cpu/cpufreq/scaling_governor"
  file "max_khz $core" "$cpu/cpufreq/cpuinfo_max_freq"
  file "limit_khz $core" "$cpu/cpufreq/scaling_max_freq"
  file "capacity $core" "$cpu/cpu_capacity"
done
file load_average /proc/loadavg
sed -n 's/^MemAvailable:[[:space:]]*\([0-9]*\) kB/memory_free_kib \1/p' /proc/meminfo
df -P -k . | tail -n 1 | { read -r _ _ _ free _; fact disk_free_kib "$free"; }
for zone in /sys/class/thermal/thermal_zone*; do
  number=${zone##*zone}
  file "zone $number" "$zone/type"
  file "temperature $number" "$zone/temp"
  for trip in "$zone"/trip_point_*_type; do
    [ -r "$trip" ] && [ "$(cat "$trip")" = passive ] && file "passive $number" "${trip%_type}_temp"
  done
done
for device in /sys/class/thermal/cooling_device*; do
  case "$(cat "$device/type" 2>/dev/null)" in
    *cpufreq* | *devfreq*) file "cooling ${device##*device}" "$device/cur_state" ;;
  esac
done
if command -v vcgencmd >/dev/null 2>&1; then
  fact firmware_temperature "$(vcgencmd measure_temp 2>/dev/null)"
  fact firmware_throttled "$(vcgencmd get_throttled 2>/dev/null)"
fi
sed -n 's/^cpu\([0-9]\)/ticks_before \1/p' /proc/stat
sleep 0.3 2>/dev/null || sleep 1
sed -n 's/^cpu\([0-9]\)/ticks_after \1/p' /proc/stat
"""


@dataclass(frozen=True, slots=True)
class Board:
    """A board as it was at one look. Temperatures are in degrees Celsius; `firmware_bits` is get_throttled's number."""

    machine: str = ""
    kernel: str = ""
    model: str = ""
    cpuinfo: str = ""
    cores: tuple[Core, ...] = ()
    load_average: str = ""
    memory_free_bytes: int | None = None
    disk_free_bytes: int | None = None
    temperatures_c: Mapping[str, float] | None = None
    too_hot: tuple[str, ...] = ()
    is_cooling: bool = False
    firmware_bits: int | None = None
    busy: Mapping[int, float] | None = None


def read_board(text: str) -> Board:
    """Reads what LOOK prints; lines it cannot read are passed over, since boards differ in what they tell."""
    facts: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.strip().partition(" ")
        if key in _WITH_NUMBER:
            number, _, value = value.partition(" ")
            key = f"{key} {number}"
        facts.setdefault(key, value.strip())
    numbered = _numbered(facts)
    temperatures, too_hot = _temperatures(facts, numbered)
    return Board(
        machine=facts.get("machine", ""),
        kernel=facts.get("kernel", ""),
        model=facts.get("model") or facts.get("product", ""),
        cpuinfo=facts.get("cpuinfo", ""),
        cores=tuple(_core(number, numbered) for number in sorted(numbered["core"])),
        load_average=" ".join(facts.get("load_average", "").split()[:3]),
        memory_free_bytes=_kib(facts.get("memory_free_kib")),
        disk_free_bytes=_kib(facts.get("disk_free_kib")),
        temperatures_c=temperatures,
        too_hot=too_hot,
        is_cooling=any(_integer(state) for state in numbered["cooling"].values()),
        firmware_bits=_firmware_bits(facts.get("firmware_throttled", "")),
        busy=_busy(numbered),
    )


# Facts that have one value a core, zone or device, whose number comes first.
_OF_CORES = ("core", "governor", "max_khz", "limit_khz", "capacity", "ticks_before", "ticks_after")
_WITH_NUMBER = frozenset((*_OF_CORES, "zone", "temperature", "passive", "cooling"))


def _numbered(facts: Mapping[str, str]) -> dict[str, dict[int, str]]:
    found: dict[str, dict[int, str]] = defaultdict(dict)
    for key, value in facts.items():
        name, _, number = key.partition(" ")
        if number.isdecimal():
            found[name][int(number)] = value
    return found


def _core(number: int, numbered: Mapping[str, Mapping[int, str]]) -> Core:
    maximum = _integer(numbered["max_khz"].get(number))
    limit = _integer(numbered["limit_khz"].get(number))
    capacity = _integer(numbered["capacity"].get(number))
    return Core(number, capacity or maximum, numbered["governor"].get(number, ""), 0 < limit < maximum)


def _temperatures(
    facts: Mapping[str, str], numbered: Mapping[str, Mapping[int, str]]
) -> tuple[dict[str, float], tuple[str, ...]]:
    """Degrees Celsius by zone, and in words the zones that are at the point where the kernel begins to throttle."""
    found: dict[str, float] = {}
    too_hot = []
    for number, text in numbered["temperature"].items():
        celsius = _integer(text) / 1000  # the kernel's are thousandths
        zone = numbered["zone"].get(number) or f"zone {number}"
        found[zone] = celsius
        limit = _integer(numbered["passive"].get(number)) / 1000
        if 0 < limit <= celsius:
            too_hot.append(f"{zone} is at {celsius:.1f} C, its passive trip point is {limit:.1f} C")
    firmware = facts.get("firmware_temperature", "").removeprefix("temp=").rstrip("'C")
    if firmware.replace(".", "", 1).isdecimal():
        found["firmware"] = float(firmware)
    return found, tuple(too_hot)


def _firmware_bits(text: str) -> int | None:
    try:
        return int(text.removeprefix("throttled="), 16)
    except ValueError:
        return None


def _busy(numbered: Mapping[str, Mapping[int, str]]) -> dict[int, float]:
    """The share of the look's interval (0..1) in which each core was not idle; /proc/stat counts ticks."""
    shares = {}
    for core, text in numbered["ticks_after"].items():
        before = [_integer(part) for part in numbered["ticks_before"].get(core, "").split()]
        after = [_integer(part) for part in text.split()]
        spent = [late - early for late, early in zip(after, before, strict=False)][:8]  # guests are in user already
        if len(spent) >= 5 and sum(spent) > 0:
            idle = spent[3] + spent[4]  # and waiting for input or output
            shares[core] = min(1.0, max(0.0, 1 - idle / sum(spent)))
    return shares


def _integer(text: str | None) -> int:
    try:
        return int(text or "")
    except ValueError:
        return 0


def _kib(text: str | None) -> int | None:
    return int(text) * 1024 if text and text.isdecimal() else None

"""Two phones as files: what getprop, dumpsys, df and /sys say on them, in the words of their Android version."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Cluster:
    """Cores of one kind. `capacity` is the kernel's cpu_capacity (1024: the fastest core), None where it is absent."""

    count: int
    max_khz: int
    capacity: int | None


@dataclass(frozen=True)
class Phone:
    name: str
    model: str
    properties: dict[str, str]
    clusters: tuple[Cluster, ...]
    has_thermal_service: bool = True


PIXEL_3 = Phone(
    "blueline",
    "Pixel 3",
    {
        "ro.product.manufacturer": "Google",
        "ro.build.version.release": "12",
        "ro.build.version.sdk": "31",
        "ro.product.cpu.abi": "arm64-v8a",
        "ro.board.platform": "sdm845",
        "ro.hardware": "blueline",
    },
    (Cluster(4, 1766400, 381), Cluster(4, 2803200, 1024)),
)
PIXEL_6 = Phone(
    "oriole",
    "Pixel 6",
    {
        "ro.product.manufacturer": "Google",
        "ro.build.version.release": "14",
        "ro.build.version.sdk": "34",
        "ro.product.cpu.abi": "arm64-v8a",
        "ro.board.platform": "gs101",
        "ro.hardware": "oriole",
        "ro.soc.manufacturer": "Google",
        "ro.soc.model": "GS101",
    },
    (Cluster(4, 1803000, 250), Cluster(2, 2253000, 620), Cluster(2, 2802000, 1024)),
)

_POWER = """POWER MANAGER (dumpsys power)

Power Manager State:
  mIsPowered=true
  mWakefulness={wakefulness}
  mHoldingDisplaySuspendBlocker={is_on}
"""
_THERMAL = """IsStatusOverride: false
ThermalEventListeners:
	callbacks: 2
	killed: false
	broadcasts count: -1
Thermal Status: {status}
Cached temperatures:
	Temperature{{mValue=31.4, mType=3, mName=skin, mStatus={status}}}
HAL Ready: true
HAL connection:
	ThermalHAL 2.0 connected: yes
"""
_DF = """Filesystem     1K-blocks     Used Available Use% Mounted on
/dev/block/dm-5 {size} {used} {free}  {percent}% /data
"""


def write_phone(phone: Phone, root: Path) -> None:
    """Writes the file system of an idle, cool, half-full phone at 87 %, on USB power, with its screen off."""
    (root / "data/local/tmp").mkdir(parents=True)
    (root / "state/dumpsys").mkdir(parents=True)
    (root / "tool").mkdir()
    lines = {"ro.product.name": phone.name, "ro.product.model": phone.model, **phone.properties}
    text = "".join(f"[{key}]: [{value}]\n" for key, value in sorted(lines.items()))
    (root / "state/getprop").write_text(text)
    set_battery(root, level=87, status=2)
    set_screen(root, is_on=False)
    if phone.has_thermal_service:
        set_thermal(root, 0)
    set_free_space(root, 52_428_800)
    (root / "state/low_power").write_text("0\n")
    (root / "proc").mkdir()
    (root / "proc/loadavg").write_text("1.52 1.60 1.71 2/3510 21034\n")
    _write_cores(phone, root)


def set_battery(root: Path, level: int, status: int) -> None:
    """`status` in Android's numbers: 2 charging, 3 discharging, 4 not charging, 5 full."""
    lines = f"  AC powered: false\n  USB powered: true\n  status: {status}\n  health: 2\n  present: true\n"
    lines += f"  level: {level}\n  scale: 100\n  voltage: 4210\n  temperature: 281\n  technology: Li-ion\n"
    (root / "state/dumpsys/battery").write_text("Current Battery Service state:\n" + lines)


def set_screen(root: Path, is_on: bool) -> None:
    text = _POWER.format(wakefulness="Awake" if is_on else "Asleep", is_on=str(is_on).lower())
    (root / "state/dumpsys/power").write_text(text)


def set_thermal(root: Path, status: int) -> None:
    (root / "state/dumpsys/thermalservice").write_text(_THERMAL.format(status=status))


def set_free_space(root: Path, free_kb: int) -> None:
    size = max(104_857_600, free_kb)
    used = size - free_kb
    text = _DF.format(size=size, used=used, free=free_kb, percent=round(100 * used / size))
    (root / "state/df").write_text(text)


def _write_cores(phone: Phone, root: Path) -> None:
    top, number = root / "sys/devices/system/cpu", 0
    for cluster in phone.clusters:
        for _ in range(cluster.count):
            folder = top / f"cpu{number}"
            (folder / "cpufreq").mkdir(parents=True)
            (folder / "cpufreq/cpuinfo_max_freq").write_text(f"{cluster.max_khz}\n")
            (folder / "cpufreq/scaling_governor").write_text("schedutil\n")
            if cluster.capacity is not None:
                (folder / "cpu_capacity").write_text(f"{cluster.capacity}\n")
            number += 1
    (top / "online").write_text(f"0-{number - 1}\n")

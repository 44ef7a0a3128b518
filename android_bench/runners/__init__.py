"""Plugin tables: what can be measured on (TARGETS, by name) and which runner does it (RUNNERS, by target kind)."""

from __future__ import annotations

from core.values import Target

RUNNERS: dict[str, str] = {
    "host": "android_bench.runners.host:HostRunner",
}

TARGETS: dict[str, Target] = {
    "host": Target("host", kind="host", delegate="xnnpack"),
    "host_cpu": Target("host_cpu", kind="host", delegate="cpu"),
}

"""BenchConfig and resolve_target: what is refused, and what a target becomes."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from android_bench.runners import RUNNERS
from android_bench.settings import TARGETS, BenchConfig
from android_bench.targets import resolve_target
from core.errors import UsageError
from core.spec_io import from_plain, to_plain

ROOT = Path(__file__).resolve().parents[2]
USABLE = tuple(sorted(os.sched_getaffinity(0)))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"targets": ("pixel9",)},
            "config.bench.targets: 'pixel9' is not legal; expected one of host, host_compiled",
        ),
        ({"targets": ()}, "config.bench.targets: () is not legal; expected at least one name"),
        ({"targets": ("host", "host")}, "config.bench.targets: ('host', 'host') is not legal"),
        ({"num_threads": 0}, "config.bench.num_threads: 0 is not legal; expected a number from 1 to 256"),
        ({"cpu_mask": (-1,)}, "config.bench.cpu_mask: -1 is not legal"),
        ({"cpu_mask": (0, 0)}, "config.bench.cpu_mask: (0, 0) is not legal; expected core numbers, none twice"),
        ({"cpu_mask": (0,), "num_threads": 2}, "config.bench.cpu_mask: (0,) is not legal; expected (), or at least 2"),
        ({"processes": 0}, "config.bench.processes: 0 is not legal"),
        ({"warmup_runs": -1}, "config.bench.warmup_runs: -1 is not legal"),
        ({"runs": 0}, "config.bench.runs: 0 is not legal; expected a number from 1 to 100000"),
        ({"min_seconds": 61.0}, "config.bench.min_seconds: 61.0 is not legal; expected a number from 0 to 60"),
        ({"min_seconds": float("nan")}, "config.bench.min_seconds: nan is not legal"),
    ],
)
def test_bad_value_names_key_value_and_legal_values(values, message):
    with pytest.raises(UsageError) as caught:
        BenchConfig(**values)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_config_survives_json():
    config = BenchConfig(targets=("host_cpu",), cpu_mask=(0, 1), num_threads=2)
    assert from_plain(BenchConfig, to_plain(config)) == config


def test_target_is_pinned_to_the_first_usable_cores():
    target = resolve_target("host", BenchConfig())
    assert (target.cpu_mask, target.num_threads, target.abi) == (USABLE[:1], 1, platform.machine())
    assert resolve_target("host", BenchConfig(num_threads=len(USABLE))).cpu_mask == USABLE


def test_chosen_cores_are_kept():
    assert resolve_target("host_cpu", BenchConfig(cpu_mask=USABLE[-1:])).cpu_mask == USABLE[-1:]


def test_cores_that_this_process_may_not_use_are_refused():
    absent = max(USABLE) + 1
    with pytest.raises(UsageError, match=rf"config\.bench\.cpu_mask: \({absent},\) is not legal"):
        resolve_target("host", BenchConfig(cpu_mask=(absent,)))
    with pytest.raises(UsageError, match=rf"config\.bench\.num_threads: .* at most {len(USABLE)}"):
        resolve_target("host", BenchConfig(num_threads=len(USABLE) + 1))


def test_unknown_target_names_its_config_key():
    with pytest.raises(UsageError, match=r"config\.search\.target: 'tpu' is not legal"):
        resolve_target("tpu", BenchConfig(), "config.search.target")


def test_tables_agree():
    assert {target.kind for target in TARGETS.values()} <= set(RUNNERS)
    assert all(name == target.name for name, target in TARGETS.items())


def test_measuring_needs_no_tensorflow():
    code = (
        "import sys; import android_bench.protocol, android_bench.runners.host, android_bench.host_worker; "
        "print([name for name in ('tensorflow', 'tf_keras', 'keras') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

"""The command line that a release tells gives its configuration again."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.reproduction import command_line

ROOT = Path(__file__).parents[2]
# Parses the command line after it as the program does, then prints what is made again by it, and the configuration.
PROGRAM = """
import sys
from core.spec_io import canonical_json
from pipeline import flag_table, main
arguments = main.parse_flags(sys.argv)
print(main._reproduction(arguments[1], flag_table.given(main.FLAGS)))
print(canonical_json(main._config()))
"""


def _parsed(*arguments: str) -> tuple[list[str], str]:
    """The words of the command line that makes it again, and the configuration as text."""
    command = [sys.executable, "-c", PROGRAM, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    line, config = done.stdout.splitlines()
    return shlex.split(line), config


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "--config=configs/demo.py", "--workdir=out/a b"),
        (
            *("report", "--config", "configs/demo.py", "--workdir=out/demo", "--config.search.learning_rate=0.0001"),
            *("--config.compress.recipes=ptq, prune:0.7+qat", "--config.data.resolution=none", "--new_config"),
            *("--config.search.max_macs=1e6", "--config.bench.cpu_mask=(0,1)", "--config.bench.profile"),
            *("--config.data.name=directory:my images/it's", "--config.search.objectives=()"),
            *("--serial=pixel3=123", "--config.release.metadata=false"),
        ),
        ("compress", "--model=my model.keras", "--data=npz:x.npz", "--allow_custom", "--input_range=-1..1"),
    ],
)
def test_a_command_line_gives_its_configuration_again(arguments: tuple[str, ...]) -> None:
    words, config = _parsed(*arguments)
    assert words[:4] == ["python", "-m", "pipeline.main", "run"]
    assert not any("serial" in word or "new_config" in word for word in words)
    again, same = _parsed(*words[3:])
    assert same == config
    assert again == words


def test_where_a_release_goes_is_left_out() -> None:
    overrides = {
        "release.store": "s3://x",
        "release.sign_key": "key",
        "release.name": "a",
        "release.max_size_growth": 1.0,
    }
    line = command_line("run", "c.py", overrides, {}, "w")
    assert line == "python -m pipeline.main run --config=c.py --workdir=w --config.release.name=a"


def test_an_extracted_network_is_extracted_again() -> None:
    flags = {"max_macs": 1e6, "target": "pixel3", "ssh": ["board"], "out": "small"}
    line = command_line("extract", "c.py", {}, flags, "w", "small")
    expected = "extract --config=c.py --workdir=w --out=small --max_macs=1000000.0 --target=pixel3"
    assert line == f"python -m pipeline.main {expected}"

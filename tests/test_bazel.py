"""BUILD names every source file and says the same about imports as the modules themselves do.

Debian's Bazel reads the real BUILD in a copy of the tree. A local stub stands for @rules_python: no network is needed.
"""

from __future__ import annotations

import shutil
import subprocess
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.tree import FOLDERS, ROOMS, ROOT, files, imports, modules, sources

BINARY = "pipeline/main.py"  # the binary's own source; the rest of its folder is the library "pipeline"
RUNNER = "tests/run_pytest.py"  # the main file of every test target, so the one file in several targets
DEFS = "".join(f"{rule} = native.{rule}\n" for rule in ("py_library", "py_binary", "py_test"))


@dataclass(frozen=True, slots=True)
class Rule:
    """A target of BUILD with its attributes as sets of paths or target names."""

    kind: str
    srcs: frozenset[str]
    data: frozenset[str]
    deps: frozenset[str]


def target_of(path: str) -> str:
    """The target that a file belongs to: one for each top-level package, one for each folder of tests."""
    folder, *rest = path.split("/")
    if path == BINARY:
        return "litesmith"
    if folder != "tests":
        return folder
    if len(rest) > 1 and rest[0] != "testdata":
        return f"{rest[0]}_test"
    return "house_test" if rest[0].startswith("test_") else "testing"


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Rule]:
    """What `bazel query //...` finds in a copy of the tree, by target name."""
    if shutil.which("bazel") is None:
        pytest.skip("needs the Debian package bazel-bootstrap")
    copy, stub = (tmp_path_factory.mktemp(name) for name in ("tree", "rules_python"))
    for path in ("BUILD", "MODULE.bazel", "pyproject.toml", *(path for folder in FOLDERS for path in files(folder))):
        (copy / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, copy / path)
    (stub / "python").mkdir()
    for empty in (copy / "WORKSPACE", stub / "WORKSPACE", stub / "python/BUILD"):
        empty.touch()
    (stub / "python/defs.bzl").write_text(DEFS)
    return parse_query(query(copy, stub, tmp_path_factory.mktemp("bazel")))


def query(workspace: Path, stub: Path, output_user_root: Path) -> str:
    """Bazel's description of all targets as XML. --batch leaves no server behind."""
    command = ["bazel", "--batch", f"--output_user_root={output_user_root}", "query", "--output=xml"]
    command += [f"--override_repository=rules_python={stub}", "//..."]
    done = subprocess.run(command, cwd=workspace, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def parse_query(xml: str) -> dict[str, Rule]:
    """Bazel's XML as rules by name. Its header says XML 1.1, which the parser does not know and nothing here uses."""
    root = ET.fromstring(xml.partition("?>")[2])
    return {rule.attrib["name"].removeprefix("//:"): as_rule(rule) for rule in root.iter("rule")}


def as_rule(element: ET.Element) -> Rule:
    """One <rule> element; labels lose their //: prefix."""

    def labels(attribute: str) -> frozenset[str]:
        found = element.iterfind(f"list[@name='{attribute}']/label")
        return frozenset(label.attrib["value"].removeprefix("//:") for label in found)

    return Rule(element.attrib["class"], labels("srcs"), labels("data"), labels("deps"))


def differences(attribute: str, wanted: set[tuple[str, str]], found: set[tuple[str, str]]) -> list[str]:
    """How to edit BUILD so that the (target, entry) pairs found become those wanted."""
    prefix = ":" if attribute == "deps" else ""
    missing = [f'to {attribute} of "{target}" add: "{prefix}{entry}",' for target, entry in sorted(wanted - found)]
    extra = [f'from {attribute} of "{target}" remove: "{prefix}{entry}",' for target, entry in sorted(found - wanted)]
    return missing + extra


def pairs(rules: dict[str, Rule], attribute: str) -> set[tuple[str, str]]:
    """Every (target, entry) of an attribute."""
    return {(name, entry) for name, rule in rules.items() for entry in getattr(rule, attribute)}


def test_every_source_file_is_named(rules: dict[str, Rule]) -> None:
    tests = {name for name, rule in rules.items() if rule.kind == "py_test"}
    wanted = {(target_of(path), path) for path in sources() if path != RUNNER} | {(name, RUNNER) for name in tests}
    edits = differences("srcs", wanted, pairs(rules, "srcs"))
    assert not edits, "edit BUILD:\n" + "\n".join(edits)


def test_every_data_file_of_a_package_is_named(rules: dict[str, Rule]) -> None:
    wanted = {(room, path) for room in ROOMS for path in files(room) if not path.endswith(".py")}
    edits = differences("data", wanted, {(name, path) for name, path in pairs(rules, "data") if name in ROOMS})
    assert not edits, "edit BUILD:\n" + "\n".join(edits)


def test_each_source_file_is_in_one_target(rules: dict[str, Rule]) -> None:
    count = Counter(path for _, path in pairs(rules, "srcs") if path != RUNNER)
    assert count, "no target has sources"
    assert not [path for path, times in count.items() if times > 1]


def test_kinds(rules: dict[str, Rule]) -> None:
    wrong = [name for name, rule in rules.items() if name.endswith("_test") != (rule.kind == "py_test")]
    assert not wrong
    assert [name for name, rule in rules.items() if rule.kind == "py_binary"] == ["litesmith"]


def test_deps_of_packages_are_the_import_rule(rules: dict[str, Rule]) -> None:
    wanted = {(room, left) for index, room in enumerate(ROOMS) for left in ROOMS[:index]}
    edits = differences("deps", wanted, {(name, dep) for name, dep in pairs(rules, "deps") if name in ROOMS})
    assert not edits, "edit BUILD:\n" + "\n".join(edits)


def test_deps_of_the_others_cover_their_imports(rules: dict[str, Rule]) -> None:
    edits = []
    for name in sorted(rules.keys() - set(ROOMS)):
        imported = {item.name for path in rules[name].srcs for item in imports(path)} & set(modules())
        used = {target_of(modules()[module]) for module in imported} - {name}
        edits += differences("deps", {(name, dep) for dep in used - rules[name].deps}, set())
    assert not edits, "edit BUILD:\n" + "\n".join(edits)


def test_tests_of_a_package_depend_on_nothing_to_its_right(rules: dict[str, Rule]) -> None:
    wrong = [
        f"{room}_test on {right}"
        for index, room in enumerate(ROOMS)
        if f"{room}_test" in rules
        for right in {*ROOMS[index + 1 :], "litesmith"} & rules[f"{room}_test"].deps
        if (room, right) != ("pipeline", "litesmith")
    ]
    assert not wrong

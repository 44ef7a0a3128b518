"""The rules of the house: which module may import what, what stays free of TensorFlow, what is pinned."""

from __future__ import annotations

import ast
import graphlib
import json
import os
import re
import subprocess
import sys

import pytest

from tests.tree import FOLDERS, ROOMS, ROOT, Import, files, imports, module_name, modules, parse, plugins, sources

# What stays free of TensorFlow, so that listing, checking and planning are instant: patterns relative to the root.
# What makes the networks of a latency table is imported when they are made.
BUILDERS = ("search/latency/build_block.py", "android_bench/latency_table/models.py")
NO_TENSORFLOW = (
    "**/__init__.py",
    "**/settings.py",
    "configs/*.py",
    "core/*.py",
    "search/arch.py",
    "search/choice.py",
    "search/cost.py",
    "search/dataset.py",
    "search/grammar.py",
    "search/latency/*.py",
    "search/objective.py",
    "search/space.py",
    "search/named.py",
    "search/networks/*.py",
    "search/sampling.py",
    "search/scaling.py",
    "search/spaces/*.py",
    "search/supernet/layout.py",
    "search/supernet/methods.py",
    "search/supernet/phases.py",
    "search/supernet/places.py",
    "search/supernet/specialize.py",
    "search/trials.py",
    "compress/patterns.py",
    "compress/recipe.py",
    "deploy/app/*.py",
    "deploy/changes.py",
    "deploy/manifest.py",
    "deploy/schemes.py",
    "deploy/store/*.py",
    "pipeline/commands/diff.py",
    "pipeline/commands/list.py",
    "pipeline/commands/pull.py",
    "pipeline/commands/release.py",
    "pipeline/commands/show.py",
    "pipeline/commands/verify.py",
    "android_bench/**/*.py",  # a measuring process holds the interpreter alone
    "pipeline/config.py",
    "pipeline/data.py",
    "pipeline/datasets/*.py",
    "pipeline/describe.py",
    "pipeline/extract.py",
    "pipeline/found.py",
    "pipeline/images.py",
    "pipeline/main.py",
    "pipeline/plan*.py",
    "pipeline/previous.py",
    "pipeline/publish.py",
    "pipeline/release_*.py",
    "pipeline/report*.py",
    "pipeline/reproduction.py",
    "pipeline/run_process.py",
    "pipeline/runner.py",
    "pipeline/status.py",
    "pipeline/supernet_record.py",
)
KERAS_ENV = "core/keras_env.py"  # the exception in core: it imports TensorFlow for everybody
# Libraries that bring TensorFlow with them, and the files that may import them.
HEAVY = {
    "tensorflow": (KERAS_ENV, "deploy/mixed_precision.py"),  # the latter a function that has no public name
    "tf_keras": (KERAS_ENV,),
    "keras": ("tests/compress/keras3_models.py",),  # a process of its own
    "keras_tuner": ("search/oracles/",),
    "tensorflow_model_optimization": ("compress/",),
    "tensorflow_lite_support": ("deploy/metadata_worker.py",),
    "tflite_support": (),  # loads audio and needs PortAudio: its submodules are tensorflow_lite_support's
}
FREE_HANDED = ("tests/", "benchmarks/")  # may import keras_tuner and tfmot to compare with them


def room_of(name: str) -> str:
    """The top-level package of a dotted name."""
    return name.partition(".")[0]


def project_imports(path: str) -> list[Import]:
    """The imports of a file that name one of the project's own folders."""
    return [item for item in imports(path) if room_of(item.name) in FOLDERS]


def allowed(path: str, imported: str) -> bool:
    """Whether the file `path` may import from the folder of the dotted name `imported`."""
    importer, room = path.split("/")[0], room_of(imported)
    if importer not in ROOMS:
        return importer == "tests" or room in (importer, *ROOMS)
    return room in ROOMS[: ROOMS.index(importer) + 1]


def test_imports_only_point_left() -> None:
    wrong = [str(item) for path in sources() for item in project_imports(path) if not allowed(path, item.name)]
    wrong += [
        f"{path}:{line} names {entry}"
        for path in sources(*ROOMS)
        for line, entry in plugins(path)
        if not allowed(path, entry.partition(":")[0])
    ]
    assert not wrong, "imports only point left (" + " -> ".join(ROOMS) + "):\n" + "\n".join(wrong)


def test_imports_name_what_exists() -> None:
    wrong = [str(item) for path in sources() for item in project_imports(path) if item.name not in modules()]
    assert not wrong, "no such module:\n" + "\n".join(wrong)


def find_cycle(graph: dict[str, set[str]]) -> list[str]:
    """The nodes of a cycle, first and last the same; empty if there is none."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def test_no_import_cycles() -> None:
    graph = {module_name(path): {item.name for item in project_imports(path)} for path in sources()}
    assert find_cycle(graph | {"a": {"b"}, "b": {"a"}}), "the search itself works"
    assert not (cycle := find_cycle(graph)), "import cycle: " + " <- ".join(cycle)


def test_heavy_libraries_enter_in_one_place() -> None:
    """TensorFlow and Keras come from core.keras_env alone; what else brings them stays in its room."""

    def may(item: Import, library: str) -> bool:
        free = library in ("keras_tuner", "tensorflow_model_optimization") and item.path.startswith(FREE_HANDED)
        return free or item.path.startswith(HEAVY[library])

    items = [item for path in sources() for item in imports(path) if room_of(item.name) in HEAVY]
    assert any(item.path == KERAS_ENV for item in items), "the walk misses TensorFlow's own entry"
    wrong = [str(item) for item in items if not may(item, room_of(item.name))]
    assert not wrong, "HEAVY in tests/test_layout.py does not allow:\n" + "\n".join(wrong)


def test_keras_env_comes_before_tfmot() -> None:
    """core.keras_env sets TF_USE_LEGACY_KERAS, which tensorflow_model_optimization obeys when it is imported."""
    wrong = []
    for path in sources():
        env_lines = [item.line for item in imports(path) if item.name == "core.keras_env"]
        tfmot = [item for item in imports(path) if room_of(item.name) == "tensorflow_model_optimization"]
        wrong += [str(item) for item in tfmot if not any(line < item.line for line in env_lines)]
    assert not wrong, "import core.keras_env before:\n" + "\n".join(wrong)


def test_planning_imports_no_tensorflow() -> None:
    paths = {path.relative_to(ROOT).as_posix() for pattern in NO_TENSORFLOW for path in ROOT.glob(pattern)}
    names = [module_name(path) for path in sources(*ROOMS, "configs") if path in paths - {KERAS_ENV, *BUILDERS}]
    assert {"core.errors", "search.arch"} <= set(names), names
    code = (
        "import importlib, json, sys\n"
        "heavy = {'tensorflow', 'tf_keras', 'keras', 'keras_tuner', 'tensorflow_model_optimization'}\n"
        "for name in json.loads(sys.argv[1]):\n"
        "    importlib.import_module(name)\n"
        "    if found := heavy & set(sys.modules):\n"
        "        sys.exit(f'importing {name} imports {sorted(found)}; python -X importtime shows by whom')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(names)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def is_plugin_table(node: ast.stmt) -> bool:
    """NAME: Mapping[str, str] = {"name": "module:attribute", ...}."""
    if not isinstance(node, ast.Assign | ast.AnnAssign) or not isinstance(node.value, ast.Dict):
        return False
    cells = [*node.value.keys, *node.value.values]
    return all(isinstance(cell, ast.Constant) and isinstance(cell.value, str) for cell in cells)


def test_init_files_are_empty_but_for_plugin_tables() -> None:
    def is_light(node: ast.stmt) -> bool:
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        annotation = isinstance(node, ast.ImportFrom) and node.module in ("__future__", "collections.abc", "typing")
        return docstring or annotation or is_plugin_table(node)

    wrong = [
        f"{path}:{node.lineno}: {ast.unparse(node)[:80]}"
        for path in sources()
        if path.endswith("__init__.py")
        for node in parse(path).body
        if not is_light(node)
    ]
    assert not wrong, "only a plugin table may stand in an __init__.py:\n" + "\n".join(wrong)


def defines(path: str, name: str) -> bool:
    """Whether a module defines `name` at its top level."""
    for node in parse(path).body:
        if getattr(node, "name", None) == name:
            return True
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            return True
    return False


def test_plugin_tables_name_what_exists() -> None:
    wrong = []
    for path in sources(*ROOMS):
        for line, entry in plugins(path):
            module, _, attribute = entry.partition(":")
            if module not in modules() or not defines(modules()[module], attribute):
                wrong.append(f"{path}:{line}: {entry}")
    assert not wrong, "no such plugin:\n" + "\n".join(wrong)


def test_every_package_has_an_init_file() -> None:
    folders = {path.rpartition("/")[0] for path in sources(*ROOMS)}
    missing = [f"{folder}/__init__.py" for folder in sorted(folders) if not (ROOT / folder / "__init__.py").exists()]
    assert not missing, "missing: " + ", ".join(missing)


def test_python_stays_in_the_known_folders() -> None:
    elsewhere = [path.relative_to(ROOT).as_posix() for path in (*ROOT.glob("*.py"), *ROOT.glob("[!.]*/*.py"))]
    elsewhere = [path for path in elsewhere if path.split("/")[0] not in (*FOLDERS, "out")]
    assert not elsewhere, f"add the folder to FOLDERS in tests/tree.py and to BUILD: {elsewhere}"


def pins(path: str) -> set[tuple[str, str]]:
    """The (name, version) pairs pinned in a requirements or lock file, names in their normal form."""
    lines = re.findall(r"^([\w.-]+)==([\w.]+)", (ROOT / path).read_text(), re.MULTILINE)
    return {(re.sub(r"[-_.]+", "-", name).lower(), version) for name, version in lines}


@pytest.mark.parametrize("stem", ["requirements", "requirements-tflite-support"])
def test_lock_holds_every_pinned_requirement(stem: str) -> None:
    wanted = [line for line in (ROOT / f"{stem}.txt").read_text().splitlines() if line and not line.startswith("#")]
    assert len(pins(f"{stem}.txt")) == len(wanted) > 0, f"every line of {stem}.txt pins one package with =="
    assert pins(f"{stem}.txt") <= pins(f"{stem}.lock"), "run `make lock`"


def test_sources_are_found() -> None:
    """The walk itself works: a rule checked on no file would always hold."""
    assert {"core/errors.py", "tests/test_layout.py"} <= set(sources())
    assert "core/errors.py" in files("core")
    assert ("core.errors", False) in {(item.name, item.lazy) for item in imports("core/registry.py")}

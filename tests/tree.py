"""The project's files and the imports between its modules, read without running anything."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("core", "search", "compress", "deploy", "android_bench", "pipeline")  # imports only point left
FOLDERS = (*ROOMS, "configs", "benchmarks", "tests")  # every folder with Python sources
PLUGIN = re.compile(rf"({'|'.join(ROOMS)})(\.\w+)*:\w+")  # an entry of a plugin table, "module:attribute"


@dataclass(frozen=True, slots=True)
class Import:
    """One import: of `name` (dotted), by the file `path` at `line`, inside a function (`lazy`) or at module level."""

    path: str
    line: int
    name: str
    lazy: bool

    def __str__(self) -> str:
        return f"{self.path}:{self.line} imports {self.name}"


def files(folder: str, pattern: str = "*") -> list[str]:
    """The files below `folder` that match, relative to the root with "/", sorted; no bytecode."""
    found = (path for path in (ROOT / folder).rglob(pattern) if path.is_file() and path.suffix != ".pyc")
    return sorted(path.relative_to(ROOT).as_posix() for path in found)


def sources(*folders: str) -> list[str]:
    """The Python files of `folders` (of all without any)."""
    return [path for folder in folders or FOLDERS for path in files(folder, "*.py")]


def module_name(path: str) -> str:
    """The dotted name by which a file is imported: "search/oracles/__init__.py" is "search.oracles"."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


@cache
def parse(path: str) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse((ROOT / path).read_text(encoding="utf-8"), filename=path)


@cache
def modules() -> dict[str, str]:
    """File by module name."""
    return {module_name(path): path for path in sources()}


@cache
def imports(path: str) -> tuple[Import, ...]:
    """Every import statement and every `importlib.import_module("...")` of a file, in order."""
    tree = parse(path)
    inner = {node for function in _functions(tree) for node in ast.walk(function)}
    found = {
        Import(path, node.lineno, name, node in inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.stmt | ast.expr)
        for name in _names(node, module_name(path), path.endswith("__init__.py"))
    }
    return tuple(sorted(found, key=lambda item: (item.line, item.name)))


def plugins(path: str) -> list[tuple[int, str]]:
    """The strings of the form "module:attribute" in a file, each with its line."""
    nodes = (node for node in ast.walk(parse(path)) if isinstance(node, ast.Constant) and isinstance(node.value, str))
    return [(node.lineno, str(node.value)) for node in nodes if PLUGIN.fullmatch(str(node.value))]


def _functions(tree: ast.Module) -> list[ast.AST]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)]


def _names(node: ast.AST, module: str, is_package: bool) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        parent = module.split(".") if is_package else module.split(".")[:-1]
        prefix = parent[: len(parent) - node.level + 1] if node.level else []
        base = ".".join([*prefix, *filter(None, [node.module])])
        # `from package import name` imports a submodule or takes a value of the package.
        return [name if (name := f"{base}.{alias.name}") in modules() else base for alias in node.names]
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module") and node.args:
        first = node.args[0]
        return [first.value] if isinstance(first, ast.Constant) and isinstance(first.value, str) else []
    return []

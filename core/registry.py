"""Plugin tables: a name maps to a "module:attribute" string that is imported only when it is used.

Listing and checking names therefore costs nothing, and a table can name modules that import TensorFlow.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from core.errors import bad_value, one_of


def check_name(table: Mapping[str, object], name: str, where: str) -> str:
    """`name`, if the table has it; else UsageError with the legal names. `where` is the config key or flag."""
    if name not in table:
        raise bad_value(where, name, one_of(table))
    return name


def load(table: Mapping[str, str], name: str, where: str) -> Any:
    """Imports and returns the plugin `name` of a table. Raises UsageError for an unknown name."""
    module, _, attribute = table[check_name(table, name, where)].partition(":")
    return getattr(importlib.import_module(module), attribute)

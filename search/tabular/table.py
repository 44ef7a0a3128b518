"""Tables of known results: every network of a small space, trained and measured beforehand. No TensorFlow here.

The format, so that anyone can bring a table: one `.npz` file (no pickled objects) with

- `names`: the hyperparameters' names, in order;
- `choices:NAME` for each of them: its legal values (text, whole numbers or floats). Numbers are taken as ordered;
- `rows[n, d]`: for each network the index of its choice at each hyperparameter; each network once, not all needed;
- any number of columns: one figure for each network `[n]`, or its learning curve, one figure for each epoch
  `[n, epochs]`. NaN stands for "not known". A column `latency_us_TARGET` is the latency measured on a target.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import CandidateError, UsageError, bad_value, one_of
from core.workspace import atomic_write_bytes
from search.oracles.choice_space import Axis, ChoiceSpace
from search.oracles.cost_model import Budget
from search.space import Genotype

LATENCY = "latency_us_"
CHOICES = "choices:"


@dataclass(frozen=True)
class Table:
    """Known results of a space.

    Attributes:
      name: for messages.
      space: its hyperparameters.
      rows: [n, d] choice indices.
      columns: [n] or [n, epochs] figures by name.
    """

    name: str
    space: ChoiceSpace
    rows: NDArray[np.int16]
    columns: Mapping[str, NDArray[np.float64]]

    def __post_init__(self) -> None:
        expected = (len(self.rows), len(self.space.axes))
        if self.rows.ndim != 2 or self.rows.shape != expected or not len(self.rows):
            raise bad_value(f"{self.name}: rows of shape", self.rows.shape, f"one row or more of {expected[1]} indices")
        outside = (self.rows < 0) | (self.rows >= np.array(self.space.lengths))
        if outside.any():
            row, axis = np.argwhere(outside)[0]
            legal = f"an index from 0 to {self.space.lengths[axis] - 1}"
            raise bad_value(f"{self.name}: row {row}, {self.space.axes[axis].name}", self.rows[row, axis], legal)
        if len(self._index) != len(self.rows):
            raise UsageError(f"{self.name}: a network has several rows; expected each network once")
        for name, column in self.columns.items():
            if column.ndim not in (1, 2) or len(column) != len(self.rows) or not column.size:
                legal = f"[{len(self.rows)}] or [{len(self.rows)}, epochs]"
                raise bad_value(f"{self.name}: column {name} of shape", column.shape, legal)

    @cached_property
    def _index(self) -> dict[bytes, int]:
        return {row.tobytes(): number for number, row in enumerate(self.rows)}

    @property
    def targets(self) -> tuple[str, ...]:
        """The targets with measured latencies."""
        return tuple(name.removeprefix(LATENCY) for name in self.columns if name.startswith(LATENCY))

    def column(self, name: str) -> NDArray[np.float64]:
        """A column. Raises UsageError for an unknown one."""
        if name not in self.columns:
            raise bad_value(f"{self.name}: column", name, one_of(self.columns))
        return self.columns[name]

    def genotype(self, number: int) -> Genotype:
        """The genotype of a row."""
        return tuple(int(index) for index in self.rows[number])

    def row(self, genotype: Genotype) -> int:
        """The number of a genotype's row. Raises CandidateError if the table does not have it."""
        number = self._index.get(np.array(genotype, dtype=np.int16).tobytes())
        if number is None:
            raise CandidateError(f"{self.name}: no row for {self.space.values(genotype)}")
        return number

    def value(self, name: str, genotype: Genotype, epochs: int | None = None) -> float:
        """A network's figure; of a learning curve the one after `epochs`, the last one without.

        Raises CandidateError if the table does not know it.
        """
        found = self.column(name)[self.row(genotype)]
        figure = float(found if found.ndim == 0 else found[min(epochs or len(found), len(found)) - 1])
        if np.isnan(figure):
            raise CandidateError(f"{self.name}: {name} of {self.space.values(genotype)} is not known")
        return figure

    def cost(self, name: str) -> Callable[[Mapping[str, Any]], float]:
        """A column as a function of the hyperparameters' values, for search.oracles.cost_model.Budget."""
        self.column(name)
        return lambda values: self.value(name, self.space.genotype(values))

    def latency_budget(self, target: str, limit_us: float) -> Budget:
        """A cost model that refuses what was slower on `target`, or not measured. Raises UsageError."""
        if target not in self.targets:
            raise bad_value(f"{self.name}: target", target, one_of(self.targets))
        return Budget(self.cost(LATENCY + target), limit_us)


def read_table(path: Path) -> Table:
    """Reads a table in the format above. Raises UsageError that names what is wrong with it."""
    arrays = read_arrays(path)
    require(path, arrays, ("names", "rows"))
    names = [str(name) for name in arrays.pop("names")]
    space = ChoiceSpace(tuple(_axis(path, name, arrays) for name in names))
    rows = arrays.pop("rows")
    if not np.issubdtype(rows.dtype, np.integer):
        raise bad_value(f"{path}: rows of type", rows.dtype, "whole numbers")
    for name, column in arrays.items():
        if not np.issubdtype(column.dtype, np.number):
            raise bad_value(f"{path}: column {name} of type", column.dtype, "numbers")
    columns = {name: column.astype(np.float64) for name, column in arrays.items()}
    return Table(path.name, space, np.ascontiguousarray(rows, dtype=np.int16), columns)


def write_table(path: Path, table: Table) -> None:
    """Writes a table of a space without conditions in the format above."""
    choices = {CHOICES + axis.name: np.array(axis.values) for axis in table.space.axes}
    names = np.array([axis.name for axis in table.space.axes])
    arrays: dict[str, Any] = {"names": names, "rows": table.rows, **choices, **table.columns}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    atomic_write_bytes(path, buffer.getvalue())


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """All arrays of an .npz file. Raises UsageError if it is none."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file; expected a table of known results (.npz)") from None
    except (ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise UsageError(f"{path}: not an .npz file without pickled objects ({error})") from None


def require(path: Path, arrays: Mapping[str, object], names: Iterable[str]) -> None:
    """Raises UsageError unless all the arrays are there."""
    for name in names:
        if name not in arrays:
            raise UsageError(f"{path}: it holds no array {name!r}; it has {', '.join(sorted(arrays)) or 'none'}")


def _axis(path: Path, name: str, arrays: dict[str, NDArray[Any]]) -> Axis:
    choices = arrays.pop(CHOICES + name, None)
    if choices is None or choices.ndim != 1 or not len(choices):
        raise UsageError(f"{path}: it holds no list {CHOICES + name!r}; expected the values of {name}")
    values = tuple(choices.tolist())
    if len(set(values)) != len(values):
        raise UsageError(f"{path}: {CHOICES + name} holds a value twice; each must differ")
    return Axis(name, values, ordered=bool(np.issubdtype(choices.dtype, np.number)))

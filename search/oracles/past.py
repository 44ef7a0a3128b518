"""Results of earlier searches as a transfer strategy reads them. No Keras Tuner and no TensorFlow here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from core.errors import LitesmithError, UsageError, bad_value
from search.grammar import from_text
from search.named import space as named_space
from search.oracles.choice_space import ChoiceSpace
from search.space import Genotype
from search.tabular.table import Table
from search.trials import OK, Trial, TrialLog, longest

MIN_TRIALS = 5  # what fewer trials say about a task is chance


@dataclass(frozen=True, slots=True)
class PastLog:
    """What an earlier search tried.

    Attributes:
      name: for messages.
      configurations: hyperparameter values by name.
      scores: of each, larger is better; None for one that failed. Only their order counts.
    """

    name: str
    configurations: tuple[Mapping[str, Any], ...]
    scores: tuple[float | None, ...]

    def __post_init__(self) -> None:
        if len(self.configurations) != len(self.scores):
            legal = f"{len(self.configurations)}, one of each configuration"
            raise bad_value(f"{self.name}: number of scores", len(self.scores), legal)
        if len(set(self.scores) - {None}) < 2 or len(self.scores) < MIN_TRIALS:
            raise UsageError(
                f"{self.name}: {len(self.scores)} trials with {len(set(self.scores) - {None})} different scores; "
                f"expected at least {MIN_TRIALS} trials, not all alike"
            )

    def check(self, space: ChoiceSpace, *, is_complete: bool = True) -> None:
        """Raises UsageError unless the configurations are of this space (or, if not complete, of one that grows from
        it)."""
        names = {axis.name for axis in space.axes}
        for values in self.configurations:
            unknown = sorted(set(values) - names) if is_complete else []
            if unknown:
                raise UsageError(f"{self.name}: it is of another space: there is no hyperparameter {unknown[0]!r} here")
            try:
                space.genotype(values)
            except UsageError as error:
                raise UsageError(f"{self.name}: it is of another space: {error}") from error

    def within(self, space: ChoiceSpace) -> tuple[list[Genotype], list[float | None]]:
        """The genotypes and scores of the configurations that the space has; what it does not know is ignored."""
        genotypes, scores = [], []
        for values, score in zip(self.configurations, self.scores, strict=True):
            try:
                genotypes.append(space.genotype(values))
            except UsageError:
                continue
            scores.append(score)
        return genotypes, scores


def from_table(table: Table, column: str, rows: Iterable[int], *, name: str = "") -> PastLog:
    """The log of a search that tried these rows of a table (search.tabular) and saw this column."""
    rows = list(rows)
    scores = table.column(column)[rows]
    configurations = tuple(table.space.values(table.genotype(row)) for row in rows)
    return PastLog(name or f"{table.name}: {column}", configurations, tuple(float(score) for score in scores))


def read_log(path: Path, space_name: str) -> PastLog:
    """A trial log (trials.jsonl) of a search over the named space, on any data set.

    Raises UsageError if there is no such file, if it is no trial log, if its trials are too few, or if it is of another
    space: every trial's network must be what its genotype stands for in this one, at the data set's own resolution and
    number of classes.
    """
    if not path.is_file():
        raise UsageError(f"{path}: no such file; expected the trial log of an earlier search (trials.jsonl)")
    try:
        trials = longest(TrialLog(path).trials)
    except LitesmithError as error:
        raise UsageError(f"{path}: not a trial log ({error})") from error
    configurations = tuple(_values(trial, space_name, path) for trial in trials)
    return PastLog(str(path), configurations, tuple(t.score if t.status == OK else None for t in trials))


def _values(trial: Trial, space_name: str, path: Path) -> dict[str, int]:
    """Choice indices by path, as search.oracles.hyperparameters names them."""
    try:
        logged = from_text(trial.arch)
        space = _space(space_name, logged.resolution, logged.num_classes)
        is_ours = space.identity(trial.genotype) == trial.arch_id
    except LitesmithError as error:
        raise _other_space(path, trial, space_name, f" ({error})") from error
    if not is_ours:
        raise _other_space(path, trial, space_name, "")
    genes = zip(space.genes, trial.genotype, strict=True)
    return {gene.path: index for gene, index in genes if len(gene.choices) > 1}


_space = lru_cache(maxsize=16)(named_space)  # a log is of one data set: its genes are listed once


def _other_space(path: Path, trial: Trial, space_name: str, detail: str) -> UsageError:
    return UsageError(f"{path}: trial {trial.index} is of another space than {space_name}{detail}")

"""A table of known results in place of training: microseconds instead of hours. No TensorFlow here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from search.evaluate import Candidate, Evaluation
from search.space import Genotype
from search.tabular.table import LATENCY, Table


@dataclass(frozen=True, slots=True)
class Figure:
    """A column of a table and what its numbers are multiplied by (0.01 for an accuracy in percent).

    `epochs` asks a learning curve for this epoch; None for as many as the candidate is trained.
    """

    column: str
    scale: float = 1.0
    epochs: int | None = None


@dataclass(frozen=True)
class TabularEvaluator:
    """A search.evaluate.Evaluator that looks candidates up.

    Attributes:
      table: what is known.
      metrics: the figure of each metric, for example {"val_accuracy": Figure("c10_val_12ep", 0.01)}.
      target: if given, the metric "latency_us" is the table's latency on it.
      seconds: the figures of the simulated cost: phase -> seconds of one epoch.
    """

    table: Table
    metrics: Mapping[str, Figure]
    target: str | None = None
    seconds_per_epoch: Mapping[str, Figure] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for figure in (*self._figures().values(), *self.seconds_per_epoch.values()):
            self.table.column(figure.column)

    def evaluate(self, candidate: Candidate, epochs: int) -> Evaluation:
        """Looks a candidate up by its genotype. Raises CandidateError if the table does not know it."""
        return self.look_up(candidate.genotype, epochs)

    def look_up(self, genotype: Genotype, epochs: int) -> Evaluation:
        """The metrics after `epochs`, and what they would have cost. Raises CandidateError."""
        seconds = {phase: epochs * self._value(figure, genotype, 1) for phase, figure in self.seconds_per_epoch.items()}
        metrics = {name: self._value(figure, genotype, epochs) for name, figure in self._figures().items()}
        return Evaluation(metrics, seconds)

    def of_values(self, values: Mapping[str, Any], epochs: int) -> Evaluation:
        """The same for a configuration of Keras Tuner: values by hyperparameter name."""
        return self.look_up(self.table.space.genotype(values), epochs)

    def _figures(self) -> dict[str, Figure]:
        latency = {} if self.target is None else {"latency_us": Figure(LATENCY + self.target)}
        return dict(self.metrics) | latency

    def _value(self, figure: Figure, genotype: Genotype, epochs: int) -> float:
        return figure.scale * self.table.value(figure.column, genotype, figure.epochs or epochs)

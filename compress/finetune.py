"""Fine-tuning as compression passes need it: `search.train.fit` with everything but the network fixed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from core.keras_env import keras

from compress.noise import repeatable_noise
from core.progress import Reporter
from core.tracking import Tracker
from search.dataset import ImageSet
from search.inputs import steps_per_epoch
from search.settings import TrainConfig
from search.train import History, Supervision, fit


@dataclass(frozen=True)
class FineTune:
    """The training that a pass does.

    Attributes:
      train: the training images; `augment` names the random changes (see search.dataset.ImageData).
      supervision: labels alone, or a teacher as well (compress.distill).
      config: epochs, batch size and learning rate; usually `CompressConfig.train_config()`.
      checkpoint: a file of its own for this pass, so that a killed pass goes on at the last whole epoch.
    """

    train: ImageSet
    supervision: Supervision
    config: TrainConfig
    augment: str
    seed: int
    checkpoint: Path | None = None
    reporter: Reporter | None = None
    tracker: Tracker | None = None

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole fine-tuning."""
        return self.config.epochs * steps_per_epoch(self.train, self.config.batch_size)

    def run(self, model: keras.Model, callbacks: Sequence[keras.callbacks.Callback], label: str) -> History:
        """Trains `model` in place. Raises CandidateError if the loss is not finite."""
        with repeatable_noise(model, self.seed) as reseeding:
            return fit(
                model,
                self.train,
                self.config,
                self.supervision,
                seed=self.seed,
                augment=self.augment,
                callbacks=(*callbacks, *reseeding),
                checkpoint=self.checkpoint,
                reporter=self.reporter,
                label=label,
                tracker=self.tracker,
            )

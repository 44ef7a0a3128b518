"""A network with dropout, as users have them, is fine-tuned to the same weights whether it is killed or not."""

from __future__ import annotations

import contextlib
from pathlib import Path

from core.keras_env import keras, reset

import numpy as np
import pytest

from compress.invariants import Invariants
from compress.run import apply_pass
from compress.settings import PassSpec, PruneSettings, QuantizeSettings
from compress.storage import copy_of, named_weights
from core.progress import SilentReporter, Task
from search.train import predict
from tests.compress.nets import NUM_CLASSES, RESOLUTION, blob_images, fine_tune

L = keras.layers
IMAGES = blob_images(96)
STEPS = 3  # of an epoch


class Killed(BaseException):
    pass


class Killer(Task):
    """Kills in the middle of the second epoch."""

    steps = 0

    def advance(self, units: int = 1, note: str = "") -> None:
        self.steps += units
        if self.steps == STEPS + 1:
            raise Killed


class KillingReporter(SilentReporter):
    def task(self, label: str, total: int) -> contextlib.AbstractContextManager[Task]:
        return contextlib.nullcontext(Killer())


def network(*, attention: bool) -> keras.Model:
    reset(1)
    image = keras.Input((RESOLUTION, RESOLUTION, 3), name="image")
    x = L.Conv2D(8, 3, strides=2, name="conv")(image)
    if attention:
        x = L.Reshape((25, 8), name="row")(x)
        x = L.MultiHeadAttention(2, 4, dropout=0.3, name="attention")(x, x)
    x = L.Dropout(0.4, name="first")(L.Flatten(name="flatten")(x))
    x = L.Dropout(0.4, name="second")(L.Dense(16, name="dense")(x))
    return keras.Model(image, L.Dense(NUM_CLASSES, name="scores")(x))


@pytest.mark.parametrize(
    ("spec", "attention"),
    [(PassSpec("prune", PruneSettings(0.0, 0.5)), True), (PassSpec("quantize", QuantizeSettings()), False)],
)
def test_killed_fine_tuning_with_dropout_resumes_exactly(spec: PassSpec, attention: bool, tmp_path: Path) -> None:
    def run(**options: object) -> dict[str, np.ndarray]:
        tune = fine_tune(IMAGES, epochs=3, **options)
        return named_weights(apply_pass(spec, network(attention=attention), Invariants(), tune, IMAGES).model)

    undisturbed = run()
    checkpoint = tmp_path / "checkpoint.npz"
    with pytest.raises(Killed):
        run(checkpoint=checkpoint, reporter=KillingReporter())
    assert checkpoint.exists()
    resumed = run(checkpoint=checkpoint)
    assert undisturbed.keys() == resumed.keys()
    for name, value in undisturbed.items():
        np.testing.assert_array_equal(value, resumed[name], err_msg=name)


def test_epochs_and_seeds_drop_others_and_nothing_stays_behind() -> None:
    """Two epochs of a training rate of nearly zero differ in their losses by what is dropped."""
    model = network(attention=False)
    config, outputs = model.get_config(), predict(model, IMAGES)
    losses = []
    for seed in (5, 6):
        tune = fine_tune(IMAGES, epochs=2, batch_size=96)
        config_of_training = type(tune.config)(2, 96, 1e-7, weight_decay=0.0)
        changed = type(tune)(tune.train, tune.supervision, config_of_training, "none", seed=seed)
        losses += changed.run(copy_of(model), (), "noise").loss
    assert len({round(loss, 4) for loss in losses}) == 4
    tune.run(model, (), "noise")
    assert model.get_config() == config
    assert predict(model, IMAGES).shape == outputs.shape

"""Models with Lambda layers and custom classes, where the user allows their code: they go through what suits them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from core.keras_env import keras, reset

import numpy as np
import pytest

from compress.importing.load import load_user_model
from compress.invariants import Invariants
from compress.run import apply_pass
from compress.settings import LowRankSettings, PassSpec, PruneSettings, QuantizeSettings, StructuredSettings
from compress.storage import load_model, save_model, stored_code
from core.errors import CandidateError, LitesmithError, UsageError
from tests.compress.nets import NUM_CLASSES, RESOLUTION, blob_images, fine_tune

pytestmark = pytest.mark.filterwarnings(
    "ignore:You are saving your model as an HDF5", "ignore:The object being serialized includes a `lambda`"
)
L = keras.layers
IMAGES = blob_images(32)
PIXELS = IMAGES.rgb()[:4].astype(np.float32) / 255


class Scaled(L.Layer):
    """As users write them: importable, with all of it in its config."""

    def __init__(self, factor: float, **options: object) -> None:
        super().__init__(**options)
        self.factor = factor

    def call(self, x: object) -> object:
        return self.factor * x

    def get_config(self) -> dict[str, object]:
        return {**super().get_config(), "factor": self.factor}


class Unregistered(Scaled):
    """No test but one has it, so Keras does not know it from another."""


def network(layer: keras.layers.Layer) -> keras.Model:
    reset(1)
    image = keras.Input((RESOLUTION, RESOLUTION, 3), name="image")
    x = layer(L.Conv2D(16, 3, name="first")(image))
    x = L.ReLU(name="relu")(L.Conv2D(16, 3, name="second")(x))
    x = L.Dense(16, name="dense")(L.GlobalAveragePooling2D(name="pool")(x))
    return keras.Model(image, L.Dense(NUM_CLASSES, name="scores")(x))


def imported(model: keras.Model, path: Path) -> keras.Model:
    model.save(path)
    return load_user_model(path, NUM_CLASSES, RESOLUTION, allow_custom=True, where="--model")


def own_lambda() -> keras.layers.Layer:
    return L.Lambda(lambda x: 2.0 * x, name="own")


@pytest.mark.parametrize("layer", [own_lambda, lambda: Scaled(2.0, name="own")])
def test_a_layer_of_the_users_goes_through_passes_and_storage(tmp_path: Path, layer: object) -> None:
    original = network(layer())
    flat = imported(original, tmp_path / "model.keras")
    # The same float32 sums, in another order at most.
    np.testing.assert_allclose(flat(PIXELS), original(PIXELS), rtol=1e-5, atol=1e-6)
    known = Invariants()
    with stored_code(True):
        for number, spec in enumerate(
            (
                PassSpec("structured_prune", StructuredSettings(0.8, importance="l1", channel_multiple=2)),
                PassSpec("low_rank", LowRankSettings(0.9)),
                PassSpec("prune", PruneSettings(0.0, 0.5)),
            )
        ):
            result = apply_pass(spec, flat, known, fine_tune(IMAGES, epochs=1), IMAGES)
            known = result.invariants
            save_model(result.model, tmp_path / str(number))
            flat = load_model(tmp_path / str(number))
            np.testing.assert_array_equal(flat(PIXELS), result.model(PIXELS))
        assert flat.get_layer("first").filters == 16, "what a layer of the user's reads stays"
        assert "own" in {layer.name for layer in flat.layers}
        with pytest.raises(
            CandidateError, match=r"layer 'own' .* cannot be trained quantization-aware; use ptq instead"
        ):
            apply_pass(PassSpec("quantize", QuantizeSettings()), flat, known, fine_tune(IMAGES, epochs=1), IMAGES)


def test_another_process_finds_the_users_classes(tmp_path: Path) -> None:
    """The name is not in Keras' table there: the module is imported, if code is allowed."""
    flat = imported(network(Scaled(2.0, name="own")), tmp_path / "model.keras")
    save_model(flat, tmp_path / "stored")
    program = (
        "import sys, pathlib, numpy as np; from compress.storage import load_model, stored_code\n"
        "with stored_code(True): model = load_model(pathlib.Path(sys.argv[1]))\n"
        "np.save(sys.argv[2], model(np.load(sys.argv[2])))"
    )
    np.save(tmp_path / "pixels.npy", PIXELS)
    subprocess.run([sys.executable, "-c", program, tmp_path / "stored", tmp_path / "pixels.npy"], check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "pixels.npy"), flat(PIXELS))


def test_stored_code_is_refused_where_it_is_not_allowed(tmp_path: Path) -> None:
    flat = imported(network(own_lambda()), tmp_path / "model.keras")
    save_model(flat, tmp_path / "stored")
    for allowed in (False, True, False):
        with stored_code(allowed):
            if allowed:
                np.testing.assert_array_equal(load_model(tmp_path / "stored")(PIXELS), flat(PIXELS))
            else:
                with pytest.raises(
                    LitesmithError, match=r"has Lambda layers; only --allow_custom lets their code run$"
                ):
                    load_model(tmp_path / "stored")


def test_what_later_stages_could_not_rebuild_is_refused_at_once(tmp_path: Path) -> None:
    """A SavedModel has functions in place of the class."""
    with pytest.raises(
        UsageError, match=r"^--model: .* rebuilt from its description.*; custom layers need a get_config"
    ):
        imported(network(Unregistered(2.0, name="own")), tmp_path / "saved_model")

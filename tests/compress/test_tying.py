"""Weight tying on a language model of a tiny text."""

from __future__ import annotations

from pathlib import Path

from core.keras_env import keras, reset

import numpy as np
import pytest

from compress.storage import copy_of, load_model, named_weights, save_model
from compress.tying import TiedEmbedding, tie
from core.errors import UsageError

L = keras.layers
TEXT = "the quick brown fox jumps over the lazy dog. " * 12
LETTERS = sorted(set(TEXT))
WINDOW, UNITS = 6, 16


def language_model(units: int = UNITS, activation: str | None = None) -> keras.Model:
    """Tokens [n, WINDOW] -> logits of the next."""
    reset(1)
    tokens = keras.Input((WINDOW,), dtype="int32", name="tokens")
    x = L.Flatten(name="flat")(L.Embedding(len(LETTERS), UNITS, name="table")(tokens))
    x = L.Dense(units, activation="relu", name="hidden")(x)
    return keras.Model(tokens, L.Dense(len(LETTERS), activation=activation, name="output")(x))


def windows() -> tuple[np.ndarray, np.ndarray]:
    codes = np.array([LETTERS.index(letter) for letter in TEXT], np.int32)
    starts = np.arange(len(codes) - WINDOW)
    return np.stack([codes[start : start + WINDOW] for start in starts]), codes[WINDOW:]


def test_tying_halves_the_tables() -> None:
    model = language_model()
    tied = tie(model, "table", "output")
    assert model.count_params() - tied.count_params() == len(LETTERS) * UNITS
    assert [layer.name for layer in tied.layers if layer.name in ("table", "output")] == ["table"]
    assert len([v for v in tied.trainable_variables if v.shape == (len(LETTERS), UNITS)]) == 1


def test_tied_model_computes_with_the_output_layers_kernel() -> None:
    model = language_model()
    tied = tie(model, "table", "output")
    model.get_layer("table").embeddings.assign(model.get_layer("output").kernel.numpy().T)
    tokens, _ = windows()
    np.testing.assert_allclose(tied(tokens), model(tokens), atol=1e-6)  # logits of size 1


def test_both_ends_train_one_table() -> None:
    tied = tie(language_model(), "table", "output")
    tokens, targets = windows()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    tied.compile(keras.optimizers.Adam(0.01), loss)
    before = tied.evaluate(tokens, targets, verbose=0)
    tied.fit(tokens, targets, batch_size=128, epochs=20, verbose=0)
    # The text repeats: the next letter is known from six. It starts at log 28 = 3.3.
    assert tied.evaluate(tokens, targets, verbose=0) < 0.5 * before


def test_tied_model_survives_saving(tmp_path: Path) -> None:
    tied = tie(language_model(), "table", "output")
    save_model(tied, tmp_path)
    tokens, _ = windows()
    for other in (load_model(tmp_path), copy_of(tied)):
        assert named_weights(other).keys() == named_weights(tied).keys()
        np.testing.assert_array_equal(other(tokens), tied(tokens))


def test_layer_by_itself() -> None:
    reset(2)
    layer = TiedEmbedding(5, 3, use_bias=False, name="tied")
    rows = layer(np.array([[0, 4]]))
    assert rows.shape == (1, 2, 3) and len(layer.weights) == 1
    np.testing.assert_allclose(layer(rows, reverse=True), rows.numpy() @ layer.embeddings.numpy().T, rtol=1e-6)


@pytest.mark.parametrize(
    ("names", "changes", "message"),
    [
        (("tables", "output"), {}, "'tables': expected a layer of model.* of class Embedding that is used once"),
        (("table", "flat"), {}, "'flat': expected a layer of model.* of class Dense that is used once"),
        (("table", "output"), {"units": 8}, r"its kernel \(8, 28\) does not fit the table \(28, 16\)"),
        (("table", "output"), {"activation": "softmax"}, "has the activation softmax; expected a linear output layer"),
    ],
)
def test_layers_that_cannot_be_tied(names: tuple[str, str], changes: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        tie(language_model(**changes), *names)

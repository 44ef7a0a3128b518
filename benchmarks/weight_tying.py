"""What tying the output layer to the embedding is worth, on a character model of Shakespeare.

    python -m benchmarks.weight_tying [--steps=3000] [--units=128]

Trains the same small convolutional model with and without tying (Press & Wolf 2017) on the first 90 % of
tinyshakespeare.txt (in benchmarks.search_cases.DATA); a third one is the untied model, tied after its training and
trained on for a quarter of the steps. Each becomes a float32 and a full-integer .tflite, the tied ones also one with a
single int8 table for GATHER and FULLY_CONNECTED (deploy.tied). Shown are the parameters (of the tables, and in all),
the buffers that hold the tables, the file's size, and the bits per character on 2,000 places of the last 10 %, with
what the conversion changes. About 3 minutes of two idle cores.
Measured: untied 16,640 + 262,721 parameters, 2.830 bits; tied 8,320 + 262,721, 2.770 bits, its table in one buffer of
the float32 file, and of the int8 file with one table too (294,040 -> 285,680 bytes, 2.772 bits before and after); tied
afterwards 2.873 bits, 2.880 in int8 with one table.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from core.keras_env import keras, reset, tf

import numpy as np
import numpy.typing as npt
from absl import app, flags
from ai_edge_litert.tools import flatbuffer_utils
from rich.console import Console
from rich.table import Table as Grid

from benchmarks.search_cases import DATA
from compress.tying import TiedEmbedding, tie
from core.errors import EXIT_DONE, EXIT_USAGE, LitesmithError, UsageError, one_line
from core.quiet import quiet_stderr
from deploy.interpreter import open_interpreter
from deploy.merge import merge_buffers
from deploy.tied import with_one_table

WINDOW = 32
BATCH = 128
LEARNING_RATE = 2e-3
CALIBRATION, PLACES = 200, 2000
TABLE, OUTPUT = "table", "output"

_STEPS = flags.DEFINE_integer("steps", 3000, "training steps of each model", lower_bound=4)
_UNITS = flags.DEFINE_integer("units", 128, "columns of the tables", lower_bound=8)

Tokens = npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Text:
    """A text as numbers of its characters."""

    characters: int
    train: Tokens
    test: Tokens


def text() -> Text:
    """The text. Raises UsageError if it is not there."""
    path = DATA / "tinyshakespeare.txt"
    if not path.exists():
        raise UsageError(f"{path}: not there; expected the text of the shared data")
    characters, codes = np.unique(np.frombuffer(path.read_bytes(), np.uint8), return_inverse=True)
    tokens: Tokens = codes.astype(np.int32)
    end = len(tokens) * 9 // 10
    return Text(len(characters), tokens[:end], tokens[end:])


def network(characters: int, units: int, *, tied: bool) -> keras.Model:
    """Tokens [n, WINDOW] -> logits of the character that follows: two strided convolutions and a dense layer."""
    reset(1)
    tokens = keras.Input((WINDOW,), dtype="int32", name="tokens")
    table = (
        TiedEmbedding(characters, units, name=TABLE) if tied else keras.layers.Embedding(characters, units, name=TABLE)
    )
    x = table(tokens)
    for number, filters in enumerate((units, 2 * units)):
        x = keras.layers.Conv1D(filters, 4, strides=4, activation="relu", name=f"conv{number}")(x)
    x = keras.layers.Dense(units, activation="relu", name="hidden")(keras.layers.Flatten(name="flatten")(x))
    logits = table(x, reverse=True) if tied else keras.layers.Dense(characters, name=OUTPUT)(x)
    return keras.Model(tokens, logits)


def train(model: keras.Model, codes: Tokens, steps: int) -> keras.Model:
    """Adam with cosine decay on random windows; the same ones for each model."""
    schedule = keras.optimizers.schedules.CosineDecay(LEARNING_RATE, steps)
    model.compile(keras.optimizers.Adam(schedule), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    starts = np.random.default_rng(0).integers(0, len(codes) - WINDOW, (steps, BATCH))
    batches = tf.data.Dataset.from_generator(
        lambda: (windows(codes, some) for some in starts),
        output_signature=(tf.TensorSpec((BATCH, WINDOW), tf.int32), tf.TensorSpec((BATCH,), tf.int32)),
    )
    model.fit(batches.prefetch(4), epochs=1, verbose=0)
    return model


def windows(codes: Tokens, starts: npt.NDArray[np.int64]) -> tuple[Tokens, Tokens]:
    """Tokens [n, WINDOW] and the one after each."""
    return codes[starts[:, None] + np.arange(WINDOW)], codes[starts + WINDOW]


def bits(predict: Callable[[Tokens], npt.NDArray[np.float32]], codes: Tokens) -> float:
    """Bits per character at PLACES places, evenly over the text."""
    tokens, following = windows(codes, np.linspace(0, len(codes) - WINDOW - 1, PLACES).astype(np.int64))
    logits = predict(tokens).astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    likelihood = logits[np.arange(PLACES), following] - np.log(np.exp(logits).sum(axis=1))
    return float(-likelihood.mean() / np.log(2))


def converted(model: keras.Model, calibration: Tokens | None) -> bytes:
    """The .tflite of one window: float32, or with calibration windows full-integer, dense layers scaled as a whole."""
    signature = [tf.TensorSpec((1, WINDOW), tf.int32, name="tokens")]
    function = tf.function(lambda tokens: model(tokens, training=False), input_signature=signature)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()], model)
    if calibration is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_output_type = tf.int8
        converter._experimental_disable_per_channel_quantization_for_dense_layers = True
        converter.representative_dataset = lambda: _one_by_one(calibration)
    with quiet_stderr():
        return bytes(converter.convert())


def _one_by_one(tokens: Tokens) -> Iterator[list[Tokens]]:
    for window in tokens:
        yield [window[np.newaxis]]


def by_litert(content: bytes, tokens: Tokens) -> npt.NDArray[np.float32]:
    """The logits of a .tflite, dequantized."""
    interpreter = open_interpreter(content)
    (inputs,), (outputs,) = interpreter.get_input_details(), interpreter.get_output_details()
    scale, zero_point = outputs["quantization"]
    rows = np.empty((len(tokens), outputs["shape"][1]), np.float32)
    for row, window in zip(rows, tokens, strict=True):
        interpreter.set_tensor(inputs["index"], window[np.newaxis])
        interpreter.invoke()
        row[:] = (interpreter.get_tensor(outputs["index"])[0].astype(np.float32) - zero_point) * (scale or 1.0)
    return rows


def table_buffers(content: bytes, shape: tuple[int, int]) -> int:
    """In how many buffers the tables of a .tflite are."""
    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    return len({tensor.buffer for tensor in model.subgraphs[0].tensors if tuple(tensor.shape) == shape})


def main(argv: list[str]) -> int:
    """Prints the table; 2, with one line on stderr, if the text is not there."""
    del argv
    try:
        Console(width=140).print(_table(text(), _STEPS.value, _UNITS.value))
    except LitesmithError as error:
        print(one_line(error), file=sys.stderr)
        return EXIT_USAGE
    return EXIT_DONE


def _table(data: Text, steps: int, units: int) -> Grid:
    grid = Grid("model", "tables", "parameters", "file", "table buffers", "bytes", "bits per character")
    for name, model in _models(data, steps, units):
        tables = data.characters * units * (1 if any(isinstance(layer, TiedEmbedding) for layer in model.layers) else 2)
        reference = bits(lambda tokens, model=model: model(tokens).numpy(), data.test)  # type: ignore[misc]
        grid.add_row(name, f"{tables:,}", f"{model.count_params():,}", "Keras", "", "", f"{reference:.3f}")
        for kind, content in _files(model, data.train):
            found = bits(lambda tokens, content=content: by_litert(content, tokens), data.test)  # type: ignore[misc]
            buffers = table_buffers(content, (data.characters, units))
            grid.add_row("", "", "", kind, str(buffers), f"{len(content):,}", f"{found:.3f} ({found - reference:+.4f})")
    return grid


def _models(data: Text, steps: int, units: int) -> Iterator[tuple[str, keras.Model]]:
    untied = train(network(data.characters, units, tied=False), data.train, steps)
    yield "untied", untied
    yield "tied", train(network(data.characters, units, tied=True), data.train, steps)
    yield "tied afterwards", train(tie(untied, TABLE, OUTPUT), data.train, max(1, steps // 4))


def _files(model: keras.Model, codes: Tokens) -> Iterator[tuple[str, bytes]]:
    starts = np.random.default_rng(1).integers(0, len(codes) - WINDOW, CALIBRATION)
    full_integer = converted(model, windows(codes, starts)[0])
    yield "float32", merge_buffers(converted(model, None))
    yield "int8, as converted", full_integer
    if (one := with_one_table(full_integer)) != merge_buffers(full_integer):
        yield "int8, one table", one


if __name__ == "__main__":
    app.run(main)

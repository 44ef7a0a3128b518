"""A user's model, ready for every pass: read, built without running anything in the file, made flat, checked equal."""

from __future__ import annotations

from pathlib import Path

from core.keras_env import keras, tf

import numpy as np

from compress.distill import ends_in_softmax
from compress.importing.plain import plain_architecture
from compress.importing.rewrite import INPUT_SCALES, rewritten
from compress.importing.source import ModelFile, read_model_file
from compress.importing.weights import built_model, trusted_model
from compress.storage import copy_of, stored_code
from core.checks import in_choices
from core.errors import CandidateError, UsageError, one_line

CHECKED_IMAGES = 4
# float32 keeps seven digits; kernels that took in a scale and normalizations round differently, a hundred layers deep.
TOLERANCE = 1e-4
REBUILT = "custom layers need a get_config that says all of them, and a class in a module that can be imported"


def load_user_model(
    path: str | Path,
    num_classes: int,
    resolution: int,
    *,
    allow_custom: bool,
    input_range: str = "0..1",
    where: str,
) -> keras.Model:
    """The model in the file as a flat tf_keras network: images [n, R, R, 3] in 0..1 -> logits [n, classes].

    A final softmax is left out, as in the networks that are searched here: training takes logits, and conversion puts
    it back. A network for grey images takes the mean of the three channels.

    Args:
      path: .h5 or .keras of Keras 2, .keras of Keras 3, or the folder of a SavedModel with Keras' metadata.
      allow_custom: let Keras load a file of Keras 2 that holds Lambda layers or custom objects; that runs its code.
        The model that is returned can then be stored and copied inside `compress.storage.stored_code`.
      input_range: the pixel values that the model takes, "0..1", "0..255" or "-1..1".
      where: the setting or flag that named the file, for messages.

    Raises UsageError if the file is damaged, holds code or a layer that is not supported (named), or does not fit the
    images and classes; CandidateError if the flat network gives other outputs.
    """
    in_choices(f"{where}: input range", input_range, tuple(INPUT_SCALES))
    file = read_model_file(path, where)
    needs_code = allow_custom and not _is_plain(file)
    model = trusted_model(file) if needs_code else built_model(file)
    _check_shapes(model, num_classes, resolution, file.where)
    flat = rewritten(model, resolution, input_range, file.where)
    _check_equal(model, flat, resolution, input_range, file.where)
    return _described(flat, file.where) if needs_code else flat


def _is_plain(file: ModelFile) -> bool:
    """Whether the model can be had without running the user's code."""
    try:
        plain_architecture(file)
    except UsageError:
        return False
    return True


def _described(flat: keras.Model, where: str) -> keras.Model:
    """A copy made of the model's description, as every later stage makes its own.

    Raises UsageError if its layers do not say all of themselves, or their classes cannot be found again.
    """
    try:
        with stored_code(True):
            copy = copy_of(flat)
        images = tf.constant(np.random.default_rng(1).random((CHECKED_IMAGES, *flat.input_shape[1:]), np.float32))
        same = bool(tf.reduce_all(copy(images, training=False) == flat(images, training=False)))
    except Exception as error:  # whatever the user's code raises
        raise UsageError(f"{where} cannot be rebuilt from its description ({one_line(error)}); {REBUILT}") from error
    if not same:
        raise UsageError(f"{where} gives other outputs when it is rebuilt from its description; {REBUILT}")
    return copy


def _check_shapes(model: keras.Model, num_classes: int, resolution: int, where: str) -> None:
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise UsageError(f"{where} has {len(model.inputs)} inputs and {len(model.outputs)} outputs; expected 1 and 1")
    shape, output = tuple(model.inputs[0].shape), tuple(model.outputs[0].shape)
    fits = len(shape) == 4 and shape[3] in (1, 3) and all(side in (None, resolution) for side in shape[1:3])
    if not fits:
        raise UsageError(f"{where} takes input {shape}; expected (None, {resolution}, {resolution}, 3)")
    if output != (None, num_classes):
        raise UsageError(f"{where} gives output {output}; expected (None, {num_classes}), one per class")


def _check_equal(model: keras.Model, flat: keras.Model, resolution: int, input_range: str, where: str) -> None:
    """Raises CandidateError unless both give the same scores for random images."""
    images = np.random.default_rng(0).random((CHECKED_IMAGES, resolution, resolution, 3), np.float32)
    scale, offset = INPUT_SCALES[input_range]
    own = images if model.inputs[0].shape[3] == 3 else images.mean(axis=3, keepdims=True)
    expected, found = model(own * np.float32(scale) + np.float32(offset), training=False), flat(images, training=False)
    if ends_in_softmax(model):
        found = tf.nn.softmax(found)
    error = float(tf.reduce_max(tf.abs(found - expected)) / tf.maximum(tf.reduce_max(tf.abs(expected)), 1e-30))
    if not error <= TOLERANCE:  # NaN is an error too
        raise CandidateError(f"{where}: rewritten as plain layers it gives other outputs (relative error {error:.1e})")

"""The .tflite files of blocks and networks. Their weights are random: a latency does not depend on them."""

from __future__ import annotations

from typing import Any

from core.keras_env import keras, reset, tf

import numpy as np

from android_bench.latency_table.units import Unit
from deploy.convert import Float32, conversion_errors, convert, converter_settings, unfinished
from deploy.schemes import FULL_INTEGER
from deploy.tracing import INPUT_NAME, OUTPUT_NAME
from search.build import build
from search.latency.blocks import BlockKey, io_types
from search.latency.build_block import build_block

SEED = 1
IMAGES = 4  # the ranges of the activations need not be good, only there


def model_content(unit: Unit, copies: int, scheme: str) -> bytes:
    """The content of one file of a unit: of a network as it is shipped, of a block with the types inside of a network.

    Raises ConversionError if it cannot be converted.
    """
    reset(SEED)
    model = build_block(unit.part, copies) if isinstance(unit.part, BlockKey) else build(unit.part)
    images = _noise((IMAGES, *model.input_shape[1:]))
    _normalize(model, images)
    calibration = images if scheme == FULL_INTEGER else None
    if isinstance(unit.part, BlockKey):
        return _block_content(model, unit.part, scheme, calibration)
    return convert(model, scheme, calibration).content


def _block_content(model: keras.Model, key: BlockKey, scheme: str, calibration: Float32 | None) -> bytes:
    specification = tf.TensorSpec((1, *key.input_shape), tf.float32, name=INPUT_NAME)

    @tf.function(input_signature=[specification])
    def run(image: tf.Tensor) -> dict[str, tf.Tensor]:
        return {OUTPUT_NAME: model(image, training=False)}

    def set_types(converter: Any) -> None:
        converter.inference_input_type, converter.inference_output_type = map(tf.as_dtype, io_types(key))

    settings = converter_settings(scheme, calibration, set_types)
    with conversion_errors(model, scheme):
        return unfinished(model, run.get_concrete_function(), settings)[0]


def _noise(shape: tuple[int, ...]) -> Float32:
    """Numbers from 0 to 1, both of which occur."""
    images = np.random.default_rng(SEED).uniform(size=shape).astype(np.float32)
    images.flat[0], images.flat[-1] = 0, 1
    return images


def _normalize(model: keras.Model, images: Float32) -> None:
    """Gives every batch normalization the statistics of `images`.

    With those of a fresh network, values shrink from block to block, until int8 has no scale for them.
    """
    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    for layer in layers:
        layer.momentum = 0.0
    if layers:
        model(images, training=True)

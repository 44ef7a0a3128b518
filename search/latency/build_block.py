"""A part of a network alone as a Keras model, to be converted and measured."""

from __future__ import annotations

from typing import Any

from core.keras_env import keras

from search.build import build
from search.latency.blocks import HEAD, BlockKey, block_layers, carrier


def build_block(key: BlockKey, copies: int = 1) -> keras.Model:
    """A float model of the part: [batch, height, width, channels] -> its output; a head ends in a softmax.

    The weights are random: a latency does not depend on them. Several copies of a block follow one another, each with
    weights of its own.

    An int8 file made of it measures the block alone if its input and output have the types of
    search.latency.blocks.io_types. Batches for the calibration: a few of one input each, uniform in 0..1.

    Raises CandidateError if the shapes do not fit, UsageError for several copies of a part that cannot follow itself.
    """
    network = build(carrier(key, copies))
    inputs, *layers = block_layers(key, copies)
    tensors: dict[str, Any] = {inputs.name: keras.Input(inputs.out_shape, name=inputs.name)}
    for layer in layers:
        operands = [tensors[name] for name in layer.inputs]
        tensors[layer.name] = network.get_layer(layer.name)(operands[0] if len(operands) == 1 else operands)
    output = tensors[layers[-1].name]
    if key.part == HEAD:
        output = keras.layers.Softmax(name="probabilities")(output)
    return keras.Model(tensors[inputs.name], output, name="network")

"""How much each class of channels, and each residual block, matters to a trained network.

    l1        the L1 norm of the filters (Li et al. 2017, "Pruning Filters for Efficient ConvNets")
    bn_gamma  the scale of the batch normalization (Liu et al. 2017, "network slimming")
    taylor    the squared first-order change of the loss if the channel were zero, (gradient * activation)^2 image by
              image (Molchanov et al. 2019, "Importance Estimation for Neural Network Pruning", gates after the
              normalization; the same as the Fisher information of Theis et al. 2018)
    random    the control

Norms and scales are divided by their layer's mean, so that layers of any scale compare; the Taylor figures are changes
of the loss, which compare as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from core.keras_env import keras, tf

import numpy as np
import numpy.typing as npt

from compress.finetune import FineTune
from compress.structured.channels import Channels
from compress.structured.graph import Call, calls_of, replay
from compress.structured.residual import ResidualBlock
from core.errors import CandidateError

Floats = npt.NDArray[np.float64]
TAYLOR_IMAGES = 512
TAYLOR_BATCH = 32


@dataclass(frozen=True, eq=False)
class Importance:
    """Attributes:
    classes: of each class of channels; NaN where nothing is known, so that it must stay.
    blocks: of each residual block.
    absolute: whether the figures of different groups of channels compare as they are; else only inside a group.
    """

    classes: Floats
    blocks: tuple[float, ...]
    absolute: bool = False


def importance_of(
    kind: str, model: keras.Model, channels: Channels, blocks: Sequence[ResidualBlock], fine_tune: FineTune
) -> Importance:
    """The importance of everything that may go, of the `kind` that StructuredSettings names.

    Raises CandidateError for "bn_gamma" if the network has no batch normalization.
    """
    if kind == "taylor":
        return _taylor(model, channels, blocks, fine_tune)
    if kind == "random":
        return _random(channels, blocks, fine_tune.seed)
    if kind == "l1":
        norms = {name: _filter_norms(model.get_layer(name)) for name in channels.producers}
        values = {name: norm for name, norm in norms.items() if name not in channels.gates}
        return _of_layers(values, channels, [_relative(block, values) for block in blocks])
    gammas = {
        layer.name: np.abs(layer.gamma.numpy()).astype(np.float64)
        for layer in model.layers
        if isinstance(layer, keras.layers.BatchNormalization) and layer.scale
    }
    if not gammas:
        raise CandidateError("importance bn_gamma needs batch normalizations with a scale; this network has none")
    gates = _gated_layers(model, channels)
    ends = {name: gammas[gate] for name, gate in gates.items() if gate in gammas}
    return _of_layers(gammas, channels, [_relative(block, ends) for block in blocks])


def _filter_norms(layer: keras.layers.Layer) -> Floats:
    kernel = layer.pointwise_kernel if isinstance(layer, keras.layers.SeparableConv2D) else layer.kernel
    values = np.abs(kernel.numpy()).astype(np.float64)
    return values.reshape(-1, values.shape[-1]).sum(axis=0)


def _of_layers(scores: dict[str, Floats], channels: Channels, blocks: Sequence[float]) -> Importance:
    """A class has the mean of its channels, each relative to its layer."""
    sums, counts = np.zeros(channels.num_classes), np.zeros(channels.num_classes)
    for name, values in scores.items():
        mean = values.mean()
        np.add.at(sums, channels.layers[name].output, values / mean if mean > 0 else values)
        np.add.at(counts, channels.layers[name].output, 1.0)
    classes = np.where(counts > 0, sums / np.maximum(counts, 1.0), np.nan)
    return Importance(classes, tuple(blocks))


def _relative(block: ResidualBlock, values: dict[str, Floats]) -> float:
    """How strong the producers at a branch's end are, relative to those of its input; 1 where that is not known.

    So a block whose end is as strong as what it is added to weighs as much as half of a group of channels.
    """
    end, begin = ([values[name].mean() for name in names if name in values] for names in (block.ends, block.begins))
    return float(np.mean(end) / np.mean(begin)) if end and begin and np.mean(begin) > 0 else 1.0


def _random(channels: Channels, blocks: Sequence[ResidualBlock], seed: int) -> Importance:
    rng = np.random.default_rng(seed)
    classes = rng.uniform(0.5, 1.5, channels.num_classes)
    return Importance(classes, tuple(rng.uniform(0.5, 1.5, len(blocks)).tolist()))


def _taylor(model: keras.Model, channels: Channels, blocks: Sequence[ResidualBlock], fine_tune: FineTune) -> Importance:
    gates = _gated_layers(model, channels)
    known = np.zeros(channels.num_classes, np.bool_)
    for name in gates.values():
        known[channels.layers[name].output] = True
    classes, per_block = np.zeros(channels.num_classes), np.zeros(len(blocks))
    rng = np.random.default_rng(fine_tune.seed)
    positions = np.sort(rng.permutation(len(fine_tune.train))[:TAYLOR_IMAGES])
    for start in range(0, len(positions), TAYLOR_BATCH):
        changes = _changes(model, fine_tune, positions[start : start + TAYLOR_BATCH], set(gates.values()))
        change = np.zeros((channels.num_classes, len(positions[start : start + TAYLOR_BATCH])))
        for name, values in changes.items():
            np.add.at(change, channels.layers[name].output, values.T)
        classes += np.square(change).sum(axis=1) / len(positions)
        for index, block in enumerate(blocks):
            ends = {gates[name] for name in block.ends if name in gates}
            total = sum((changes[name].sum(axis=1) for name in ends), np.zeros(change.shape[1]))
            per_block[index] += np.square(total).sum() / len(positions)
    return Importance(np.where(known, classes, np.nan), tuple(per_block.tolist()), absolute=True)


def _gated_layers(model: keras.Model, channels: Channels) -> dict[str, str]:
    """For each producer the layer after which its channels are gated: its normalization where that follows, or itself.

    Squeeze-excite gates are no values of their own: without them the channels that they scale would still be there.
    """
    calls = list(calls_of(model))
    readers: dict[int, list[Call]] = {}
    for call in calls:
        for tensor in call.inputs:
            readers.setdefault(id(tensor), []).append(call)
    found = {}
    for call in calls:
        name = call.layer.name
        if name in channels.producers and name not in channels.gates:
            following = [reader.layer for reader in readers.get(id(call.outputs[0]), ())]
            normalized = len(following) == 1 and isinstance(following[0], keras.layers.BatchNormalization)
            found[name] = following[0].name if normalized else name
    return found


def _changes(
    model: keras.Model, fine_tune: FineTune, positions: npt.NDArray[np.int64], gated: set[str]
) -> dict[str, Floats]:
    """By gated layer: float64 [images, channels], the first-order change of each image's loss as a channel grows."""
    train, supervision = fine_tune.train, fine_tune.supervision
    images = tf.cast(train.rgb(positions), tf.float32) / 255.0
    labels = tf.constant(train.labels[positions])
    targets = supervision.targets(images, labels)
    gates: dict[str, tf.Tensor] = {}
    with tf.GradientTape(watch_accessed_variables=False) as tape:

        def run(layer: keras.layers.Layer, *args: Any, **kwargs: Any) -> Any:
            value = layer(*args, **kwargs)
            if layer.name not in gated:
                return value
            if layer.name not in gates:
                shape = [len(positions), *[1] * (value.shape.rank - 2), value.shape[-1]]
                gates[layer.name] = tf.zeros(shape)
                tape.watch(gates[layer.name])
            return value * (1.0 + gates[layer.name])

        outputs = replay(model, images, run)
        loss = supervision.loss(targets, outputs) * len(positions)  # the sum over the images
    gradients = tape.gradient(loss, gates, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return {name: value.numpy().reshape(len(positions), -1).astype(np.float64) for name, value in gradients.items()}

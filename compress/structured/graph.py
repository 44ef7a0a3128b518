"""A functional model as the calls of its layers in the order of execution, to look at them or run them changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from core.keras_env import keras, tf


@dataclass(frozen=True, eq=False)
class Call:
    """One use of a layer.

    Attributes:
      inputs, outputs: the symbolic tensors, flat; ids of tensors that different calls share are equal.
      use: the how manieth use of the layer in this model it is, as in the model's config.
    """

    layer: keras.layers.Layer
    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]
    use: int
    node: Any


def functional(model: keras.Model) -> keras.Model:
    """The model itself, or for a sequential one the functional model of the same layers."""
    return keras.Model(model.inputs, model.outputs, name=model.name) if isinstance(model, keras.Sequential) else model


def calls_of(model: keras.Model) -> Iterator[Call]:
    """Every call, those of the inputs first, each after those whose outputs it reads."""
    depths = model._nodes_by_depth  # Keras 2 has no public way to these
    nodes = [node for depth in sorted(depths, reverse=True) for node in depths[depth]]
    ours = {id(node) for node in nodes}
    for node in nodes:
        uses = [id(each) for each in node.layer.inbound_nodes if id(each) in ours]
        inputs = () if node.is_input else tuple(node.keras_inputs)
        yield Call(node.layer, inputs, tuple(tf.nest.flatten(node.outputs)), uses.index(id(node)), node)


def channels_of(tensor: Any) -> int:
    """The size of a tensor's last axis; 0 if it has none or is not fixed."""
    shape = tensor.shape
    return int(shape[-1] or 0) if shape.rank else 0


def replay(model: keras.Model, images: tf.Tensor, run: Callable[..., Any]) -> Any:
    """The outputs of a model of one input, each of whose layers is called as `run(layer, *args, **kwargs)`.

    Run eagerly: for a few batches that costs less than tracing.
    """
    values: dict[int, Any] = {}
    for call in calls_of(model):
        if call.node.is_input:
            values[id(call.outputs[0])] = images
            continue
        args, kwargs = filled((call.node.call_args, call.node.call_kwargs), values)
        found = tf.nest.flatten(run(call.layer, *args, **kwargs))
        values |= {id(key): value for key, value in zip(call.outputs, found, strict=True)}
    return filled(model.output, values)


def filled(structure: Any, values: dict[int, Any]) -> Any:
    """A structure, such as a call's arguments, with values by id in the places of symbolic tensors."""
    return tf.nest.map_structure(lambda item: values.get(id(item), item), structure)

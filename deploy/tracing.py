"""A Keras model as the TensorFlow graph that is shipped: image in, probabilities out."""

from __future__ import annotations

from typing import Any

from core.keras_env import keras, tf

from deploy.errors import ConversionError

INPUT_NAME = "image"
OUTPUT_NAME = "scores"
_PASSES_VALUES_ON = ("Identity", "FakeQuantWithMinMaxVars")


class NotFreezableError(Exception):
    """A graph whose variables cannot be written into it node by node (control flow, tables)."""


def scoring_function(model: keras.Model, batch_size: int | None = 1) -> Any:
    """A concrete function from float32 images [batch, R, R, 3] to {"scores": float32 probabilities [batch, classes]}.

    A softmax is added unless the model ends in one. It is part of the function, not a layer, so the model of a
    quantization-aware training stays as it was trained. Raises ConversionError if the model does not map one image to
    one row of scores.
    """
    if not isinstance(model.input_shape, tuple) or len(model.input_shape) != 4 or len(model.output_shape) != 2:
        shapes = f"{model.input_shape} -> {model.output_shape}"
        raise ConversionError(f"{model.name}: maps {shapes}; expected one image [R, R, 3] -> scores [classes]")
    specification = tf.TensorSpec((batch_size, *model.input_shape[1:]), tf.float32, name=INPUT_NAME)

    @tf.function(input_signature=[specification])
    def score(image: tf.Tensor) -> dict[str, tf.Tensor]:
        return {OUTPUT_NAME: _probabilities(model(image, training=False))}

    return score.get_concrete_function()


def _probabilities(output: tf.Tensor) -> tf.Tensor:
    producer = output
    while producer.op.type in _PASSES_VALUES_ON:
        producer = producer.op.inputs[0]
    return producer if producer.op.type == "Softmax" else tf.nn.softmax(output, name="probabilities")


def is_quantization_aware(function: Any) -> bool:
    """Whether the graph holds the fake-quantization nodes of a quantization-aware training."""
    definition = function.graph.as_graph_def()
    bodies = [definition.node, *(body.node_def for body in definition.library.function)]
    return any(node.op.startswith("FakeQuantWithMinMax") for nodes in bodies for node in nodes)


def frozen_graph(function: Any) -> tf.compat.v1.GraphDef:
    """The function's graph with every variable read replaced by a constant.

    TensorFlow's own freezing also rebuilds a function from the result, which takes longer than everything else in a
    conversion; the converter needs the graph alone. Raises NotFreezableError for a graph with control flow or with an
    operation on a resource other than a plain read.
    """
    definition = function.graph.as_graph_def()
    if definition.library.function:
        raise NotFreezableError("the graph calls functions")
    by_handle = {id(variable.handle): variable for variable in function.variables}
    by_placeholder = {inner.op.name: by_handle.get(id(outer)) for outer, inner in function.graph.captures}
    frozen = tf.compat.v1.GraphDef(versions=definition.versions)
    for node in definition.node:
        if node.name in by_placeholder:
            continue
        if node.op == "ReadVariableOp" and by_placeholder.get(node.input[0]) is not None:
            _add_constant(frozen, node, by_placeholder[node.input[0]])
        elif any(name.removeprefix("^").partition(":")[0] in by_placeholder for name in node.input):
            raise NotFreezableError(f"{node.name} ({node.op}) uses a captured resource")
        else:
            frozen.node.add().CopyFrom(node)
    return frozen


def _add_constant(graph: tf.compat.v1.GraphDef, read: Any, variable: tf.Variable) -> None:
    constant = graph.node.add(name=read.name, op="Const")
    constant.attr["dtype"].CopyFrom(read.attr["dtype"])
    constant.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(variable.numpy()))

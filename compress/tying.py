"""Weight tying: the output layer of a language model uses its embedding's table (Press & Wolf 2017, arXiv:1608.05859;
Inan et al. 2017, arXiv:1611.01462)."""

from __future__ import annotations

from typing import Any

from core.keras_env import keras, tf

from compress.rewrite import config_of, described_layer, layers_by_name, model_of, redirect
from compress.storage import named_weights
from core.errors import UsageError
from search.keras_layers import PACKAGE

REVERSE = "reverse"


@keras.saving.register_keras_serializable(PACKAGE)
class TiedEmbedding(keras.layers.Layer):
    """One table [vocabulary, units] for both ends of a language model.

    `layer(tokens)` looks rows up; `layer(features, reverse=True)` multiplies by the transposed table and adds a bias,
    which gives logits. In a .tflite they are a GATHER and a FULLY_CONNECTED of one constant: both want it in this
    layout.
    """

    def __init__(self, vocabulary: int, units: int, use_bias: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.vocabulary, self.units, self.use_bias = vocabulary, units, use_bias

    def build(self, input_shape: Any) -> None:
        """Makes the variables, whichever end is called first."""
        # As an output layer wants it; lookups are scaled by the layer after them.
        initializer = keras.initializers.RandomNormal(stddev=self.units**-0.5)
        self.embeddings = self.add_weight("embeddings", (self.vocabulary, self.units), initializer=initializer)
        self.bias = self.add_weight("bias", (self.vocabulary,), initializer="zeros") if self.use_bias else None
        super().build(input_shape)

    def call(self, inputs: tf.Tensor, reverse: bool = False) -> tf.Tensor:
        """Integer tokens [...] -> [..., units]; with `reverse`, features [..., units] -> logits [..., vocabulary]."""
        if not reverse:
            return tf.gather(self.embeddings, inputs)
        logits = tf.matmul(inputs, self.embeddings, transpose_b=True)
        return logits if self.bias is None else tf.nn.bias_add(logits, self.bias)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        own = {"vocabulary": self.vocabulary, "units": self.units, "use_bias": self.use_bias}
        return {**super().get_config(), **own}


def tie(model: keras.Model, embedding: str, output: str) -> keras.Model:
    """A new model in which the Dense layer `output` and the Embedding layer `embedding` are one TiedEmbedding.

    It begins with the output layer's kernel: tied tables turn out like those (Press & Wolf 2017, section 4). The model
    is to be trained on. Raises UsageError if the layers are not of these kinds or their shapes do not fit.
    """
    table, dense = _checked(model, embedding, output)
    config, weights = config_of(model), named_weights(model)
    layers = layers_by_name(config)
    tied = TiedEmbedding(table.input_dim, table.output_dim, dense.use_bias, name=embedding)
    (lookup,), (((source, use, index, _),),) = layers[embedding]["inbound_nodes"], layers[output]["inbound_nodes"]
    layers[embedding] |= described_layer(tied) | {"inbound_nodes": [lookup, [[source, use, index, {REVERSE: True}]]]}
    config["layers"] = [layer for layer in config["layers"] if layer["name"] != output]
    redirect(config, {(output, 0): (embedding, 1)})
    weights[f"{embedding}/embeddings"] = weights.pop(f"{output}/kernel").T
    if dense.use_bias:
        weights[f"{embedding}/bias"] = weights.pop(f"{output}/bias")
    return model_of(config, weights)


def _checked(model: keras.Model, embedding: str, output: str) -> tuple[keras.layers.Embedding, keras.layers.Dense]:
    layers = {layer.name: layer for layer in model.layers}
    found: list[Any] = []
    for name, kind in ((embedding, keras.layers.Embedding), (output, keras.layers.Dense)):
        layer = layers.get(name)
        if layer is None or type(layer) is not kind or len(layer.inbound_nodes) != 1:
            raise UsageError(f"{name!r}: expected a layer of {model.name} of class {kind.__name__} that is used once")
        found.append(layer)
    table, dense = found
    if dense.activation is not keras.activations.linear:
        raise UsageError(f"{output!r}: has the activation {dense.activation.__name__}; expected a linear output layer")
    if dense.kernel.shape != (table.output_dim, table.input_dim):
        shapes = f"{tuple(dense.kernel.shape)} does not fit the table ({table.input_dim}, {table.output_dim})"
        raise UsageError(f"{output!r}: its kernel {shapes} of {embedding!r}; expected the transposed shape")
    return table, dense

"""A network as a .tflite that an app can train further: all but its last dense layer is frozen, that one learns.

TensorFlow Lite's guide to on-device training has signatures `train`, `infer`, `save` and `restore`, of which the last
two write and read a file by operators of TensorFlow. Here they return and take the head's tensors, which the app
stores, so that LiteRT's own operators are enough: the head lives in resource variables, its gradient is written out.
https://ai.google.dev/edge/litert/models/ondevice_training

A step is gradient descent with momentum on the softmax cross entropy of the images whose label is a class, n of them.
With features f, their mean c over training images of the network, and the bias at c, offset = bias + c kernel:

    g        = gradient of the mean loss along (kernel, offset), divided by 1 + mean of |f - c|^2
    velocity = 0.9 * velocity + g
    (kernel, offset) = (kernel, offset) - learning_rate * velocity

Without c the features' mean is by far their largest component, and the loss falls slowly along all others: on CIFAR-10,
a ResNet8 whose classes were exchanged came from 2 % to 6 % in five passes over 200 images, with c to 41 %. The divisor
makes one learning rate suit every network: the Hessian of the loss is at most (1 + mean of |f - c|^2) / 2 in any
direction (Boehning, 1992), so descent with this momentum (Polyak, 1964) over one set of images is stable for rates
below 2 * (1 + 0.9) / (1/2) = 7.6.

The frozen layers' weights are int8, and widened to float32 when the file is loaded: a quarter of the bytes, and the
speed of float32. A MobileNetV2 with ImageNet's weights learned CIFAR-10 from 200 images to 53.6 %, in float32 to
54.2 %, with dynamic range quantization to 54.0 %; but that has no fast kernels for depthwise convolutions.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from typing import Any

from core.keras_env import keras, tf

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from core.quiet import quiet_stderr
from deploy.convert import WEIGHT_BITS, conversion_errors, converter_settings
from deploy.errors import ConversionError
from deploy.flatbuffer import SIGNATURE, weights_of
from deploy.layers import weights_by_layer
from deploy.names import text
from deploy.packing import packed, unpacked
from deploy.personalize_check import INFER, OFF, RESTORE, SAVE, TRAIN
from deploy.schemes import INT8_WEIGHTS, PERSONALIZE
from deploy.slim import slim
from deploy.tracing import INPUT_NAME, OUTPUT_NAME
from deploy.weight_only import quantized_weights

Float32 = npt.NDArray[np.float32]
MOMENTUM = 0.9
_BATCH = 50


@dataclass(frozen=True, eq=False)
class Head:
    """A network cut before its last dense layer: `body` maps images to features, on which stand the layer's `kernel`
    [features, classes] and `bias` [classes]."""

    body: keras.Model
    kernel: Float32
    bias: Float32

    @property
    def named(self) -> dict[str, Float32]:
        """What is learned, as the signatures call it."""
        return {"kernel": self.kernel, "bias": self.bias}


def convert_personalize(model: keras.Model, images: Float32, spare_classes: int = 0) -> bytes:
    """The .tflite of a network that ends in a dense layer, with or without a softmax after it.

    It has as many classes as the network and `spare_classes` more. These score 0 and learn nothing until the app gives
    them another bias than OFF; in the same way an app turns off classes that it does not need. `images` [n, R, R, 3] in
    0..1 are some that the network was trained on.

    The signatures, in float32 but for the labels; b is any number of images, another one in each call:

        infer    images [b, R, R, 3] in 0..1 -> scores [b, classes]
        train    images, labels int32 [b], learning_rate [1] -> loss [1], that of these images before the step; images
                 whose label is no class do not count
        save     ignored [1] -> kernel, bias: all that was learned
        restore  kernel, bias -> classes [1]; the next step begins without velocity

    `save` has an input because Java's runSignature refuses a call without one. `serving_default` is `infer` under the
    names that other models have.

    Raises ConversionError if the network ends in another way or cannot be converted.
    """
    head = split_head(model, spare_classes)
    with conversion_errors(model, PERSONALIZE):
        return _finished(_converted(_Trainable(head, _mean_features(head, images))), head)


def split_head(model: keras.Model, spare_classes: int = 0) -> Head:
    """Cuts a network before its last dense layer, and adds spare classes to that.

    Raises ConversionError if the network ends in another layer.
    """
    last, features = _producer(model.output)
    while _is_softmax(last) and not isinstance(last, keras.layers.Dense):
        last, features = _producer(features)
    is_dense = isinstance(last, keras.layers.Dense) and features.shape.rank == 2
    if not is_dense or not (_is_softmax(last) or last.activation is keras.activations.linear):
        found = f"{type(last).__name__} {last.name}"
        raise ConversionError(f"{model.name}: on-device training needs a dense layer at the end; it ends in {found}")
    kernel = last.kernel.numpy()
    bias = last.bias.numpy() if last.use_bias else np.zeros(kernel.shape[1], np.float32)
    body = keras.Model(model.input, features, name=model.name)
    spare = (0, spare_classes)
    return Head(body, np.pad(kernel, ((0, 0), spare)), np.pad(bias, spare, constant_values=OFF))


def _producer(tensor: Any) -> tuple[keras.layers.Layer, Any]:
    """The layer that makes a tensor of a functional model, and the first tensor that it makes it of, if any."""
    layer, index, _ = tensor._keras_history
    inputs = layer._inbound_nodes[index].keras_inputs
    return layer, inputs[0] if inputs else tensor


def _is_softmax(layer: keras.layers.Layer) -> bool:
    by_name = getattr(layer, "activation", None) is keras.activations.softmax
    return by_name or isinstance(layer, keras.layers.Softmax)


def _mean_features(head: Head, images: Float32) -> Float32:
    """[1, features]."""
    batches = (images[start : start + _BATCH] for start in range(0, len(images), _BATCH))
    found = np.concatenate([head.body(batch, training=False).numpy() for batch in batches])
    return found.mean(axis=0, keepdims=True)


class _Trainable(tf.Module):
    """The head's variables with the functions that become signatures.

    Of the frozen layers only the variables are its own: a SavedModel of the layers would trace each of them once more.
    """

    def __init__(self, head: Head, centre: Float32) -> None:
        super().__init__()
        body = head.body
        self.centre = tf.constant(centre)
        self.frozen = list(body.variables)
        self.features = lambda images: body(images, training=False)
        self.images = tf.TensorSpec((None, *body.input_shape[1:]), tf.float32, name="images")
        self.kernel, self.bias = (tf.Variable(values, name=name) for name, values in head.named.items())
        shapes = {"kernel_velocity": head.kernel.shape, "offset_velocity": (1, *head.bias.shape)}
        self.velocities = [tf.Variable(tf.zeros(shape), name=name) for name, shape in shapes.items()]

    def signatures(self) -> dict[str, Any]:
        """Concrete functions by the signatures' names."""
        labels = tf.TensorSpec([None], tf.int32, name="labels")
        rate, ignored = (tf.TensorSpec([1], tf.float32, name=name) for name in ("learning_rate", "ignored"))
        # Sizes are left open for the reshaping in `restore`, which else would not be in the file.
        kernel = tf.TensorSpec([None, None], tf.float32, name="kernel")
        bias = tf.TensorSpec([None], tf.float32, name="bias")
        return {
            INFER: tf.function(self.infer).get_concrete_function(self.images),
            TRAIN: tf.function(self.train).get_concrete_function(self.images, labels, rate),
            SAVE: tf.function(self.save).get_concrete_function(ignored),
            RESTORE: tf.function(self.restore).get_concrete_function(kernel, bias),
        }

    def infer(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Probabilities."""
        return {OUTPUT_NAME: tf.nn.softmax(self._logits(self.features(images)))}

    def train(self, images: tf.Tensor, labels: tf.Tensor, learning_rate: tf.Tensor) -> dict[str, tf.Tensor]:
        """One step of the module's formulas."""
        features = self.features(images)
        logits = self._logits(features)
        targets = tf.one_hot(labels, self.bias.shape[0])
        weights = tf.reduce_sum(targets, axis=1, keepdims=True)
        count = tf.maximum(tf.reduce_sum(weights), 1.0)
        loss = -tf.reduce_sum(targets * tf.nn.log_softmax(logits)) / count
        centred = features - self.centre
        curvature = 1 + tf.reduce_sum(tf.square(centred) * weights) / count
        slope = (tf.nn.softmax(logits) * weights - targets) / (count * curvature)  # of the loss along the logits
        kernel = self._moved(self.velocities[0], tf.matmul(centred, slope, transpose_a=True))
        offset = self._moved(self.velocities[1], tf.reduce_sum(slope, axis=0, keepdims=True))
        self.kernel.assign(self.kernel - learning_rate * kernel)
        # Not a matrix product, whose constant would be taken for a weight and quantized.
        shift = tf.reduce_sum(kernel * tf.transpose(self.centre), axis=0)
        self.bias.assign(self.bias - learning_rate * (offset[0] - shift))
        return {"loss": tf.reshape(loss, [1])}

    def _moved(self, velocity: tf.Variable, gradient: tf.Tensor) -> tf.Tensor:
        moved = MOMENTUM * velocity + gradient
        velocity.assign(moved)
        return moved

    def save(self, ignored: tf.Tensor) -> dict[str, tf.Tensor]:
        """All that was learned."""
        return {"kernel": self.kernel.read_value(), "bias": self.bias.read_value()}

    def restore(self, kernel: tf.Tensor, bias: tf.Tensor) -> dict[str, tf.Tensor]:
        """The reshaping is the check of their sizes: LiteRT would store others, and then read beyond their end."""
        for variable, values in ((self.kernel, kernel), (self.bias, bias)):
            variable.assign(tf.reshape(values, variable.shape))
        for velocity in self.velocities:
            velocity.assign(tf.zeros_like(velocity))
        return {"classes": tf.shape(bias)}

    def _logits(self, features: tf.Tensor) -> tf.Tensor:
        return features @ self.kernel + self.bias


def _converted(trainable: _Trainable) -> bytes:
    """By way of a SavedModel: the converter takes several signatures, and variables that change, from there alone."""
    with tempfile.TemporaryDirectory() as directory, quiet_stderr():
        signatures = trainable.signatures()
        tf.saved_model.save(trainable, directory, signatures=signatures)
        converter = tf.lite.TFLiteConverter.from_saved_model(directory, signature_keys=list(signatures))
        converter_settings(INT8_WEIGHTS, None)(converter)
        converter.experimental_enable_resource_variables = True
        content = bytes(converter.convert())
    return quantized_weights(_named_apart(content), WEIGHT_BITS[INT8_WEIGHTS])


def _named_apart(content: bytes) -> bytes:
    """With different names in all graphs, by which AI Edge Quantizer tells tensors."""
    file = unpacked(content)
    for number, graph in enumerate(file.subgraphs[1:], 1):
        for index, tensor in enumerate(graph.tensors):
            tensor.name = f"g{number}.{index}"
    return packed(file)


def _finished(content: bytes, head: Head) -> bytes:
    """The file that is shipped: frozen weights once for all signatures, and `infer` where other models have theirs."""
    file = unpacked(content)
    by_key = {text(signature.signatureKey): signature for signature in file.signatureDefs}
    if by_key[INFER].subgraphIndex != 0:
        raise ConversionError(f"TensorFlow's converter did not put {INFER} first")
    for signature in by_key.values():
        for entry in (*signature.inputs, *signature.outputs):
            file.subgraphs[signature.subgraphIndex].tensors[entry.tensorIndex].name = text(entry.name)
    # LiteRT's CompiledModel runs a graph of open sizes without XNNPACK, sixteen times slower (MobileNetV2); Java does
    # not know the size of a buffer, and passes one only where the size is written.
    _fix_sizes(file, by_key[INFER], {"images": (1, *head.body.input_shape[1:])})
    _fix_sizes(file, by_key[RESTORE], {name: values.shape for name, values in head.named.items()})
    file.signatureDefs.append(_serving_default(file, by_key[INFER]))
    slim(file, {weight.index: name for name, weight in weights_by_layer(weights_of(file), head.body).items()})
    return packed(file)


def _fix_sizes(file: Any, signature: Any, shapes: dict[str, tuple[int, ...]]) -> None:
    """Writes the sizes of a signature's inputs in place of open ones; an interpreter resizes them all the same."""
    for entry in signature.inputs:
        tensor = file.subgraphs[signature.subgraphIndex].tensors[entry.tensorIndex]
        tensor.shape, tensor.shapeSignature = np.array(shapes[text(entry.name)], np.int32), None


def _serving_default(file: Any, infer: Any) -> Any:
    """One more name for `infer`; its input and output get those that other models have."""
    renamed = schema.SignatureDefT()
    renamed.signatureKey, renamed.subgraphIndex = SIGNATURE, 0
    renamed.inputs, renamed.outputs = ([schema.TensorMapT()] for _ in range(2))
    pairs = ((renamed.inputs, infer.inputs, INPUT_NAME), (renamed.outputs, infer.outputs, OUTPUT_NAME))
    for (entry,), (original,), name in pairs:
        entry.name, entry.tensorIndex = name, original.tensorIndex
        file.subgraphs[0].tensors[original.tensorIndex].name = name
    return renamed

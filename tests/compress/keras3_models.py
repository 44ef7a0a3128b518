"""Run with Keras 3, in a process of its own: saves models and what they give for some images.

python keras3_models.py DIRECTORY NAME...
"""

from __future__ import annotations

import os
import sys

os.environ.pop("TF_USE_LEGACY_KERAS", None)
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np

layers = keras.layers
SIDE, CLASSES = 12, 4


def functional():
    """Arithmetic, nesting, shared layers, Keras 3's own activations, layers with inner ones."""
    inner = keras.Sequential(
        [
            keras.Input((SIDE, SIDE, 3)),
            layers.RandomFlip(),
            layers.Conv2D(6, 3, strides=2, padding="same", activation="relu6", trainable=False),
            layers.BatchNormalization(),
            layers.SeparableConv2D(8, 3, padding="same", activation="hard_silu"),
            layers.LeakyReLU(0.1),
        ],
        name="inner",
    )
    image = keras.Input((SIDE, SIDE, 3))
    x = inner(image * 2.0 - 1.0)
    twice = layers.Conv2D(8, 1, activation="silu")
    x = layers.Add()([twice(x), twice(inner(image)), 0.5 * x])
    x = 1.0 - x
    x = layers.Conv2D(8, 3, groups=2, activation="hard_sigmoid", kernel_regularizer="l2")(x)
    x = x * (layers.ReLU(6.0)(x + 3.0) * (1.0 / 6.0))
    x = keras.ops.relu6(x)
    x = layers.GroupNormalization(4)(x)
    tokens = layers.Reshape((-1, 8))(x)
    tokens = layers.LayerNormalization()(tokens + layers.MultiHeadAttention(2, 4)(tokens, tokens))
    x = layers.Reshape((4, 4, 8))(tokens)
    x = layers.PReLU(shared_axes=[1, 2])(x)
    return keras.Model(image, layers.Dense(CLASSES, activation="softmax")(layers.Flatten()(x)))


def sequential():
    """Built without an Input layer; gives logits; statistics of the data."""
    normalization = layers.Normalization()
    normalization.adapt(np.random.default_rng(0).random((8, SIDE, SIDE, 3)).astype("float32"))
    model = keras.Sequential(
        [
            normalization,
            layers.Rescaling(0.5, offset=0.1),
            layers.Conv2D(4, 3, activation="leaky_relu"),
            layers.Conv2D(4, 3, activation="gelu"),
            layers.DepthwiseConv2D(3, activation="elu"),
            layers.UnitNormalization(),
            layers.Flatten(),
            layers.Dropout(0.2),
            layers.Dense(CLASSES),
        ]
    )
    model.build((None, SIDE, SIDE, 3))
    return model


def unsupported():
    """A layer that Keras 2 does not have."""
    return keras.Sequential(
        [keras.Input((SIDE, SIDE, 3)), layers.Flatten(), layers.RMSNormalization(name="newer"), layers.Dense(CLASSES)]
    )


def code():
    """A Lambda layer."""
    return keras.Sequential(
        [keras.Input((SIDE, SIDE, 3)), layers.Flatten(), layers.Lambda(lambda x: x, name="bad"), layers.Dense(CLASSES)]
    )


def bent():
    """An operation with a setting that changes what it computes."""
    image = keras.Input((SIDE, SIDE, 3))
    return keras.Model(image, layers.Dense(CLASSES)(layers.Flatten()(keras.ops.elu(image - 0.5, alpha=0.3))))


def mobilenet_v2():
    """keras.applications."""
    return keras.applications.MobileNetV2((32, 32, 3), alpha=0.35, weights=None, classes=CLASSES)


def mobilenet_v3():
    """keras.applications."""
    return keras.applications.MobileNetV3Small((32, 32, 3), alpha=0.75, weights=None, classes=CLASSES)


def efficientnet():
    """keras.applications."""
    return keras.applications.EfficientNetB0(input_shape=(32, 32, 3), weights=None, classes=CLASSES)


def main(directory, *names):
    """Writes NAME.keras, NAME_images.npy and NAME_outputs.npy."""
    draw = np.random.default_rng(3)
    for name in names:
        keras.utils.set_random_seed(1)
        model = globals()[name]()
        for weight in model.weights:
            if "seed" not in weight.path and not weight.path.startswith("normalization/"):
                values = weight.numpy()
                weight.assign(1.5 * values if values.ndim > 1 else values + draw.uniform(0.01, 0.3, values.shape))
        images = draw.random((3, *model.input_shape[1:])).astype("float32")
        model.save(os.path.join(directory, f"{name}.keras"))
        np.save(os.path.join(directory, f"{name}_images.npy"), images)
        np.save(os.path.join(directory, f"{name}_outputs.npy"), np.asarray(model(images, training=False)))


if __name__ == "__main__":
    main(*sys.argv[1:])

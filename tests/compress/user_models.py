"""Networks as users make them, with weights that are not the initial ones."""

from __future__ import annotations

from core.keras_env import keras

import numpy as np

NUM_CLASSES, RESOLUTION = 4, 12
Layers = keras.layers


def trained(model: keras.Model) -> keras.Model:
    """Weights as after a training: biases, means and factors that are neither 0 nor 1."""
    keras.utils.set_random_seed(5)  # saving traces dropouts, which want a seed
    draw = np.random.default_rng(5)
    model.set_weights([weight + draw.uniform(0.05, 0.3, weight.shape) for weight in model.get_weights()])
    return model


def base() -> keras.Model:
    """A nested feature extractor, frozen in part, whose layer names others have too."""
    return keras.Sequential(
        [
            keras.Input((RESOLUTION, RESOLUTION, 3)),
            Layers.RandomFlip("horizontal"),
            Layers.Conv2D(6, 3, strides=2, padding="same", activation="relu", name="conv", trainable=False),
            Layers.BatchNormalization(name="norm"),
            Layers.SeparableConv2D(8, 3, padding="same", activation="swish", depth_multiplier=2, name="separable"),
        ],
        name="base",
    )


def nested() -> keras.Model:
    """Nested twice, a layer and a model that are called twice, arithmetic, names with slashes, a softmax."""
    image = keras.Input((RESOLUTION, RESOLUTION, 3))
    inner = base()
    twice = Layers.Conv2D(8, 1, activation="relu6", name="block/conv")
    x = inner(image / 2.0 + 0.25)
    x = Layers.Add(name="add")([twice(x), twice(inner(image))])
    x = x * 0.5 - x
    x = Layers.Conv2D(8, 3, groups=2, activation="hard_sigmoid", name="conv")(x)
    gate = Layers.ReLU(6.0)(x + 3.0) * (1.0 / 6.0)
    x = Layers.Multiply(name="swish")([x, gate])
    x = Layers.SpatialDropout2D(0.1)(x)
    x = Layers.GlobalAveragePooling2D()(x)
    head = keras.Sequential(
        [keras.Input((8,)), Layers.Dense(NUM_CLASSES, activation="softmax", name="conv")], name="head"
    )
    return trained(keras.Model(image, head(x), name="nested"))


def sequential() -> keras.Model:
    """Without an Input layer, of the layers with a state of their own; gives logits."""
    normalization = Layers.Normalization(mean=[0.4, 0.5, 0.6], variance=[0.1, 0.2, 0.3])
    model = keras.Sequential(
        [
            normalization,
            Layers.ZeroPadding2D(((0, 1), (0, 1))),
            Layers.Conv2D(4, 3, strides=2, use_bias=False),
            Layers.BatchNormalization(),
            Layers.PReLU(shared_axes=[1, 2]),
            Layers.DepthwiseConv2D(3, activation="tanh"),
            Layers.MaxPooling2D(),
            Layers.Flatten(),
            Layers.Dropout(0.3),
            Layers.Dense(5, activation="elu", kernel_regularizer="l2"),
            Layers.Dense(NUM_CLASSES),
        ]
    )
    model.build((None, RESOLUTION, RESOLUTION, 3))
    return trained(model)


def adapted() -> keras.Model:
    """Any image size; statistics of the data, and scales that a convolution can take in."""
    image = keras.Input((None, None, 3))
    normalization = Layers.Normalization()
    normalization.adapt(np.random.default_rng(0).random((8, 6, 6, 3)).astype(np.float32))
    x = normalization(image)
    x = Layers.Concatenate()([x, Layers.ZeroPadding2D(0)(Layers.Rescaling(2.0)(image))])
    x = Layers.Conv2D(4, 3, activation="leaky_relu")(Layers.Rescaling([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])(x))
    x = Layers.GlobalMaxPooling2D()(x)
    return keras.Model(image, Layers.Softmax()(Layers.Dense(NUM_CLASSES)(x)))


def grey(last: str | None = "softmax", flat: bool = False) -> keras.Model:
    """For images of one channel in 0..255."""
    image = keras.Input((RESOLUTION, RESOLUTION, 1))
    x = Layers.Rescaling(1 / 127.5, offset=-1)(image)
    x = Layers.Flatten()(x) if flat else Layers.Flatten()(Layers.Conv2D(4, 3, activation="relu")(x))
    return trained(keras.Model(image, Layers.Dense(NUM_CLASSES, activation=last)(x)))

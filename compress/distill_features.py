"""Distillation of what a teacher sees, beside what it says: attention maps and hints from its feature maps.

The network is trained through a view of it that gives its features beside its logits; the teacher's are part of y_true.
"""

from __future__ import annotations

from core.keras_env import keras, tf

from compress.distill_config import ATTENTION, FITNET
from compress.structured.graph import calls_of
from core.errors import CandidateError, bad_value, one_of
from search.keras_layers import PACKAGE

REGRESSOR = "distill_regressor"
SMALLEST_SQUARE = 1e-12
# Their outputs are feature maps of other layers with a border more or less.
BORDERS = (keras.layers.ZeroPadding2D, keras.layers.Cropping2D)


@keras.saving.register_keras_serializable(PACKAGE)
class AttentionMap(keras.layers.Layer):
    """Where a feature map is strong: the squares summed over the channels, in a row of length 1."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """[batch, h, w, c] -> [batch, h * w]."""
        strengths = tf.reduce_mean(tf.square(inputs), axis=-1)
        return tf.math.l2_normalize(tf.reshape(strengths, [-1, inputs.shape[1] * inputs.shape[2]]), axis=-1)


def feature_maps(model: keras.Model) -> dict[tuple[int, int], keras.KerasTensor]:
    """The last feature map [batch, h, w, c] of each spatial size (h, w), largest first.

    Maps before the first kernel are the image's own and are left out, as are 1 x 1 maps (gates, pooled features).
    """
    found: dict[tuple[int, int], keras.KerasTensor] = {}
    has_kernel = False
    for call in calls_of(model):
        has_kernel = has_kernel or any(len(weight.shape) > 1 for weight in call.layer.weights)
        if not has_kernel or isinstance(call.layer, BORDERS):
            continue
        for output in call.outputs:
            if len(output.shape) == 4 and output.shape[1] * output.shape[2] > 1:
                found[int(output.shape[1]), int(output.shape[2])] = output
    return dict(sorted(found.items(), reverse=True))


def feature_views(student: keras.Model, teacher: keras.Model, features: str) -> tuple[keras.Model, keras.Model]:
    """(student's, teacher's) view: images -> logits and features side by side, float [batch, classes + n].

    "attention" (Zagoruyko and Komodakis 2017, arXiv:1612.03928): an attention map at each spatial size that both
    networks have. "fitnet" (Romero et al. 2015, arXiv:1412.6550): the feature map in the middle of these sizes; the
    student's goes through a 1x1 convolution of the student's view, which learns to give the teacher's channels.

    Raises CandidateError if the networks have no size in common.
    """
    own, given = feature_maps(student), feature_maps(teacher)
    sizes = [size for size in own if size in given]
    if not sizes:
        raise CandidateError(
            f"config.distill.features = {features!r}: the networks have no feature maps of one size: "
            f"{_sizes(own)} in the student, {_sizes(given)} in the teacher"
        )
    if features == ATTENTION:
        maps = [[AttentionMap()(found[size]) for size in sizes] for found in (own, given)]
    elif features == FITNET:
        hint = sizes[len(sizes) // 2]
        regressor = keras.layers.Conv2D(
            int(given[hint].shape[-1]),
            kernel_size=1,
            kernel_initializer=keras.initializers.GlorotUniform(seed=1),  # of its own: the student's draws stay
            name=REGRESSOR,
        )
        maps = [[keras.layers.Flatten()(x)] for x in (regressor(own[hint]), given[hint])]
    else:
        raise bad_value("config.distill.features", features, one_of((ATTENTION, FITNET)))
    student_maps, teacher_maps = maps
    return _beside_logits(student, student_maps), _beside_logits(teacher, teacher_maps)


def feature_distance(teacher: tf.Tensor, student: tf.Tensor, features: str) -> tf.Tensor:
    """How far the features of each image are apart, float [batch]; of a view's columns after the logits.

    "attention": the squared distances of the normalized maps, summed over the sizes (the paper's with p = 2). "fitnet":
    the mean squared error, in parts of the teacher's mean square, so that one weight suits all teachers.
    """
    squares = tf.square(student - teacher)
    if features == ATTENTION:
        return tf.reduce_sum(squares, axis=-1)
    return tf.reduce_mean(squares, axis=-1) / (tf.reduce_mean(tf.square(teacher), axis=-1) + SMALLEST_SQUARE)


def _beside_logits(model: keras.Model, maps: list[keras.KerasTensor]) -> keras.Model:
    return keras.Model(model.inputs, keras.layers.Concatenate()([model.output, *maps]), name=f"{model.name}_features")


def _sizes(found: dict[tuple[int, int], keras.KerasTensor]) -> str:
    return ", ".join(f"{height}x{width}" for height, width in found) or "none"

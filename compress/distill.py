"""Knowledge distillation: Hinton, Vinyals and Dean 2015, "Distilling the Knowledge in a Neural Network".

The teacher runs inside the input pipeline, on the same augmented (and mixed) images that the student sees. It may be
any network: one from a file, a larger one trained here, or the student's own float parent (Furlanello et al. 2018,
"Born Again Neural Networks").
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from core.keras_env import keras, tf

from compress.distill_config import NO_FEATURES
from compress.distill_features import feature_distance, feature_views
from search.train import Supervision, label_distribution

SMALLEST_PROBABILITY = 1e-7


def distillation_supervision(
    teacher: keras.Model,
    num_classes: int,
    temperature: float,
    alpha: float,
    label_smoothing: float = 0.0,
    *,
    features: str = NO_FEATURES,
    feature_weight: float = 1.0,
) -> Supervision:
    """`alpha * T^2 * KL(teacher_T || student_T) + (1 - alpha) * cross-entropy with the labels`.

    With `features` ("attention" or "fitnet") each network that is trained is bound to the teacher's feature maps as
    well: `+ feature_weight * compress.distill_features.feature_distance`.

    The teacher gives logits or probabilities [batch, classes] for images in 0..1; it is not trained. The label
    smoothing concerns the second term only.
    """

    def supervision(view: keras.Model, features: str) -> Supervision:
        loss = DistillationLoss(num_classes, temperature, alpha, label_smoothing, features, feature_weight)
        targets = _targets(view, num_classes, ends_in_softmax(teacher))
        return Supervision(loss=loss, targets=targets, metrics=(_accuracy(num_classes),))

    def bind(student: keras.Model) -> tuple[keras.Model, Supervision]:
        student_view, teacher_view = feature_views(student, teacher, features)
        return student_view, supervision(teacher_view, features)

    logits = supervision(teacher, NO_FEATURES)
    return logits if features == NO_FEATURES else dataclasses.replace(logits, bind=bind)


def _targets(
    teacher: keras.Model, num_classes: int, gives_probabilities: bool
) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """y_true: labels, the teacher's logits, and what else its view gives, side by side."""

    def targets(images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        outputs = teacher(images, training=False)
        scores, maps = outputs[:, :num_classes], outputs[:, num_classes:]
        if gives_probabilities:  # log-probabilities are logits: the softmax gives the same probabilities again
            scores = tf.math.log(tf.maximum(scores, SMALLEST_PROBABILITY))
        return tf.concat([label_distribution(labels, num_classes), tf.stop_gradient(scores), maps], axis=-1)

    return targets


def _accuracy(num_classes: int) -> keras.metrics.Metric:
    def accuracy(y_true: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
        return keras.metrics.categorical_accuracy(y_true[:, :num_classes], outputs[:, :num_classes])

    return keras.metrics.MeanMetricWrapper(accuracy, name="accuracy")


class DistillationLoss(keras.losses.Loss):
    """The loss on y_true = labels, teacher's logits and features side by side, float [batch, 2 * classes + n]."""

    def __init__(
        self,
        num_classes: int,
        temperature: float,
        alpha: float,
        label_smoothing: float,
        features: str = NO_FEATURES,
        feature_weight: float = 0.0,
    ) -> None:
        super().__init__(name="distillation")
        self._num_classes, self._temperature, self._alpha = num_classes, temperature, alpha
        self._label_smoothing = label_smoothing
        self._features, self._feature_weight = features, feature_weight

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        """The loss of each image, float [batch]; `y_pred` are the student's logits (and features)."""
        classes = self._num_classes
        logits = y_pred[:, :classes]
        labels, teacher_logits = y_true[:, :classes], y_true[:, classes : 2 * classes]
        teacher = tf.nn.log_softmax(teacher_logits / self._temperature)
        student = tf.nn.log_softmax(logits / self._temperature)
        divergence = tf.reduce_sum(tf.exp(teacher) * (teacher - student), axis=-1)
        hard = keras.losses.categorical_crossentropy(
            labels, logits, from_logits=True, label_smoothing=self._label_smoothing
        )
        # The gradients of the soft term shrink by 1/T^2; T^2 keeps the balance when the temperature changes.
        loss = self._alpha * self._temperature**2 * divergence + (1.0 - self._alpha) * hard
        if self._features == NO_FEATURES:
            return loss
        distance = feature_distance(y_true[:, 2 * classes :], y_pred[:, classes:], self._features)
        return loss + self._feature_weight * distance


def ends_in_softmax(model: keras.Model) -> bool:
    """Whether the model's output layer applies a softmax (also inside a nested model)."""
    layer = model.output._keras_history.layer
    if isinstance(layer, keras.Model):
        return ends_in_softmax(layer)
    activation = getattr(layer, "activation", None)
    return isinstance(layer, keras.layers.Softmax) or activation is keras.activations.softmax

"""Knowledge distillation: Hinton, Vinyals and Dean 2015, "Distilling the Knowledge in a Neural Network".

The teacher runs inside the input pipeline, on the same augmented images that the student sees.
"""

from __future__ import annotations

from core.keras_env import keras, tf

from search.train import Supervision

SMALLEST_PROBABILITY = 1e-7


def distillation_supervision(
    teacher: keras.Model, num_classes: int, temperature: float, alpha: float, label_smoothing: float = 0.0
) -> Supervision:
    """`alpha * T^2 * KL(teacher_T || student_T) + (1 - alpha) * cross-entropy with the labels`.

    The teacher gives logits or probabilities [batch, classes] for images in 0..1; it is not trained. The label
    smoothing concerns the second term only.
    """
    gives_probabilities = ends_in_softmax(teacher)

    def targets(images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        outputs = teacher(images, training=False)
        if gives_probabilities:  # log-probabilities are logits: the softmax gives the same probabilities again
            outputs = tf.math.log(tf.maximum(outputs, SMALLEST_PROBABILITY))
        return tf.concat([tf.one_hot(labels, num_classes), tf.stop_gradient(outputs)], axis=-1)

    def accuracy(y_true: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        return keras.metrics.categorical_accuracy(y_true[:, :num_classes], logits)

    return Supervision(
        loss=DistillationLoss(num_classes, temperature, alpha, label_smoothing),
        targets=targets,
        metrics=(keras.metrics.MeanMetricWrapper(accuracy, name="accuracy"),),
    )


class DistillationLoss(keras.losses.Loss):
    """The loss on y_true = one-hot labels and teacher logits side by side, float [batch, 2 * classes]."""

    def __init__(self, num_classes: int, temperature: float, alpha: float, label_smoothing: float) -> None:
        super().__init__(name="distillation")
        self._num_classes, self._temperature, self._alpha = num_classes, temperature, alpha
        self._label_smoothing = label_smoothing

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        """The loss of each image, float [batch]; `y_pred` are the student's logits [batch, classes]."""
        labels, teacher_logits = y_true[:, : self._num_classes], y_true[:, self._num_classes :]
        teacher = tf.nn.log_softmax(teacher_logits / self._temperature)
        student = tf.nn.log_softmax(y_pred / self._temperature)
        divergence = tf.reduce_sum(tf.exp(teacher) * (teacher - student), axis=-1)
        hard = keras.losses.categorical_crossentropy(
            labels, y_pred, from_logits=True, label_smoothing=self._label_smoothing
        )
        # The gradients of the soft term shrink by 1/T^2; T^2 keeps the balance when the temperature changes.
        return self._alpha * self._temperature**2 * divergence + (1.0 - self._alpha) * hard


def ends_in_softmax(model: keras.Model) -> bool:
    """Whether the model's output layer applies a softmax (also inside a nested model)."""
    layer = model.output._keras_history.layer
    if isinstance(layer, keras.Model):
        return ends_in_softmax(layer)
    activation = getattr(layer, "activation", None)
    return isinstance(layer, keras.layers.Softmax) or activation is keras.activations.softmax

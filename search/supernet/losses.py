"""What the shared weights of a supernet are trained to make small."""

from __future__ import annotations

from core.keras_env import tf

from search.supernet.settings import SupernetConfig


def cross_entropy(logits: tf.Tensor, labels: tf.Tensor, smoothing: float) -> tf.Tensor:
    """Of each image, in nats [batch]: logits [batch, classes], int labels of which `smoothing` goes to all classes."""
    classes = int(logits.shape[1])
    wanted = tf.one_hot(labels, classes) * (1.0 - smoothing) + smoothing / classes
    return tf.nn.softmax_cross_entropy_with_logits(wanted, logits)


def distillation_loss(
    logits: tf.Tensor, labels: tf.Tensor, scores: tf.Tensor, alpha: tf.Tensor, config: SupernetConfig
) -> tf.Tensor:
    """`(1 - alpha) * cross-entropy with the labels + alpha * T^2 * KL(teacher_T || network_T)`, mean of the batch.

    Logits and the teacher's `scores` are [batch, classes], int labels [batch]; Hinton et al. 2015, arXiv:1503.02531.
    """
    hard = cross_entropy(logits, labels, config.label_smoothing)
    teacher = tf.nn.log_softmax(tf.stop_gradient(scores) / config.temperature)
    student = tf.nn.log_softmax(logits / config.temperature)
    divergence = tf.reduce_sum(tf.exp(teacher) * (teacher - student), axis=-1)
    return tf.reduce_mean((1.0 - alpha) * hard + alpha * config.temperature**2 * divergence)

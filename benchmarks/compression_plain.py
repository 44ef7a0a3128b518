"""What benchmarks.compression compares with: tfmot and the TFLite converter, called as their guides show.

https://www.tensorflow.org/model_optimization/guide/combine/pcqat_example and .../quantization/training_example.
Optimizer, learning rate and epochs are those of our fine-tuning, so that only the passes differ.
"""

from __future__ import annotations

from core.keras_env import keras, tf

import numpy as np
import tensorflow_model_optimization as tfmot
from tensorflow_model_optimization.python.core.clustering.keras.experimental import cluster

from compress.recipe import CompressConfig
from compress.storage import copy_of
from core.errors import one_line
from core.progress import Reporter
from core.quiet import quiet_stderr
from deploy.calibration import representative_images
from search.dataset import ImageData
from search.train import fit, labels_supervision

SEED = 1
SCALE = 64.0  # of one channel of each eight
EVERY = 8


def _trained(model: keras.Model, data: ImageData, epochs: int, callbacks: list[object], reporter: Reporter) -> None:
    config = CompressConfig(recipes=(), epochs=epochs).train_config()
    supervision = labels_supervision(data.num_classes)
    options = {"augment": data.augment, "callbacks": callbacks, "reporter": reporter, "label": "plain"}
    fit(model, data.train, config, supervision, seed=SEED, **options)  # type: ignore[arg-type]


def plain_pcqat(
    model: keras.Model, data: ImageData, *, sparsity: float, clusters: int, epochs: int, reporter: Reporter
) -> tuple[bytes, keras.Model]:
    """The .tflite and the Keras model of tfmot's sparsity and cluster preserving quantization-aware training."""
    steps = epochs * (len(data.train) // CompressConfig().batch_size)
    schedule = tfmot.sparsity.keras.PolynomialDecay(0.0, sparsity, begin_step=0, end_step=max(1, steps // 2))
    pruned = tfmot.sparsity.keras.prune_low_magnitude(copy_of(model), pruning_schedule=schedule)
    _trained(pruned, data, epochs, [tfmot.sparsity.keras.UpdatePruningStep()], reporter)
    clustered = cluster.cluster_weights(
        tfmot.sparsity.keras.strip_pruning(pruned),
        number_of_clusters=clusters,
        cluster_centroids_init=tfmot.clustering.keras.CentroidInitialization.KMEANS_PLUS_PLUS,
        preserve_sparsity=True,
    )
    _trained(clustered, data, epochs, [], reporter)
    annotated = tfmot.quantization.keras.quantize_annotate_model(tfmot.clustering.keras.strip_clustering(clustered))
    scheme = tfmot.experimental.combine.Default8BitClusterPreserveQuantizeScheme(preserve_sparsity=True)
    quantized = tfmot.quantization.keras.quantize_apply(annotated, scheme)
    _trained(quantized, data, epochs, [], reporter)
    return _converted(quantized, data), quantized


def plain_qat(model: keras.Model, data: ImageData, *, epochs: int, reporter: Reporter) -> str | bytes:
    """The .tflite of tfmot's quantization-aware training, or the line with which tfmot refuses the network."""
    try:
        quantized = tfmot.quantization.keras.quantize_model(copy_of(model))
    except Exception as error:  # tfmot raises RuntimeError, ValueError and others
        return one_line(error)[:160]
    _trained(quantized, data, epochs, [], reporter)
    return _converted(quantized, data)


def _converted(model: keras.Model, data: ImageData) -> bytes:
    softmax = keras.Sequential([model, keras.layers.Softmax()])
    converter = tf.lite.TFLiteConverter.from_keras_model(softmax)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.inference_input_type = converter.inference_output_type = tf.uint8
    calibration = representative_images(data.train)
    converter.representative_dataset = lambda: ([image[np.newaxis]] for image in calibration)
    with quiet_stderr():
        return bytes(converter.convert())


def unbalanced(model: keras.Model) -> keras.Model:
    """The same function in float32, with channels of very different ranges before each projection.

    In each inverted residual one of eight channels of the depthwise normalization is multiplied, and the projection's
    weights for it are divided, by SCALE. ReLU6 would cut what is multiplied, so the network's are made ReLU first: the
    function is the network's own where no activation exceeds 6, and is measured anew.
    """
    config = model.get_config()
    for layer in config["layers"]:
        if layer["class_name"] == "ReLU":
            layer["config"]["max_value"] = None
    result = keras.Model.from_config(config)
    result.set_weights(model.get_weights())
    names = {layer.name for layer in result.layers}
    for name in sorted(names):
        if not name.endswith("_dw_bn") or name.replace("_dw_bn", "_project_conv") not in names:
            continue
        norm, projection = result.get_layer(name), result.get_layer(name.replace("_dw_bn", "_project_conv"))
        scale = np.ones(norm.gamma.shape[0], np.float32)
        scale[::EVERY] = SCALE
        norm.gamma.assign(norm.gamma * scale)
        norm.beta.assign(norm.beta * scale)
        projection.kernel.assign(projection.kernel / scale[:, None])
    return result

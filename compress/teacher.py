"""A teacher from a user's file: .keras or .h5, checked without TensorFlow and without running anything in it.

The check reads the architecture's JSON. Only Keras' own layers pass: Lambda layers hold marshalled Python code, and
custom classes would run code of the user's.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py

from core.errors import UsageError, one_line

if TYPE_CHECKING:
    from core.keras_env import keras

WHERE = "config.teacher.file"
MODEL_CLASSES = ("Functional", "Model", "Sequential")
# Everything an image classifier of Keras 2 is made of. Without a module in the JSON (.h5) the name is all there is.
LAYER_CLASSES = frozenset(
    (
        *MODEL_CLASSES,
        *("InputLayer", "Dense", "Activation", "Dropout", "SpatialDropout2D", "Flatten", "Reshape", "Permute"),
        *("Conv1D", "Conv2D", "Conv2DTranspose", "DepthwiseConv2D", "SeparableConv2D", "ZeroPadding2D", "Cropping2D"),
        *("BatchNormalization", "LayerNormalization", "GroupNormalization", "UnitNormalization"),
        *("ReLU", "LeakyReLU", "PReLU", "ELU", "Softmax", "ThresholdedReLU"),
        *("MaxPooling2D", "AveragePooling2D", "GlobalAveragePooling2D", "GlobalMaxPooling2D", "UpSampling2D"),
        *("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate", "Dot"),
        *("Rescaling", "Resizing", "CenterCrop", "Normalization", "RandomFlip", "RandomRotation", "RandomZoom"),
        *("RandomTranslation", "RandomContrast", "GaussianNoise", "GaussianDropout", "ActivityRegularization"),
        *("MultiHeadAttention", "Attention", "Embedding"),
    )
)
# Arithmetic that Keras 2 writes as "TFOpLambda" (x + 3 and the like): a name of TensorFlow's, no code.
ARITHMETIC = frozenset(
    f"{prefix}{name}"
    for prefix in ("math.", "__operators__.", "")
    for name in ("add", "subtract", "multiply", "truediv", "divide")
)
# Keras' objects that are not layers: what layers and nested compiled models are configured with.
PARAMETER_MODULES = (
    *("keras.initializers", "keras.regularizers", "keras.constraints", "keras.activations", "keras.mixed_precision"),
    *("keras.optimizers", "keras.losses", "keras.metrics"),
)


def check_teacher_file(path: str | Path, where: str = WHERE) -> None:
    """Raises UsageError unless the file is a Keras 2 model made of Keras' own layers."""
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"{where}: no file {str(path)!r}; expected a .keras or .h5 model of Keras 2")
    architecture = _architecture(path, where)
    if not isinstance(architecture, dict) or architecture.get("class_name") not in MODEL_CLASSES:
        raise UsageError(f"{where}: {str(path)!r} holds no functional or sequential Keras model")
    architecture.pop("compile_config", None)  # never read: the teacher is not compiled
    for name, node in _objects(architecture, ""):
        if (reason := _refusal(node)) is not None:
            raise UsageError(f"{where}: {str(path)!r}: layer {name!r} {reason}; it is not loaded, nothing was run")


def load_teacher(path: str | Path, num_classes: int, resolution: int, where: str = WHERE) -> keras.Model:
    """The teacher, not compiled and not trainable: images [n, R, R, 3] in 0..1 -> logits or probabilities [n, classes].

    Raises UsageError if the file is refused or the network does not fit the images and classes.
    """
    check_teacher_file(path, where)
    from core.keras_env import keras

    try:
        model = keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises whatever the damaged part provokes
        raise UsageError(f"{where}: {str(path)!r} cannot be loaded ({one_line(error)})") from error
    _check_shapes(model, num_classes, resolution, f"{where}: {str(path)!r}")
    model.trainable = False
    return model


def _check_shapes(model: keras.Model, num_classes: int, resolution: int, where: str) -> None:
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise UsageError(f"{where} has {len(model.inputs)} inputs and {len(model.outputs)} outputs; expected 1 and 1")
    shape, output = tuple(model.inputs[0].shape), tuple(model.outputs[0].shape)
    fits = len(shape) == 4 and shape[3] == 3 and all(side in (None, resolution) for side in shape[1:3])
    if not fits:
        raise UsageError(f"{where} takes input {shape}; expected (None, {resolution}, {resolution}, 3)")
    if output != (None, num_classes):
        raise UsageError(f"{where} gives output {output}; expected (None, {num_classes}), one per class")


def _architecture(path: Path, where: str) -> Any:
    """The JSON of the model in the file."""
    try:
        text = _from_zip(path, where) if zipfile.is_zipfile(path) else _from_hdf5(path)
        return json.loads(text)
    except (OSError, KeyError, ValueError, RuntimeError, zipfile.BadZipFile) as error:
        reason = one_line(error)
        raise UsageError(
            f"{where}: {str(path)!r} is not a whole .keras or .h5 model ({reason}); save it with model.save(...)"
        ) from error


def _from_zip(path: Path, where: str) -> str:
    with zipfile.ZipFile(path) as archive:
        if (damaged := archive.testzip()) is not None:
            raise ValueError(f"{damaged} is damaged")
        version = str(json.loads(archive.read("metadata.json")).get("keras_version", ""))
        if version.startswith("3"):
            raise UsageError(f"{where}: {str(path)!r} was written by Keras {version}; save it with tf_keras (Keras 2)")
        return archive.read("config.json").decode()


def _from_hdf5(path: Path) -> str:
    with h5py.File(path, "r") as file:
        text = file.attrs.get("model_config")
    if text is None:
        raise ValueError("it holds weights only, no architecture")
    return text if isinstance(text, str) else bytes(text).decode()


def _objects(node: Any, layer: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every serialized object, with the name of the layer it belongs to."""
    if isinstance(node, dict):
        if "class_name" in node:
            config = node.get("config")
            layer = str(config["name"]) if isinstance(config, dict) and "name" in config else layer
            yield layer, node
        for value in node.values():
            yield from _objects(value, layer)
    elif isinstance(node, list):
        for value in node:
            yield from _objects(value, layer)


def _refusal(node: dict[str, Any]) -> str | None:
    """Why an object of the architecture is not loaded; None if it is Keras' own."""
    name, config, module = node["class_name"], node.get("config"), node.get("module")
    if name in ("Lambda", "__lambda__"):
        return "is a Lambda layer, which holds Python code" if name == "Lambda" else "holds Python code"
    activation = config.get("activation") if isinstance(config, dict) else None
    if isinstance(activation, dict) and "class_name" not in activation:  # how Keras writes a lambda here
        return "has an activation that holds Python code"
    if name == "TFOpLambda":
        function = config.get("function") if isinstance(config, dict) else None
        return None if function in ARITHMETIC else f"calls the TensorFlow function {function!r}"
    if name in LAYER_CLASSES and (module is None or str(module).split(".")[0] in ("keras", "tf_keras")):
        return None
    is_layer = "inbound_nodes" in node or (isinstance(config, dict) and "trainable" in config)
    if module in PARAMETER_MODULES or (module is None and not is_layer and ">" not in str(name)):
        return None
    return f"uses {module or 'custom'}.{name}, which is not one of Keras' layers for images"

"""One door to every scheme: what a network and its recipe's last word become as a .tflite."""

from __future__ import annotations

from dataclasses import dataclass

from core.keras_env import keras

from deploy.convert import Float32, convert
from deploy.mixed_precision import MixedReport, convert_mixed
from deploy.personalize import convert_personalize
from deploy.schemes import MIXED, PERSONALIZE
from deploy.sparse import Encoding, sparse_or_dense
from search.dataset import ImageSet


@dataclass(frozen=True)
class Conversion:
    """The content of a .tflite, and how it came about.

    Attributes:
      path: "fast" or "slow" (deploy.convert).
      fall_back: of the scheme "mixed": which layers stay in float32.
      encoding: of a network pruned for sparse kernels: both encodings' sizes; the content is the smaller one.
    """

    content: bytes
    path: str
    fall_back: MixedReport | None = None
    encoding: Encoding | None = None


def convert_any(
    model: keras.Model,
    scheme: str,
    calibration: Float32,
    val: ImageSet,
    max_loss: float,
    *,
    sparse: bool = False,
    spare_classes: int = 0,
) -> Conversion:
    """Converts to any of deploy.schemes.SCHEMES, or to PERSONALIZE.

    Args:
      calibration: as `deploy.convert.convert` takes it.
      val, max_loss: validation images, and the accuracy (0..1) that "mixed" may lose on them.
      sparse: whether kernels may be stored sparse.
      spare_classes: as `deploy.personalize.convert_personalize` takes it.

    Raises ConversionError if the model cannot be converted.
    """
    if scheme == MIXED:
        converted, fall_back = convert_mixed(model, calibration, val, max_loss)
        return Conversion(converted.content, converted.path, fall_back)
    if scheme == PERSONALIZE:
        return Conversion(convert_personalize(model, calibration, spare_classes), "slow")
    converted = convert(model, scheme, calibration)
    if not sparse:
        return Conversion(converted.content, converted.path)
    encoding = sparse_or_dense(model, scheme, calibration, converted.content)
    return Conversion(encoding.content, converted.path, encoding=encoding)

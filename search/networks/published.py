"""What was published of the reference networks' size: the figures as printed, what they count, and their sources."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from search.arch import ArchSpec
from search.cost import cost
from search.lowering import layers_of

Counts = Literal["all", "trainable", "without_norm"]
_NORM_VALUES_LEFT_OUT: dict[Counts, int] = {"all": 0, "trainable": 2, "without_norm": 4}  # of the four a channel has
_UNITS = {"k": 3, "M": 6, "G": 9}


@dataclass(frozen=True, slots=True)
class Published:
    """The published size of a network at width 1.

    Attributes:
      resolution: the input side in pixels that the figures are for.
      params, macs: the printed numbers; None where none is printed.
      source: where they are printed.
      params_range, macs_range: what an exact number can be, for its rounding to be the printed one.
      counts: what `params` counts of batch normalization: "all" four values a channel, the two "trainable" ones, or
        none ("without_norm").
      unmet: those of "params" and "macs" that ours is not in the range of; `note` says why.
      note: what a reader has to know to compare; else "".
      num_classes: of the published network.
    """

    resolution: int
    params: int | None
    macs: int | None
    source: str
    params_range: tuple[int, int] = (0, 0)
    macs_range: tuple[int, int] = (0, 0)
    counts: Counts = "trainable"
    unmet: tuple[str, ...] = ()
    note: str = ""
    num_classes: int = 1000


def counted_params(arch: ArchSpec, counts: Counts) -> int:
    """The parameters of a network as a publication counts them."""
    normalized = sum(layer.out_shape[2] for layer in layers_of(arch) if layer.kind == "batch_norm")
    return cost(arch).params - _NORM_VALUES_LEFT_OUT[counts] * normalized


def _figure(text: str, is_cut: bool = False) -> tuple[int, tuple[int, int]]:
    """A printed number such as "3.47M" or "78,666", and the exact ones that it is the rounding (the beginning) of."""
    digits = text.rstrip("kMG").replace(",", "")
    decimals = len(digits.partition(".")[2])
    exponent = _UNITS.get(text[-1], 0)
    value = int(digits.replace(".", "")) * 10 ** (exponent - decimals)
    if not exponent:
        return value, (value, value)
    unit = 10 ** (exponent - decimals)
    return value, (value, value + unit - 1) if is_cut else (value - unit // 2, value + unit // 2)


def _published(
    resolution: int,
    params: str,
    macs: str,
    source: str,
    *,
    counts: Counts = "trainable",
    cut_macs: bool = False,
    unmet: tuple[str, ...] = (),
    note: str = "",
) -> Published:
    params_value, params_range = _figure(params)
    macs_value, macs_range = _figure(macs, cut_macs)
    return Published(
        resolution, params_value, macs_value, source, params_range, macs_range, counts=counts, unmet=unmet, note=note
    )


_SZE = "Sze et al. 2017, arXiv:1703.09039, table II"
_TORCHVISION = "torchvision's table of pre-trained models, https://pytorch.org/vision/stable/models.html"
_MOBILENETS = "the authors' table, https://github.com/tensorflow/models/tree/master/research/slim/nets/mobilenet"
_SHUFFLENETS = "the authors' table, https://github.com/megvii-model/ShuffleNet-Series"
_TIMM = "timm's model card, https://huggingface.co/timm/"
_EFFICIENTNET = "Tan & Le 2019, arXiv:1905.11946, table 2"
_LITE = "the authors' table, https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite"

_EFFICIENTNET_NOTE = (
    "the paper does not say how it counts; tf_keras.applications' network has the same layers, and torchvision prints "
    "our multiply-accumulates for it"
)
_LITE_NOTE = (
    "the authors' multiply-adds are 3 to 6 % above those of the convolutions and the classifier; how they count is "
    "not said"
)
_V3_NOTE = "torchvision's networks have our numbers, 5,483,032 (Large) and 2,542,856 (Small) trainable parameters; "


def _lite(resolution: int, params: str, macs: str) -> Published:
    return _published(resolution, params, macs, _LITE, unmet=("macs",), note=_LITE_NOTE)


PUBLISHED: dict[str, Published] = {
    "alexnet": _published(
        227, "61M", "724M", _SZE, note="without the two local response normalizations, which have no parameters"
    ),
    "vgg16": _published(224, "138M", "15.5G", _SZE),
    "squeezenet_1_1": _published(224, "1,235,496", "0.35G", _TORCHVISION),
    "resnet8": Published(
        32,
        78_666,
        None,
        "MLPerf Tiny's reference model, https://github.com/mlcommons/tiny (benchmark/training/image_classification)",
        (78_666, 78_666),
        counts="all",
        num_classes=10,
    ),
    "resnet18": _published(224, "11,689,512", "1.81G", _TORCHVISION),
    "resnet50": _published(
        224,
        "25.5M",
        "3.9G",
        _SZE,
        counts="without_norm",
        note="He et al. 2016 (arXiv:1512.03385, table 1) cut 3.86G off to 3.8G; tf_keras.applications counts "
        "25,636,712 parameters with all of normalization",
    ),
    "mobilenet_v1": _published(224, "4.2M", "569M", "Howard et al. 2017, arXiv:1704.04861, table 8"),
    "mobilenet_v2": _published(
        224,
        "3.47M",
        "300M",
        _MOBILENETS,
        counts="without_norm",
        cut_macs=True,
        note="the authors cut multiply-adds off: all 22 rows of their table are ours without what follows the point",
    ),
    "mobilenet_v2_small": Published(32, None, None, "a network of this project", num_classes=10),
    "mobilenet_v3_large": _published(
        224,
        "5.4M",
        "217M",
        _MOBILENETS,
        unmet=("params",),
        note=_V3_NOTE + "the authors' 5.4M would be ours cut off instead of rounded",
    ),
    "mobilenet_v3_small": _published(
        224,
        "2.5M",
        "56M",
        "Howard et al. 2019, arXiv:1905.02244v5, table 3",
        unmet=("macs",),
        note=_V3_NOTE + "the paper's 56M would be our 56.5M cut off; the 66M and 2.9M of their repository do not "
        "follow from the layers of the paper's table 2",
    ),
    "mobilenet_v3_large_minimalistic": _published(224, "3.9M", "209M", _MOBILENETS),
    "mobilenet_v3_small_minimalistic": _published(
        224,
        "2.0M",
        "65M",
        _MOBILENETS,
        unmet=("macs",),
        note="tf_keras.applications' network has our layers, and 52.3M; the 65M stand beside the full Small's 66M in "
        "the authors' table, which its layers do not give either",
    ),
    "mobilenet_v4_conv_small": _published(224, "3.8M", "0.2G", _TIMM + "mobilenetv4_conv_small.e2400_r224_in1k"),
    "mobilenet_v4_conv_medium": _published(256, "9.7M", "1.1G", _TIMM + "mobilenetv4_conv_medium.e500_r256_in1k"),
    "shufflenet_v1_g3": _published(
        224, "1.9M", "137M", "Zhang et al. 2018, arXiv:1707.01083, table 1; parameters: " + _SHUFFLENETS
    ),
    "shufflenet_v2": _published(
        224,
        "2.3M",
        "146M",
        "Ma et al. 2018, arXiv:1807.11164, table 5; parameters: " + _SHUFFLENETS,
        unmet=("macs",),
        note="the paper does not say how it counts; torchvision counts 0.145G for the same layers and has our "
        "2,278,604 parameters",
    ),
    "mnasnet_a1": _published(224, "3.9M", "312M", "Tan et al. 2019, arXiv:1807.11626, table 1"),
    "proxyless_mobile": _published(
        224,
        "4.08M",
        "320M",
        "the authors' table, https://github.com/mit-han-lab/proxylessnas (multiply-adds); timm's table of results, "
        "https://github.com/huggingface/pytorch-image-models/tree/main/results (parameters)",
    ),
    "efficientnet_b0": _published(224, "5.3M", "0.39G", _EFFICIENTNET),
    "efficientnet_b1": _published(240, "7.8M", "0.70G", _EFFICIENTNET, unmet=("macs",), note=_EFFICIENTNET_NOTE),
    "efficientnet_b2": _published(
        260,
        "9.2M",
        "1.0G",
        _EFFICIENTNET,
        unmet=("params",),
        note="with all of normalization ours are 9,177,562: tf_keras.applications' 9,177,569 less the 7 of its "
        "input normalization",
    ),
    "efficientnet_b3": _published(300, "12M", "1.8G", _EFFICIENTNET),
    "efficientnet_b4": _published(380, "19M", "4.2G", _EFFICIENTNET, unmet=("macs",), note=_EFFICIENTNET_NOTE),
    "efficientnet_b5": _published(456, "30M", "9.9G", _EFFICIENTNET, unmet=("macs",), note=_EFFICIENTNET_NOTE),
    "efficientnet_b6": _published(528, "43M", "19G", _EFFICIENTNET),
    "efficientnet_b7": _published(600, "66M", "37G", _EFFICIENTNET, unmet=("macs",), note=_EFFICIENTNET_NOTE),
    "efficientnet_lite0": _lite(224, "4.7M", "407M"),
    "efficientnet_lite1": _lite(240, "5.4M", "631M"),
    "efficientnet_lite2": _lite(260, "6.1M", "899M"),
    "efficientnet_lite3": _lite(280, "8.2M", "1.44G"),
    "efficientnet_lite4": _lite(300, "13.0M", "2.64G"),
}

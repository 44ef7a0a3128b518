"""The networks from before mobile ones, SqueezeNet, and MLPerf Tiny's ResNet."""

from __future__ import annotations

from search.arch import ArchSpec
from search.networks.text import arch_of

_ALEXNET = """
    stem_s1_c0
    conv_r1_k11_s4_c96_relu_valid                                  max_r1_k3_s2_valid
    conv_r1_k5_s1_c256_g2_relu                                     max_r1_k3_s2_valid
    conv_r1_k3_s1_c384_relu+conv_r1_k3_s1_c384_g2_relu+conv_r1_k3_s1_c256_g2_relu
    max_r1_k3_s2_valid
    head_c0_u4096_u4096_relu_flatten
"""

_VGG16 = """
    stem_s1_c0
    conv_r2_k3_s1_c64_relu   max_r1_k2_s2_valid
    conv_r2_k3_s1_c128_relu  max_r1_k2_s2_valid
    conv_r3_k3_s1_c256_relu  max_r1_k2_s2_valid
    conv_r3_k3_s1_c512_relu  max_r1_k2_s2_valid
    conv_r3_k3_s1_c512_relu  max_r1_k2_s2_valid
    head_c0_u4096_u4096_relu_flatten
"""

_SQUEEZENET_1_1 = """
    stem_s1_c0
    conv_r1_k3_s2_c64_relu_valid                max_r1_k3_s2_valid
    fire_r2_k3_c128_relu                        max_r1_k3_s2_valid
    fire_r2_k3_c256_relu                        max_r1_k3_s2_valid
    fire_r2_k3_c384_relu+fire_r2_k3_c512_relu
    head_c0_relu_scores
"""

_RESNET8 = """
    stem_s1_c16_relu
    basic8_r1_k3_s1_c16_relu
    basic8_r1_k3_s2_c32_relu
    basic8_r1_k3_s2_c64_relu
    head_c0
"""

_RESNET18 = """
    stem_s1_c0
    conv_r1_k7_s2_c64_relu_explicit  max_r1_k3_s2_explicit
    basic_r2_k3_s1_c64_relu
    basic_r2_k3_s2_c128_relu
    basic_r2_k3_s2_c256_relu
    basic_r2_k3_s2_c512_relu
    head_c0
"""

_RESNET50 = """
    stem_s1_c0
    conv_r1_k7_s2_c64_relu_explicit  max_r1_k3_s2_explicit
    bottleneck_r3_k3_s1_c256_relu
    bottleneck_r4_k3_s2_c512_relu
    bottleneck_r6_k3_s2_c1024_relu
    bottleneck_r3_k3_s2_c2048_relu
    head_c0
"""


def alexnet(resolution: int, num_classes: int, width_multiplier: float = 1.0) -> ArchSpec:
    """AlexNet (Krizhevsky et al. 2012, NIPS 25, section 3.5), for 227 pixels, which its strides divide.

    The paper's two processors are two groups. Its local response normalization, which has no weights and which later
    networks found of no use, is left out.
    """
    return arch_of(_ALEXNET, resolution, num_classes, width_multiplier, norm="nobn")


def vgg16(resolution: int, num_classes: int, width_multiplier: float = 1.0) -> ArchSpec:
    """VGG-16 (Simonyan & Zisserman 2015, arXiv:1409.1556, table 1, column D)."""
    return arch_of(_VGG16, resolution, num_classes, width_multiplier, norm="nobn")


def squeezenet_1_1(resolution: int, num_classes: int, width_multiplier: float = 1.0) -> ArchSpec:
    """SqueezeNet (Iandola et al. 2016, arXiv:1602.07360) in its authors' version 1.1, which pools earlier."""
    return arch_of(_SQUEEZENET_1_1, resolution, num_classes, width_multiplier, norm="nobn")


def resnet8(resolution: int, num_classes: int, width_multiplier: float = 1.0) -> ArchSpec:
    """MLPerf Tiny's ResNet for CIFAR-10 (Banbury et al. 2021, arXiv:2106.07597): three blocks at 32 pixels."""
    return arch_of(_RESNET8, resolution, num_classes, width_multiplier, norm="biasbn")


def resnet18(resolution: int, num_classes: int, width_multiplier: float = 1.0) -> ArchSpec:
    """ResNet-18 (He et al. 2016, arXiv:1512.03385, table 1) with projection shortcuts where the shape changes."""
    return arch_of(_RESNET18, resolution, num_classes, width_multiplier)


def resnet50(resolution: int, num_classes: int, width_multiplier: float = 1.0) -> ArchSpec:
    """ResNet-50 (He et al. 2016, arXiv:1512.03385, table 1): stride in the first 1x1, convolutions with a bias."""
    return arch_of(_RESNET50, resolution, num_classes, width_multiplier, norm="biasbn")

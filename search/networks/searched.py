"""Networks that a search for phones found."""

from __future__ import annotations

from search.arch import ArchSpec
from search.networks.text import arch_of

_MNASNET_A1 = """
    stem_s2_c32_relu
    ir_r1_k3_s1_e1_c16_relu
    ir_r2_k3_s2_e6_c24_relu
    ir_r3_k5_s2_e3_c40_se0.25_relu
    ir_r4_k3_s2_e6_c80_relu
    ir_r2_k3_s1_e6_c112_se0.25_relu
    ir_r3_k5_s2_e6_c160_se0.25_relu
    ir_r1_k3_s1_e6_c320_relu
    head_c1280_relu
"""

_PROXYLESS_MOBILE = """
    stem_s2_c32
    ir_r1_k3_s1_e1_c16
    ir_r1_k5_s2_e3_c32+ir_r1_k3_s1_e3_c32
    ir_r1_k7_s2_e3_c40+ir_r1_k3_s1_e3_c40+ir_r2_k5_s1_e3_c40
    ir_r1_k7_s2_e6_c80+ir_r3_k5_s1_e3_c80
    ir_r1_k5_s1_e6_c96+ir_r3_k5_s1_e3_c96
    ir_r1_k7_s2_e6_c192+ir_r1_k7_s1_e6_c192+ir_r2_k7_s1_e3_c192
    ir_r1_k7_s1_e6_c320
    head_c1280
"""


def mnasnet_a1(resolution: int, num_classes: int, width_multiplier: float = 1.0) -> ArchSpec:
    """MnasNet-A1 (Tan et al. 2019, arXiv:1807.11626, figure 7)."""
    return arch_of(_MNASNET_A1, resolution, num_classes, width_multiplier)


def proxyless_mobile(resolution: int, num_classes: int, width_multiplier: float = 1.0) -> ArchSpec:
    """ProxylessNAS-Mobile (Cai et al. 2019, arXiv:1812.00332, figure 4)."""
    return arch_of(_PROXYLESS_MOBILE, resolution, num_classes, width_multiplier)

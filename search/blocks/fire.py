"""SqueezeNet's fire module (Iandola et al. 2016, arXiv:1602.07360)."""

from __future__ import annotations

from core.errors import CandidateError
from search.arch import BlockSpec
from search.blocks.common import conv_bn_act
from search.layers import LayerList

SQUEEZE_RATIO = 8  # output channels / squeezed channels: the paper's 0.125


def fire(layers: LayerList, name: str, x: str, spec: BlockSpec, out_channels: int) -> str:
    """A squeezing 1x1 convolution, then half the output channels from 1x1 and half from spatial convolutions."""
    if out_channels % 2:
        raise CandidateError(f"{name}: {out_channels} output channels are not divisible by 2 halves")
    act, half = spec.activation, out_channels // 2
    squeezed = spec.hidden_channels or max(1, out_channels // SQUEEZE_RATIO)
    x = conv_bn_act(layers, f"{name}_squeeze", x, squeezed, kernel_size=1, stride=1, act=act)
    narrow = conv_bn_act(layers, f"{name}_expand1", x, half, kernel_size=1, stride=1, act=act)
    wide = conv_bn_act(layers, f"{name}_expand", x, half, kernel_size=spec.kernel_size, stride=1, act=act)
    return layers.concat(f"{name}_concat", [narrow, wide])

"""A network as a list of primitive layers: what the builder instantiates and the cost model counts. No TensorFlow here.

Both read the same list, so that the cost of a spec is the cost of the model that it builds.
"""

from __future__ import annotations

from dataclasses import dataclass

from core.errors import CandidateError

KINDS = ("input", "conv", "depthwise", "batch_norm", "activation", "add", "multiply", "global_pool", "dense")


@dataclass(frozen=True, slots=True)
class Layer:
    """One primitive layer. `out_shape` is (height, width, channels) without the batch; pooled and dense are 1 x 1."""

    kind: str
    name: str
    inputs: tuple[str, ...]
    out_shape: tuple[int, int, int]
    kernel_size: int = 1
    stride: int = 1
    use_bias: bool = False
    activation: str = ""
    keepdims: bool = False


class LayerList:
    """Collects layers; each method appends one and returns its name, to be the input of later ones."""

    def __init__(self, resolution: int) -> None:
        self.layers: dict[str, Layer] = {}
        self._add(Layer("input", "image", (), (resolution, resolution, 3)))

    def shape(self, name: str) -> tuple[int, int, int]:
        """(height, width, channels) of a layer's output."""
        return self.layers[name].out_shape

    def conv(self, name: str, x: str, channels: int, kernel_size: int, stride: int, use_bias: bool = False) -> str:
        """A "same"-padded convolution over all channels."""
        height, width, _ = self._strided(x, stride, name)
        return self._add(Layer("conv", name, (x,), (height, width, channels), kernel_size, stride, use_bias))

    def depthwise(self, name: str, x: str, kernel_size: int, stride: int) -> str:
        """A "same"-padded depthwise convolution without bias."""
        return self._add(Layer("depthwise", name, (x,), self._strided(x, stride, name), kernel_size, stride))

    def batch_norm(self, name: str, x: str) -> str:
        """Batch normalization over the channels."""
        return self._add(Layer("batch_norm", name, (x,), self.shape(x)))

    def activation(self, name: str, x: str, activation: str) -> str:
        """An elementwise function: "relu6", "relu" or "sigmoid"."""
        return self._add(Layer("activation", name, (x,), self.shape(x), activation=activation))

    def add(self, name: str, x: str, y: str) -> str:
        """The sum of two tensors of one shape."""
        return self._add(Layer("add", name, (x, y), self.shape(x)))

    def multiply(self, name: str, x: str, gate: str) -> str:
        """x [h, w, c] times a gate [1, 1, c]."""
        return self._add(Layer("multiply", name, (x, gate), self.shape(x)))

    def global_pool(self, name: str, x: str, keepdims: bool = False) -> str:
        """The mean over height and width, which stay as 1 x 1 with `keepdims` (to multiply by, say)."""
        return self._add(Layer("global_pool", name, (x,), (1, 1, self.shape(x)[2]), keepdims=keepdims))

    def dense(self, name: str, x: str, units: int) -> str:
        """A fully connected layer with bias."""
        return self._add(Layer("dense", name, (x,), (1, 1, units), use_bias=True))

    def _add(self, layer: Layer) -> str:
        self.layers[layer.name] = layer
        return layer.name

    def _strided(self, x: str, stride: int, name: str) -> tuple[int, int, int]:
        height, width, channels = self.shape(x)
        if stride > 1 and min(height, width) < stride:
            raise CandidateError(f"{name}: stride {stride} does not fit an input of {height}x{width} pixels")
        return -(-height // stride), -(-width // stride), channels

"""A network as a list of primitive layers: what the builder instantiates and the cost model counts. No TensorFlow here.

Both read the same list, so that the cost of a spec is the cost of the model that it builds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from core.errors import CandidateError

KINDS = (
    "input",
    "conv",
    "depthwise",
    "dense",
    "batch_norm",
    "activation",
    "add",
    "multiply",
    "concat",
    "slice",
    "shuffle",
    "pad",
    "max_pool",
    "avg_pool",
    "global_pool",
    "flatten",
)


@dataclass(frozen=True, slots=True)
class Layer:
    """One primitive layer.

    Attributes:
      kind: one of KINDS; `name` is also the Keras layer's.
      inputs: names of the layers whose outputs it reads.
      out_shape: (height, width, channels) without the batch; flat tensors are 1 x 1.
      padding: "same" or "valid", of convolutions and pools.
      activation: the function of an activation layer.
      keepdims: of a global pool: the output is 1 x 1 x channels instead of flat.
      begin: the first channel of a slice.
      pixels: of a padding: zeros on each side.
      groups: of a channel shuffle.
    """

    kind: str
    name: str
    inputs: tuple[str, ...]
    out_shape: tuple[int, int, int]
    kernel_size: int = 1
    stride: int = 1
    use_bias: bool = False
    activation: str = ""
    keepdims: bool = False
    padding: str = "same"
    begin: int = 0
    pixels: int = 0
    groups: int = 1


class LayerList:
    """Collects layers; each method appends one and returns its name, to be the input of later ones.

    `norm` says what follows the convolutions, and `form` what XNNPACK is to run sparse, as in ArchSpec.
    """

    def __init__(self, resolution: int, norm: str = "bn", form: str = "plain") -> None:
        self.layers: dict[str, Layer] = {}
        self.norm = norm
        self.form = form
        self._add(Layer("input", "image", (), (resolution, resolution, 3)))

    @property
    def conv_bias(self) -> bool:
        """Whether a convolution that may be normalized has a bias of its own."""
        return self.norm != "bn"

    @property
    def bias_without_norm(self) -> bool:
        """Whether a convolution that is never normalized has a bias: only where none is normalized."""
        return self.norm == "bias"

    @property
    def strided_padding(self) -> str:
        """How the stem and depthwise convolutions of a stride are padded: "same" or "explicit" (as in BlockSpec)."""
        return "explicit" if self.form == "xnnpack" else "same"

    def shape(self, name: str) -> tuple[int, int, int]:
        """(height, width, channels) of a layer's output."""
        return self.layers[name].out_shape

    def conv(
        self,
        name: str,
        x: str,
        channels: int,
        kernel_size: int,
        stride: int,
        use_bias: bool = False,
        padding: str = "same",
    ) -> str:
        """A convolution over all channels."""
        height, width, _ = self._strided(x, kernel_size, stride, padding, name)
        shape = (height, width, channels)
        return self._add(Layer("conv", name, (x,), shape, kernel_size, stride, use_bias, padding=padding))

    def depthwise(
        self, name: str, x: str, kernel_size: int, stride: int, use_bias: bool = False, padding: str = "same"
    ) -> str:
        """A depthwise convolution."""
        shape = self._strided(x, kernel_size, stride, padding, name)
        return self._add(Layer("depthwise", name, (x,), shape, kernel_size, stride, use_bias, padding=padding))

    def normalize(self, name: str, x: str) -> str:
        """Batch normalization over the channels, where the network has it."""
        return x if self.norm == "bias" else self._add(Layer("batch_norm", name, (x,), self.shape(x)))

    def activation(self, name: str, x: str, activation: str) -> str:
        """An elementwise function: "relu6", "relu", "hswish", "swish", "sigmoid", "hard_sigmoid"; "linear" is none."""
        if activation == "linear":
            return x
        return self._add(Layer("activation", name, (x,), self.shape(x), activation=activation))

    def add(self, name: str, x: str, y: str) -> str:
        """The sum of two tensors of one shape. Raises CandidateError if they have two."""
        if self.shape(x) != self.shape(y):
            shapes = " and ".join("x".join(map(str, self.shape(term))) for term in (x, y))
            raise CandidateError(f"{name}: the shapes {shapes} cannot be added")
        return self._add(Layer("add", name, (x, y), self.shape(x)))

    def multiply(self, name: str, x: str, gate: str) -> str:
        """x [h, w, c] times a gate [1, 1, c]."""
        return self._add(Layer("multiply", name, (x, gate), self.shape(x)))

    def concat(self, name: str, parts: Sequence[str]) -> str:
        """The channels of all parts, in their order."""
        height, width, _ = self.shape(parts[0])
        channels = sum(self.shape(part)[2] for part in parts)
        return self._add(Layer("concat", name, tuple(parts), (height, width, channels)))

    def slice_channels(self, name: str, x: str, begin: int, size: int) -> str:
        """The channels from `begin`, `size` of them."""
        height, width, _ = self.shape(x)
        return self._add(Layer("slice", name, (x,), (height, width, size), begin=begin))

    def shuffle(self, name: str, x: str, groups: int) -> str:
        """Channels [groups, n] transposed to [n, groups]. Raises CandidateError if the groups do not divide them."""
        channels = self.shape(x)[2]
        if channels % groups:
            raise CandidateError(f"{name}: {channels} channels are not divisible by {groups} groups")
        return self._add(Layer("shuffle", name, (x,), self.shape(x), groups=groups))

    def pad(self, name: str, x: str, pixels: int) -> str:
        """`pixels` zeros on each of the four sides."""
        height, width, channels = self.shape(x)
        shape = (height + 2 * pixels, width + 2 * pixels, channels)
        return self._add(Layer("pad", name, (x,), shape, pixels=pixels))

    def pool(self, kind: str, name: str, x: str, kernel_size: int, stride: int, padding: str) -> str:
        """A "max_pool" or "avg_pool"."""
        shape = self._strided(x, kernel_size, stride, padding, name)
        return self._add(Layer(kind, name, (x,), shape, kernel_size, stride, padding=padding))

    def global_pool(self, name: str, x: str, keepdims: bool = False) -> str:
        """The mean over height and width, which stay as 1 x 1 with `keepdims` (to multiply by, say)."""
        return self._add(Layer("global_pool", name, (x,), (1, 1, self.shape(x)[2]), keepdims=keepdims))

    def flatten(self, name: str, x: str) -> str:
        """All values in a row."""
        height, width, channels = self.shape(x)
        return self._add(Layer("flatten", name, (x,), (1, 1, height * width * channels)))

    def dense(self, name: str, x: str, units: int) -> str:
        """A fully connected layer with bias."""
        return self._add(Layer("dense", name, (x,), (1, 1, units), use_bias=True))

    def _add(self, layer: Layer) -> str:
        self.layers[layer.name] = layer
        return layer.name

    def _strided(self, x: str, kernel_size: int, stride: int, padding: str, name: str) -> tuple[int, int, int]:
        height, width, channels = self.shape(x)
        if min(height, width) < (kernel_size if padding == "valid" else stride if stride > 1 else 1):
            what = f"kernel {kernel_size}" if padding == "valid" else f"stride {stride}"
            raise CandidateError(f"{name}: {what} does not fit an input of {height}x{width} pixels")
        if padding == "valid":
            return (height - kernel_size) // stride + 1, (width - kernel_size) // stride + 1, channels
        return -(-height // stride), -(-width // stride), channels

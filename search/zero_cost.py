"""Zero-cost proxies: what an untrained network promises, in a second instead of a training.

- naswot: how differently a network's ReLUs treat the images of a batch (Mellor et al. 2021,
  https://arxiv.org/abs/2006.04647).
- synflow: how much the weights take part in the flow through the network (Tanaka et al. 2020,
  https://arxiv.org/abs/2006.05467); logsynflow dampens its gradients (Cavagnero et al. 2023, "FreeREA",
  https://arxiv.org/abs/2207.05135). Both without batch norms, as in Abdelfattah et al. 2021
  (https://arxiv.org/abs/2101.08134).
- params, macs: larger networks are mostly better.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from core.keras_env import keras, reset, tf

import numpy as np
from numpy.typing import NDArray

from core.errors import CandidateError
from core.registry import check_name
from search.build import build
from search.evaluate import Candidate, Evaluation, computed_metrics
from search.settings import PROXIES, PROXY_SCORE

Images = NDArray[np.float32]
Proxy = Callable[[keras.Model, Images], float]

# Activations that switch at 0; a sigmoid gate (squeeze-and-excitation) has no two linear pieces.
_SWITCHES = ("relu", "relu6", "swish", "silu", "hard_swish", "gelu", "elu", "selu", "leaky_relu")
_GATES = ("sigmoid", "hard_sigmoid")
_SWITCH_LAYERS = (keras.layers.ReLU, keras.layers.LeakyReLU, keras.layers.PReLU, keras.layers.ELU)


def naswot(model: keras.Model, images: Images) -> float:
    """log |det K|, K[i, j] being the number of units that are on for both images i and j or off for both.

    Batch norms use the batch's statistics, their moving averages stay as they are.

    Args:
      images: [batch, R, R, 3] as the network takes them; the proxy is comparable between networks on the same images.

    Raises CandidateError if the network treats two images alike, or has no such unit.
    """
    outputs = [layer.output for layer in model.layers if _switches(layer)]
    if not outputs:
        raise CandidateError("naswot: the network has no activation that switches at 0")
    weights = model.get_weights()
    activations = keras.Model(model.inputs, outputs)(tf.constant(images), training=True)
    model.set_weights(weights)
    kernel = np.zeros((len(images), len(images)))
    for activation in activations if isinstance(activations, list) else [activations]:
        on = (activation.numpy() > 0).reshape(len(images), -1).astype(np.float32)
        kernel += on @ on.T + (1 - on) @ (1 - on).T
    sign, log_determinant = np.linalg.slogdet(kernel)
    if sign <= 0:
        raise CandidateError(f"naswot: the network treats some of the {len(images)} images alike")
    return float(log_determinant)


def synflow(model: keras.Model, images: Images) -> float:
    """Sum over the weights of |w| * dR/d|w|, R being the sum of the outputs of the linear network with weights |w| for
    an image of ones. Sigmoid gates are open, as they are for so large inputs."""
    return sum(float((weight * slope).sum()) for weight, slope in _flow(model, images.shape[1:]))


def logsynflow(model: keras.Model, images: Images) -> float:
    """Sum over the weights of |w| * log(1 + dR/d|w|), otherwise as synflow."""
    return sum(float((weight * np.log1p(slope)).sum()) for weight, slope in _flow(model, images.shape[1:]))


def params(model: keras.Model, images: Images) -> float:
    """The number of weights, those of batch norms included."""
    return float(model.count_params())


def macs(model: keras.Model, images: Images) -> float:
    """Multiply-accumulates of convolutions and dense layers, for one image."""
    return float(sum(_macs(layer) for layer in model.layers))


_PROXIES: dict[str, Proxy] = {
    "naswot": naswot,
    "synflow": synflow,
    "logsynflow": logsynflow,
    "params": params,
    "macs": macs,
}


def proxy(name: str) -> Proxy:
    """The proxy of this name. Raises UsageError for an unknown one."""
    return _PROXIES[check_name(dict.fromkeys(PROXIES), name, "config.search.proxy")]


@dataclass
class ZeroCostEvaluator:
    """A search.evaluate.Evaluator that trains nothing.

    Attributes:
      proxy: its name; the metrics are its value under that name, and `PROXY_SCORE`, the same pressed into 0..1.
      images: [batch, R, R, 3] in 0..1, the same for every candidate; 32 to 128 are usual.
      inits: the value is the mean over this many initializations.
      seconds: of the latest evaluation.
    """

    proxy: str
    images: Images
    inits: int = 1
    seconds: dict[str, float] = field(default_factory=dict)

    def evaluate(self, candidate: Candidate, epochs: int) -> Evaluation:
        """Metrics `proxy`, PROXY_SCORE, macs, params, peak_memory_bytes. `epochs` do not matter.

        Raises CandidateError if the network cannot be built, or the proxy has no finite value for it.
        """
        started = time.perf_counter()
        computed = computed_metrics(candidate.arch)
        values = []
        for number in range(self.inits):
            reset(candidate.seed + number)
            values.append(proxy(self.proxy)(build(candidate.arch), self.images))
        value = float(np.mean(values))
        if not math.isfinite(value):
            raise CandidateError(f"{self.proxy} is {value}")
        self.seconds = {"proxy": time.perf_counter() - started}
        metrics = {PROXY_SCORE: float(bounded(value)), **computed, self.proxy: value}
        return Evaluation(metrics, dict(self.seconds))


def bounded(value: float) -> float:
    """A value of any size pressed into 0..1, in the same order."""
    return 0.5 + math.atan(math.copysign(math.log1p(abs(value)), value)) / math.pi


def _switches(layer: keras.layers.Layer) -> bool:
    if isinstance(layer, _SWITCH_LAYERS):
        return True
    return getattr(getattr(layer, "activation", None), "__name__", "") in _SWITCHES


def _flow(model: keras.Model, shape: tuple[int, ...]) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Each weight tensor's absolute values, and R's slope in them. float64: R grows with every layer."""
    linear = keras.models.clone_model(model, clone_function=_linear)
    originals = {layer.name: layer for layer in model.layers}
    for layer in linear.layers:
        if layer.weights:
            layer.set_weights([np.abs(weight) for weight in originals[layer.name].get_weights()])
    variables = linear.trainable_variables
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(linear(tf.ones((1, *shape), tf.float64), training=False))
    slopes = tape.gradient(total, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return [(variable.numpy(), slope.numpy()) for variable, slope in zip(variables, slopes, strict=True)]


def _linear(layer: keras.layers.Layer) -> keras.layers.Layer:
    """The layer in float64; batch norms and activations become the identity, gates are open.

    (A linear gate would square the flow, and square it again in the next block: 1e308 is soon passed.)
    """
    if getattr(getattr(layer, "activation", None), "__name__", "") in _GATES and not layer.weights:
        return keras.layers.Lambda(tf.ones_like, name=layer.name, dtype="float64")
    identity = (keras.layers.BatchNormalization, keras.layers.Activation, keras.layers.Softmax, keras.layers.Dropout)
    config: dict[str, Any] = layer.get_config() | {"dtype": "float64"}
    if isinstance(layer, (*identity, *_SWITCH_LAYERS)):
        return keras.layers.Activation("linear", name=layer.name, dtype="float64")
    if "activation" in config:
        config["activation"] = "linear"
    return layer.__class__.from_config(config)


def _macs(layer: keras.layers.Layer) -> int:
    if isinstance(layer, keras.layers.DepthwiseConv2D | keras.layers.Conv2D):
        # A depthwise kernel [k, k, channels, multiplier] is used at each pixel as a convolution's [k, k, in, out] is.
        kernel = layer.depthwise_kernel if isinstance(layer, keras.layers.DepthwiseConv2D) else layer.kernel
        _, height, width, _ = layer.output_shape
        return int(height * width * np.prod(kernel.shape))
    if isinstance(layer, keras.layers.Dense):
        return int(np.prod(layer.kernel.shape) * np.prod(layer.output_shape[1:-1]))
    return 0

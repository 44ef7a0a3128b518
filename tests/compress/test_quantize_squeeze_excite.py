"""Convolutions with a ReLU but no batch norm, as in squeeze-excite: tfmot leaves their weights unquantized."""

from __future__ import annotations

from core.keras_env import keras, reset

import numpy as np
import pytest

from compress.finetune import FineTune
from compress.invariants import Invariants, kernel_variable, observe
from compress.passes.quantize import Quantize
from compress.settings import QuantizeSettings
from search.build import build
from search.dataset import ImageSet
from search.grammar import from_text
from search.settings import TrainConfig
from search.train import labels_supervision

ARCH = from_text("input_r16_n3_w1 stem_s2_c8 ir_r1_k3_s2_e2_c16_se0.25 head_c16")


@pytest.fixture(scope="module")
def fine_tune() -> FineTune:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (32, 16, 16, 3), dtype=np.uint8)
    train = ImageSet(images, (np.arange(32) % 3).astype(np.int32), np.arange(32))
    return FineTune(train, labels_supervision(3), TrainConfig(epochs=2, batch_size=8), "none", seed=1)


@pytest.fixture(scope="module")
def half_zero() -> keras.Model:
    reset(1)
    model = build(ARCH)
    for layer in model.layers:
        if isinstance(layer, (keras.layers.Conv2D, keras.layers.Dense)) and "_dw" not in layer.name:
            kernel = kernel_variable(layer).numpy()
            kernel_variable(layer).assign(np.where(np.abs(kernel) < np.median(np.abs(kernel)), 0.0, kernel))
    return model


def test_every_kernel_keeps_its_zeros_and_is_quantized(half_zero: keras.Model, fine_tune: FineTune) -> None:
    promised = tuple((state.layer, state.sparsity) for state in observe(half_zero) if state.sparsity > 0.1)
    assert "s0_b0_se_reduce" in dict(promised)
    quantize = Quantize(QuantizeSettings())
    wrapped = quantize.wrap(half_zero, Invariants(sparsity=promised), fine_tune)
    for layer in wrapped.layers:
        if any("kernel" in weight.name for weight in layer.weights):
            assert layer.quantize_config.get_weights_and_quantizers(layer.layer), layer.name
    fine_tune.run(wrapped, quantize.callbacks(), "quantize")
    found = {state.layer: state.sparsity for state in observe(quantize.strip(wrapped))}
    assert {layer: found[layer] for layer, _ in promised} == dict(promised)

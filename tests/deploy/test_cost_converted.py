"""The cost that search.cost computes from a spec is the cost of the .tflite that the network is converted to."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

from core.keras_env import keras, reset

import numpy as np
import pytest
from ai_edge_litert.tools import flatbuffer_utils

from core.errors import CandidateError
from deploy.convert import convert
from deploy.memory import activation_steps, peak_activation_bytes
from deploy.tracing import frozen_graph, scoring_function
from search.arch import CELL_EDGES, ArchSpec, BlockSpec, StageSpec
from search.blocks.table import BLOCKS
from search.build import build
from search.cost import cost
from search.grammar import from_text
from search.lowering import layers_of
from search.named import network, space
from search.networks import NETWORKS
from search.spaces import SPACES
from search.tf_graph import nodes_of
from search.tflite_plan import operators_of

# Their conversion takes a second or two; that of the others more.
QUICK_NETWORKS = {"mobilenet_v3_small": 32, "resnet8": 32, "squeezenet_1_1": 64}
QUICK_SPACES = ("mixed_small", "mobilenet_v2_small_se")
# Two strides more than others, or valid pooling: too small an image leaves them no pixel.
LARGER = {"alexnet": 96, "squeezenet_1_1": 64}


def model_of(arch: ArchSpec) -> keras.Model:
    """With random weights as of a trained network; with fresh ones, equal biases would be one constant of the file.

    No layer gives only zeros: LiteRT refuses the quantization of such a layer.
    """
    reset(0)
    model, draw = build(arch), np.random.default_rng(0)
    ranges = dict.fromkeys(("beta", "bias"), (0.3, 0.7)) | {"moving_mean": (-0.2, 0.2)}
    ranges |= dict.fromkeys(("gamma", "moving_variance"), (0.5, 1.5))
    for weight in model.weights:
        kind = weight.name.split("/")[-1].removesuffix(":0")
        weight.assign(draw.uniform(*ranges[kind], weight.shape) if kind in ranges else 0.3 * weight)
    return model


def converted(model: keras.Model, resolution: int) -> bytes:
    images = np.random.default_rng(0).uniform(0, 1, (2, resolution, resolution, 3)).astype(np.float32)
    images[0, 0, 0], images[1, 0, 0] = 0, 1
    return convert(model, "full_integer", images).content


def macs_of_file(content: bytes) -> int:
    """Of each operator with a kernel: all kernel values (depthwise: the same) at each place of the output."""
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    graph, total = model.subgraphs[0], 0
    for operator in graph.operators:
        name = flatbuffer_utils.opcode_to_name(model, operator.opcodeIndex)
        if name in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
            places = graph.tensors[operator.outputs[0]].shape[1:-1]
            total += math.prod(graph.tensors[operator.inputs[1]].shape) * math.prod(places)
    return int(total)


def check(arch: ArchSpec) -> None:
    model = model_of(arch)
    content, computed = converted(model, arch.resolution), cost(arch)
    planned = [(operator.name, operator.output_bytes) for operator in operators_of(layers_of(arch))]
    assert planned == [(step.operator, step.output_bytes) for step in activation_steps(content)]
    assert computed.peak_memory_bytes == peak_activation_bytes(content)
    assert computed.params == model.count_params()
    assert computed.macs == macs_of_file(content)
    # The weights are counted exactly, tables and names nearly: within 0.7 kB for the networks that it was fitted to.
    assert computed.int8_size_bytes == pytest.approx(len(content), rel=0.001, abs=1000)


def test_fresh_weights_share_their_biases() -> None:
    """Zeros of one length are one constant, which the estimate does not know."""
    arch = network("mobilenet_v2_small", 32, 10)
    reset(0)
    content = converted(build(arch), arch.resolution)
    assert len(content) <= cost(arch).int8_size_bytes <= 1.05 * len(content) + 20_000


def blocks() -> Iterator[tuple[str, BlockSpec]]:
    for op, block in BLOCKS.items():
        edges = tuple(("skip", "conv1x1", "conv3x3", "avg3x3", "conv1x1", "conv3x3")[: len(CELL_EDGES)])
        fields = {"kernel_size": 3, "expand_ratio": 2, "se_ratio": 0.25, "groups": 2, "start_kernel_size": 3}
        fields = {name: value for name, value in fields.items() if name in block.fields}
        edge = {"edges": edges} if "edges" in block.fields else {}
        yield op, BlockSpec(op=op, out_channels=16, activation="hswish", **fields, **edge)
        if "stride" in block.fields:
            yield f"{op}-stride2", BlockSpec(op=op, out_channels=32, stride=2, **fields)


@pytest.mark.parametrize("block", [pytest.param(block, id=name) for name, block in blocks()])
def test_every_block(block: BlockSpec) -> None:
    check(ArchSpec(16, (StageSpec((block,), 1),), 24, resolution=16, num_classes=10))


# What the blocks alone do not show: the parts of a network around them, and where the converter is odd.
ODD = {
    "no stem, no head": "input_r16_n2_w1 stem_s1_c0 conv_r1_k3_s2_c4 head_c0",
    "only pools": "input_r16_n2_w1 stem_s1_c0 max_r1_k3_s1_explicit avg_r1_k3_s2 head_c0",
    "biases instead of norms": "input_r16_n10_w1_nobn stem_s2_c8_hswish fire_r1_k3_c16_relu head_c16_u20_hswish",
    "biases and norms": "input_r16_n10_w1_biasbn stem_s2_c8 ir_r2_k3_s2_e2_c8_swish head_c16_u20_unorm_hswish",
    "pooled scores": "input_r16_n10_w1 stem_s2_c8 fire_r1_k3_c16 head_c0_relu_scores",
    "flatten": "input_r16_n10_w1 stem_s2_c8 conv_r1_k3_s1_c8_valid head_c0_u20_flatten",
    "one reshape at the end": "input_r16_n10_w1 stem_s2_c8 shuffle2_r1_k3_s1_c8_relu head_c0_flatten",
    "norms by themselves": "input_r16_n10_w1 stem_s2_c8 bn_r2_linear bn_r1_relu head_c0",
    "norms that fold": "input_r16_n10_w1 stem_s2_c8_linear bn_r2_linear bn_r1_hswish head_c0",
    "one pixel": "input_r8_n10_w1 stem_s2_c8 ds_r2_k3_s2_c8 ir_r1_k3_s2_e1_c8_se0.5 head_c0_u5_unorm",
    "padding fused": "input_r15_n10_w1 stem_s2_c8 conv_r2_k3_s1_c8_relu_explicit conv_r1_k3_s2_c8_explicit head_c0",
    "relu after hard swish": "input_r16_n10_w1_nobn stem_s2_c8_hswish bn_r1_relu bn_r2 head_c0",
    "equal edges": "input_r16_n10_w1 stem_s2_c8 cell_r1_c8_x122123 cell_r2_c8_x422132 reduce_r1_c16 head_c0",
    "shuffle of single channels": "input_r16_n10_w1 stem_s2_c8 shuffle2_r1_k3_s1_c2 head_c0",
    "ten blocks": "input_r16_n10_w1 stem_s1_c0 shuffle2_r11_k3_s1_c8_relu head_c0",
}


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in ODD.items()])
def test_around_the_blocks(text: str) -> None:
    check(from_text(text))


@pytest.mark.parametrize("name", QUICK_NETWORKS)
def test_small_networks(name: str) -> None:
    check(network(name, QUICK_NETWORKS[name], 10))


@pytest.mark.parametrize("name", QUICK_SPACES)
def test_a_sample_of_small_spaces(name: str) -> None:
    check(sample(name, seed=1))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NETWORKS if name not in QUICK_NETWORKS])
def test_every_network(name: str) -> None:
    check(network(name, LARGER.get(name, 32), 10))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", SPACES)
def test_samples_of_every_space(name: str, seed: int) -> None:
    check(sample(name, seed))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3_large", "efficientnet_b0", "resnet50", "vgg16"])
def test_full_size(name: str) -> None:
    check(network(name, 224, 1000))


def sample(name: str, seed: int) -> ArchSpec:
    named, draw = space(name, 32, 10), random.Random(seed)
    while True:
        arch = named.decode(tuple(draw.randrange(len(gene.choices)) for gene in named.genes))
        try:
            layers_of(arch)
        except CandidateError:  # a cell without a path through it
            continue
        return arch


@pytest.mark.parametrize("text", [ODD["biases and norms"], ODD["equal edges"], ODD["padding fused"]])
def test_nodes_are_those_of_the_graph(text: str) -> None:
    """Names and operands are, by which the converter orders the operators."""
    arch = from_text(text)
    graph = frozen_graph(scoring_function(build(arch)))
    found = {node.name: list(node.input) for node in graph.node if node.op not in ("Const", "Identity", "NoOp")}
    assert found == {node.name: [*node.inputs, *node.constants] for node in nodes_of(layers_of(arch))}


def test_steps_of_a_converted_network_by_hand() -> None:
    """A pooled image: 16 x 16 x 3 in uint8 and int8, pooled to 8 x 8 x 3, the mean, two classes."""
    content = converted(model_of(from_text("input_r16_n2_w1 stem_s1_c0 avg_r1_k3_s2 head_c0")), 16)
    steps = [(step.operator, step.output_bytes, step.alive_bytes) for step in activation_steps(content)]
    assert steps == [
        ("QUANTIZE", 768, 768 + 768),
        ("AVERAGE_POOL_2D", 192, 768 + 192),
        ("MEAN", 3, 192 + 3),
        ("FULLY_CONNECTED", 2, 3 + 2),
        ("SOFTMAX", 2, 2 + 2),
        ("QUANTIZE", 2, 2 + 2),
    ]
    assert peak_activation_bytes(content) == 1536

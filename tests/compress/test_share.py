"""Sharing blocks across depth: which are shared, what the network computes, and that it can be stored."""

from __future__ import annotations

from pathlib import Path

from core.keras_env import keras, reset

import numpy as np
import pytest

from compress.invariants import Invariants
from compress.passes.share import FixedNormalization, Share
from compress.settings import ShareSettings
from compress.sharing import groups_of, with_shared
from compress.storage import copy_of, load_model, named_weights, save_model
from core.errors import CandidateError
from search.build import build
from search.grammar import from_text
from tests.compress.nets import blob_images, fine_tune

L = keras.layers
TEXT = "input_r12_n4_w1 stem_s1_c8 ir_r3_k3_s2_e2_c8 ir_r1_k3_s1_e2_c8+ir_r1_k5_s1_e2_c8+ir_r1_k3_s1_e2_c8 head_c16"


def network(text: str = TEXT) -> keras.Model:
    """A network whose weights are all its own, normalizations included."""
    reset(1)
    model = build(from_text(text))
    rng = np.random.default_rng(0)
    for variable in model.weights:
        if "kernel" not in variable.name:
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
    return model


def pixels(count: int = 4) -> np.ndarray:
    return blob_images(count).rgb().astype(np.float32) / 255


def first_layers(model: keras.Model) -> list[list[str]]:
    """Of each group, the first layer of each block."""
    return [[block[0] for block in group.blocks] for group in groups_of(model)]


def test_equal_blocks_of_a_stage_are_found() -> None:
    """The first block of a stage has another stride; in the second, the middle one has another kernel."""
    assert first_layers(network()) == [
        ["s0_b1_expand_conv", "s0_b2_expand_conv"],
        ["s1_b0_expand_conv", "s1_b2_expand_conv"],
    ]


def test_excluded_blocks_share_nothing() -> None:
    groups = groups_of(network(), ("s0_b2_dw",))
    assert [[block[0] for block in group.blocks] for group in groups] == [["s1_b0_expand_conv", "s1_b2_expand_conv"]]
    with pytest.raises(CandidateError, match="share: no two blocks"):
        Share(ShareSettings(exclude=("*",))).wrap(network(), Invariants(), fine_tune(blob_images(8)))


def test_shared_network_computes_what_equal_blocks_compute() -> None:
    """A network with the first block's weights copied into the others, and one that uses the first several times."""
    model = network()
    groups = groups_of(model)
    shared = with_shared(model, groups)
    weights = named_weights(model)
    for group in groups:
        for names in zip(*group.blocks, strict=True):
            for name in names[1:]:
                for variable in model.get_layer(name).weights:
                    own = variable.name.split("/")[-1].split(":")[0]
                    variable.assign(weights[f"{names[0]}/{own}"])
    np.testing.assert_allclose(shared(pixels()), model(pixels()), rtol=1e-5, atol=1e-6)  # sums in another order
    saved = sum(int(np.prod(weights[key].shape)) for key in weights if key.startswith(("s0_b2_", "s1_b2_")))
    assert shared.count_params() == model.count_params() - saved
    assert len(shared.get_layer("s0_b1_dw").inbound_nodes) == 2


def test_shared_network_survives_saving(tmp_path: Path) -> None:
    model = network()
    shared = with_shared(model, groups_of(model))
    save_model(shared, tmp_path)
    for other in (load_model(tmp_path), copy_of(shared)):
        assert named_weights(other).keys() == named_weights(shared).keys()
        assert len(other.get_layer("s1_b0_project_conv").inbound_nodes) == 2
        np.testing.assert_array_equal(other(pixels()), shared(pixels()))
    assert groups_of(shared) == ()  # a block that is used twice is not shared again


def user_network(second_filters: int = 16) -> keras.Model:
    """Residual blocks under other names, two of which are the same, and a stack of dense layers."""
    reset(2)
    image = keras.Input((12, 12, 3), name="image")
    x = L.Conv2D(16, 3, padding="same", name="first")(image)
    for number, filters in enumerate((16, second_filters, 16)):
        y = L.BatchNormalization(name=f"norm{number}")(L.Conv2D(filters, 3, padding="same", name=f"conv{number}")(x))
        y = L.Conv2D(16, 1, name=f"back{number}")(L.ReLU(name=f"relu{number}")(y))
        x = L.Add(name=f"add{number}")([y, x])
    x = L.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, L.Dense(4, name="logits")(x))


def test_repeated_layers_of_a_user_model_are_found() -> None:
    (group,) = groups_of(user_network())
    assert [len(block) for block in group.blocks] == [5, 5, 5]
    names = {name[-1] for name in group.blocks[1]}
    assert names == {"1"}  # one block, and nothing of its neighbours
    assert groups_of(user_network(24)) == ()  # equal blocks that are not neighbours


def test_a_pass_trains_with_the_statistics_that_stay() -> None:
    model, images = network(), blob_images(64)
    tune = fine_tune(images, epochs=1, batch_size=32)
    compress_pass = Share(ShareSettings())
    wrapped = compress_pass.wrap(copy_of(model), Invariants(), tune)
    norms = [layer for layer in wrapped.layers if isinstance(layer, keras.layers.BatchNormalization)]
    fixed = {layer.name for layer in norms if type(layer) is FixedNormalization}
    assert fixed == {layer.name for layer in norms if len(layer.inbound_nodes) > 1} and 0 < len(fixed) < len(norms)
    before = named_weights(wrapped)
    tune.run(wrapped, compress_pass.callbacks(), "share")
    stripped = copy_of(compress_pass.strip(wrapped))
    after = named_weights(stripped)
    assert before.keys() == after.keys()
    assert not any(type(layer) is FixedNormalization for layer in stripped.layers)
    changed = {key for key in after if not np.array_equal(before[key], after[key])}
    assert {"s0_b1_dw/depthwise_kernel", "s0_b1_dw_bn/gamma", "stem_bn/moving_mean"} <= changed
    assert not {f"{name}/moving_mean" for name in fixed} & changed
    assert {name.split("_")[1] for name in compress_pass.promises().gone} == {"b2"} and compress_pass.arch("text") == ""


def test_nothing_to_share_is_one_clear_line() -> None:
    model = network("input_r12_n4_w1 stem_s1_c8 ir_r1_k3_s2_e2_c8 ir_r1_k3_s2_e2_c16 head_c16")
    with pytest.raises(CandidateError, match="share: no two blocks of a stage have the same shapes"):
        Share(ShareSettings()).wrap(model, Invariants(), fine_tune(blob_images(8)))

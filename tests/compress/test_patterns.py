"""What the patterns of `exclude`, `layer_sparsity` and `layer_clusters` mean after passes that change the network."""

from __future__ import annotations

from core.keras_env import keras, reset

import numpy as np
import pytest

from compress.invariants import Invariants
from compress.passes.cluster import Cluster
from compress.passes.low_rank import LowRank
from compress.passes.prune import Prune, layer_sparsities
from compress.passes.share import Share
from compress.passes.structured_prune import StructuredPrune
from compress.run import apply_pass
from compress.settings import (
    ClusterSettings,
    LowRankSettings,
    PassSpec,
    PruneSettings,
    Settings,
    ShareSettings,
    StructuredSettings,
)
from core.errors import CandidateError
from search.build import build
from search.grammar import from_text
from tests.compress.nets import blob_images, fine_tune

L = keras.layers
IMAGES = blob_images(32)
TEXT = "input_r12_n4_w1 stem_s2_c16_relu basic_r4_k3_s1_c16_relu head_c0"


def residual_network() -> keras.Model:
    """Four equal blocks, the first two of which do nothing that matters."""
    reset(1)
    model = build(from_text(TEXT))
    for name in ("s0_b0_2_bn", "s0_b1_2_bn"):
        model.get_layer(name).gamma.assign(np.full(16, 1e-3))
    return model


def without_first_blocks(exclude: tuple[str, ...] = (), rounds: int = 1) -> tuple[keras.Model, Invariants]:
    """Each round takes one block."""
    model, known = residual_network(), Invariants()
    for _ in range(rounds):
        settings = StructuredSettings(
            0.8, "macs", "bn_gamma", exclude=("stem_*", *exclude), blocks=True, channel_multiple=16
        )
        result = apply_pass(PassSpec("structured_prune", settings), model, known, fine_tune(IMAGES, 1), IMAGES)
        model, known = result.model, result.invariants
    return model, known


@pytest.mark.parametrize("rounds", [1, 2])
def test_blocks_that_move_up_keep_their_patterns(rounds: int) -> None:
    model, known = without_first_blocks(rounds=rounds)
    names = {layer.name for layer in model.layers}
    last = f"s0_b{3 - rounds}_1_conv"  # once s0_b3_1_conv
    assert last in names and "s0_b3_1_conv" not in names
    settings = PruneSettings(0.0, 0.5, exclude=("s0_b3_*",), layers=(("s0_b2_1_conv", 0.8), ("s0_b0_*", 0.7)))
    found = layer_sparsities(model, settings, IMAGES, known)
    assert last not in found
    assert [name for name, sparsity in found.items() if sparsity == 0.8] == [f"s0_b{2 - rounds}_1_conv"]
    assert 0.7 not in found.values()  # that block is gone, though a block has its name now


def test_excluded_blocks_stay_in_every_round() -> None:
    _, known = without_first_blocks(exclude=("s0_b1_*",), rounds=2)
    assert {"s0_b0_1_conv", "s0_b0_add"} <= set(known.gone)
    assert not any(name.startswith("s0_b1_") for name in known.gone)


def dense_network() -> keras.Model:
    reset(2)
    image = keras.Input((12, 12, 3), name="image")
    x = L.Flatten(name="flatten")(image)
    for name in ("a", "a_u", "b"):
        x = L.Dense(32, activation="relu", name=name)(x)
    return keras.Model(image, L.Dense(4, name="scores")(x), name="dense_network")


def factorized() -> tuple[keras.Model, Invariants]:
    compress_pass = LowRank(LowRankSettings(0.5, exclude=("a_u", "scores")))
    model = compress_pass.wrap(dense_network(), Invariants(), fine_tune(IMAGES))
    return model, compress_pass.promises()


def test_factors_go_by_the_name_of_their_layer() -> None:
    model, known = factorized()
    names = {layer.name for layer in model.layers}
    assert {"a_1_u", "a_1_v", "a_u"} <= names  # a_u is the user's own
    assert dict(known.origins)["a_1_u"] == "a"
    tune = fine_tune(IMAGES)
    prune = Prune(PruneSettings(0.0, 0.5, exclude=("a",), layers=(("a_u", 0.8),)))
    prune.wrap(model, known, tune)
    found = dict(prune.promises().sparsity)
    assert {"a_1_u", "a_1_v"}.isdisjoint(found) and found["a_u"] > 0.7 > found["scores"]
    cluster = Cluster(ClusterSettings(16, layers=(("a", 4),)))
    cluster.wrap(factorized()[0], known, tune)
    assert {name for name, most in cluster.promises().clusters if most == 4} == {"a_1_u", "a_1_v"}
    if any(name.startswith("b_") for name in names):
        with pytest.raises(CandidateError, match=r"^config\.compress\.exclude: 'b_u' matches no layer"):
            Prune(PruneSettings(0.0, 0.5, exclude=("b_u",))).wrap(factorized()[0], known, tune)


WRONG = ("b", "conv_9*")


@pytest.mark.parametrize(
    ("compress_pass", "settings"),
    [
        (StructuredPrune, StructuredSettings(0.5, exclude=WRONG)),
        (LowRank, LowRankSettings(0.5, exclude=WRONG)),
        (Share, ShareSettings(exclude=WRONG)),
        (Prune, PruneSettings(0.0, 0.5, exclude=WRONG)),
        (Prune, PruneSettings(0.0, 0.5, exclude=WRONG, pattern="2:4")),
        (Cluster, ClusterSettings(8, exclude=WRONG)),
    ],
)
def test_a_pattern_without_a_layer_is_refused(compress_pass: type, settings: Settings) -> None:
    message = (
        r"^config\.compress\.exclude: 'conv_9\*' matches no layer of dense_network; expected one of image, flatten,"
    )
    with pytest.raises(CandidateError, match=message):
        compress_pass(settings).wrap(dense_network(), Invariants(), fine_tune(IMAGES))


@pytest.mark.parametrize(
    ("compress_pass", "where"),
    [
        (Prune(PruneSettings(0.0, 0.5, exclude=("a",), layers=(("b", 0.6), ("a", 0.7)))), "layer_sparsity"),
        (Cluster(ClusterSettings(8, exclude=("a",), layers=(("b", 6), ("a", 7)))), "layer_clusters"),
    ],
)
def test_a_number_for_a_layer_that_is_left_alone_is_refused(compress_pass: Prune | Cluster, where: str) -> None:
    message = rf"^config\.compress\.{where}: 'a' matches none of the layers .* expected one of a_u, b, scores$"
    with pytest.raises(CandidateError, match=message):
        compress_pass.wrap(dense_network(), Invariants(), fine_tune(IMAGES))


def test_what_passes_say_of_names_adds_up() -> None:
    first = Invariants(origins=(("s0_b0", "s0_b1"), ("s0_b1", "s0_b2")), gone=("s0_b0",))
    second = Invariants(origins=(("s0_b0", "s0_b1"), ("c_u", "c")), gone=("s0_b0",))
    both = first.merged(second)
    assert dict(both.origins) == {"s0_b0": "s0_b2", "s0_b1": "s0_b2", "c_u": "c"}
    assert both.gone == ("s0_b0", "s0_b1")

from __future__ import annotations

import numpy as np
import pytest

from compress.invariants import observe
from compress.passes.cluster import Cluster, k_means
from compress.run import apply_pass
from compress.settings import ClusterSettings, PassSpec
from core.errors import CandidateError
from tests.compress.nets import blob_images, fine_tune, prepared, small_network


def test_depthwise_kernels_and_single_layers_get_their_numbers_and_keep_their_zeros() -> None:
    model, images = small_network(), blob_images(64)
    earlier = prepared(model, ("prune",))
    settings = ClusterSettings(8, exclude=("stem_*",), depthwise=True, layers=(("head_*", 4), ("*_conv", 6)))
    result = apply_pass(PassSpec("cluster", settings), model, earlier, fine_tune(images, epochs=1), images)
    assert dict(result.invariants.clusters) == {
        "s0_b0_expand_conv": 6,
        "s0_b0_dw": 8,
        "s0_b0_se_reduce": 8,
        "s0_b0_se_expand": 8,
        "s0_b0_project_conv": 6,
        "head_conv": 4,
        "logits": 8,
    }
    before = {state.layer: state for state in observe(model)}
    found = {state.layer: state for state in result.states}
    for layer, most in result.invariants.clusters:
        assert 1 < found[layer].unique_values <= most
        assert found[layer].sparsity >= before[layer].sparsity
    assert found["stem_conv"] == before["stem_conv"]  # pruned and not clustered: nothing else would keep its zeros
    assert type(result.model.get_layer("s0_b0_dw")).__name__ == "DepthwiseConv2D"


def test_nothing_to_cluster_is_refused() -> None:
    model = small_network()
    with pytest.raises(CandidateError, match="nothing to cluster"):
        Cluster(ClusterSettings(8, exclude=("*",))).wrap(model, prepared(model, ()), fine_tune(blob_images(8)))


def distances(weights: np.ndarray, centroids: np.ndarray) -> float:
    return float(np.square(weights[:, None] - centroids).min(axis=1).sum())


@pytest.mark.parametrize("fixed_zero", [None, 3])
def test_k_means_is_lloyds_from_the_same_start(fixed_zero: int | None) -> None:
    """Against the textbook's loop over all distances, on weights with ties, from centroids in any order."""
    rng = np.random.default_rng(0)
    weights = rng.normal(size=500).round(2).astype(np.float32)
    start = rng.permutation(np.linspace(-2, 2, 8)).astype(np.float32)
    if fixed_zero is not None:
        start[fixed_zero] = 0.0
    expected, used = start.astype(np.float64), weights if fixed_zero is None else weights[weights != 0]
    for _ in range(20):
        members = np.abs(used[:, None] - expected).argmin(axis=1)
        expected = np.array([used[members == i].mean() if (members == i).any() else c for i, c in enumerate(expected)])
        if fixed_zero is not None:
            expected[fixed_zero] = 0.0
    found = k_means(weights, start, fixed_zero)
    assert found.dtype == np.float32
    # Weights halfway between two centroids may go to either, in any round.
    assert distances(used, found) == pytest.approx(distances(used, expected), rel=0.02)
    assert distances(used, found) <= distances(used, start)
    np.testing.assert_array_equal(np.argsort(found), np.argsort(start))
    assert fixed_zero is None or found[fixed_zero] == 0.0


def test_k_means_of_one_value_leaves_empty_clusters_where_they_are() -> None:
    start = np.array([-1.0, 0.5, 2.0], np.float32)
    np.testing.assert_array_equal(k_means(np.full(9, 0.75, np.float32), start, None), np.float32([-1.0, 0.75, 2.0]))

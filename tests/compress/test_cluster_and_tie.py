from __future__ import annotations

from core.keras_env import keras, tf

import numpy as np
import pytest

from compress.invariants import Invariants, check, kernel_variable, observe
from compress.passes.cluster import Cluster
from compress.passes.prune import Prune
from compress.passes.quantize import Quantize
from compress.passes.tie import Tie
from compress.run import apply_pass
from compress.settings import ClusterSettings, PruneSettings, QuantizeSettings
from compress.storage import copy_of
from core.errors import CandidateError
from tests.compress.nets import CLUSTERS, SPECS, blob_images, fine_tune, prepared, small_network

KERNEL = np.array([[0.0, 1.0], [-2.0, 1.0]], np.float32)


@pytest.mark.parametrize(
    ("keep_zeros", "keep_shared", "expected"),
    [
        (True, True, [[0, 6], [3, 6]]),  # 2 + 4 for the two ones, none for the pruned weight
        (True, False, [[0, 2], [3, 4]]),
        (False, True, [[1, 6], [3, 6]]),
    ],
)
def test_tie_changes_the_gradient_only(keep_zeros: bool, keep_shared: bool, expected: list[list[int]]) -> None:
    tie, kernel = Tie.of(KERNEL, keep_zeros=keep_zeros, keep_shared=keep_shared), tf.Variable(KERNEL)
    with tf.GradientTape() as tape:
        tied = tie.apply(kernel)
        loss = tf.reduce_sum(tied * [[1.0, 2.0], [3.0, 4.0]])
    np.testing.assert_array_equal(tied, KERNEL)
    np.testing.assert_array_equal(tape.gradient(loss, kernel), expected)


def test_exact_kernel_has_one_value_for_a_group() -> None:
    tie = Tie.of(KERNEL, keep_zeros=True, keep_shared=True)
    moved = np.array([[0.0, 1.5], [-2.5, np.nextafter(np.float32(1.5), 2)]], np.float32)
    np.testing.assert_array_equal(tie.exact(moved), np.array([[0.0, 1.5], [-2.5, 1.5]], np.float32))


def test_excluded_layers_and_depthwise_kernels_are_left_alone() -> None:
    one_step = fine_tune(blob_images(32), epochs=1)
    for compress_pass in (
        Prune(PruneSettings(0.0, 0.5, ("stem_*", "logits"))),
        Cluster(ClusterSettings(8, ("stem_*", "logits"))),
    ):
        model = small_network()
        wrapped = compress_pass.wrap(model, prepared(model, ()), one_step)
        promises = compress_pass.promises()
        chosen = {name for name, _ in promises.sparsity + promises.clusters}
        assert {"head_conv", "s0_b0_se_reduce"} <= chosen
        assert not {name for name in chosen if "dw" in name or name.startswith("stem") or name == "logits"}
        assert wrapped.get_layer("stem_conv") is model.get_layer("stem_conv")


def test_pruned_kernel_with_fewer_weights_than_clusters_keeps_its_zeros() -> None:
    """tfmot does not wrap it, so nothing would hold its zeros in place."""
    model, images = small_network(), blob_images(64)
    kernel = kernel_variable(model.get_layer("logits"))
    few = np.zeros(kernel.shape, np.float32)
    few[: CLUSTERS // 2, 0] = np.linspace(-1, 1, CLUSTERS // 2)
    earlier = prepared(model, ("prune",))
    kernel.assign(few)
    earlier = Invariants(
        tuple((name, float(np.mean(few == 0)) if name == "logits" else s) for name, s in earlier.sparsity)
    )

    result = apply_pass(SPECS["cluster"], model, earlier, fine_tune(images, epochs=1, batch_size=64), images)
    logits = result.model.get_layer("logits")
    np.testing.assert_array_equal(logits.kernel.numpy() == 0, few == 0)
    assert logits.trainable
    check(result.states, result.invariants, "cluster")


def test_pruned_layers_keep_their_zeros_when_another_layer_has_none() -> None:
    """tfmot shares one quantizer among all convolutions: one without zeros would let all the others fill up."""
    model, images = small_network(), blob_images(64)
    earlier = prepared(model, ("prune", "cluster"))
    stem = kernel_variable(model.get_layer("stem_conv"))
    stem.assign(np.where(stem.numpy() == 0.0, 0.1, stem.numpy()))
    earlier = Invariants(earlier.sparsity[1:], earlier.clusters[1:])
    assert "stem_conv" not in dict(earlier.sparsity)

    quantize = Quantize(QuantizeSettings())
    before = {state.layer: state for state in observe(model)}
    one_step = fine_tune(images, epochs=1, batch_size=64)
    wrapped = quantize.wrap(copy_of(model), earlier, one_step)
    one_step.run(wrapped, (), "quantize")
    for state in observe(quantize.strip(wrapped)):
        if state.layer in dict(earlier.sparsity):
            assert state == before[state.layer]


def test_activation_ranges_begin_at_what_the_float_network_does() -> None:
    """tfmot begins at -6..6 and moves by a thousandth a step: larger logits would stay clipped."""
    model, images = small_network(), blob_images(64)
    logits = model.get_layer("logits")
    logits.kernel.assign(logits.kernel * 100.0)
    found = model(images.rgb().astype(np.float32) / 255, training=False).numpy()
    assert found.max() > 6.0

    wrapped = Quantize(QuantizeSettings()).wrap(copy_of(model), Invariants(), fine_tune(images))
    ranges = {
        variable.name.split("/")[-1]: float(variable)
        for variable in wrapped.layers[-1].weights
        if not variable.shape.rank
    }
    assert ranges["output_max:0"] == pytest.approx(found.max(), rel=1e-5)  # float32, another order of sums
    assert ranges["output_min:0"] == pytest.approx(min(found.min(), 0.0), rel=1e-5)


def test_layer_without_integer_form_is_named() -> None:
    image = keras.Input((12, 12, 3))
    model = keras.Model(image, keras.layers.GaussianNoise(0.1, name="noise")(image))
    with pytest.raises(CandidateError, match=r"'noise' \(GaussianNoise\)"):
        Quantize(QuantizeSettings()).wrap(model, prepared(model, ()), fine_tune(blob_images(8)))

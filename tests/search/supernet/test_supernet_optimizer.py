"""AdamW for shared weights: only the elements in use move, and those as in an ordinary AdamW of theirs."""

from __future__ import annotations

from core.keras_env import keras, tf

import numpy as np

from search.supernet.optimizer import MaskedAdamW

SHAPES = ((3, 4), (5,))
DECAY, BOTH = 0.1, (True, True)
NARROW = (np.arange(12).reshape(SHAPES[0]) % 4 < 2, np.arange(5) < 2)
ALL = tuple(np.ones(shape, bool) for shape in SHAPES)


def weights() -> list[tf.Variable]:
    draw = np.random.default_rng(0)
    return [tf.Variable(draw.normal(size=shape).astype(np.float32)) for shape in SHAPES]


def gradients(number: int) -> list[np.ndarray]:
    draw = np.random.default_rng(number + 1)
    return [draw.normal(size=shape).astype(np.float32) for shape in SHAPES]


def state(optimizer: MaskedAdamW, values: list[tf.Variable]) -> list[list[np.ndarray]]:
    """For each of weights, moments and step counts: arrays in the weights' shapes."""
    return [[value.numpy() for value in values], *(optimizer.slots(variable) for variable in optimizer.variables)]


def step(optimizer: MaskedAdamW, number: int, masks: tuple[np.ndarray, ...], rate: float = 0.01) -> None:
    """A step with gradients that are zero outside the masks, as those of a sub-network are."""
    optimizer.accumulate([g * m for g, m in zip(gradients(number), masks, strict=True)], masks)
    optimizer.apply(tf.constant(rate))


def test_a_step_moves_its_own_slice_only_even_where_momentum_and_decay_would_move_more():
    values = weights()
    optimizer = MaskedAdamW(values, DECAY, BOTH)
    for number in range(3):
        step(optimizer, number, ALL)
    before = state(optimizer, values)
    step(optimizer, 3, NARROW)
    after = state(optimizer, values)
    for old_arrays, new_arrays in zip(before, after, strict=True):
        for old, new, mask in zip(old_arrays, new_arrays, NARROW, strict=True):
            np.testing.assert_array_equal(new[~mask], old[~mask])
            assert (new[mask] != old[mask]).all()


def test_an_element_moves_as_in_an_ordinary_adamw_that_sees_only_its_own_steps():
    values, own = weights(), weights()
    optimizer = MaskedAdamW(values, DECAY, BOTH)
    for number in range(6):  # the narrow slice is in every step, the rest in every second one
        step(optimizer, number, NARROW if number % 2 else ALL)
    for steps, outside in ((range(6), False), (range(0, 6, 2), True)):
        own = weights()
        ordinary = keras.optimizers.AdamW(0.01, weight_decay=DECAY)
        ordinary.build(own)
        for number in steps:
            ordinary.apply_gradients(zip([tf.constant(g) for g in gradients(number)], own, strict=True))
        for value, expected, narrow in zip(values, own, NARROW, strict=True):
            part = ~narrow if outside else narrow
            # The sums of rounding errors of six float32 steps of size 0.01.
            np.testing.assert_allclose(value.numpy()[part], expected.numpy()[part], atol=2e-6)


def test_gradients_of_several_networks_are_summed_and_the_union_of_their_slices_moves():
    other = (ALL[0] & (np.arange(12).reshape(SHAPES[0]) >= 8), np.zeros(5, bool))
    values, expected = weights(), weights()
    optimizer, single = MaskedAdamW(values, DECAY, BOTH), MaskedAdamW(expected, DECAY, BOTH)
    masked = [[g * m for g, m in zip(gradients(0), masks, strict=True)] for masks in (NARROW, other)]
    for parts, masks in zip(masked, (NARROW, other), strict=True):
        optimizer.accumulate(parts, masks)
    optimizer.apply(tf.constant(0.01))
    union = [a | b for a, b in zip(NARROW, other, strict=True)]
    single.accumulate([a + b for a, b in zip(*masked, strict=True)], union)
    single.apply(tf.constant(0.01))
    for found, wanted in zip(state(optimizer, values), state(single, expected), strict=True):
        for a, b in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(a, b)
    assert not np.array_equal(values[0].numpy()[other[0]], weights()[0].numpy()[other[0]])


def test_a_slice_that_only_diverged_networks_use_harms_no_other():
    values = weights()
    optimizer = MaskedAdamW(values, DECAY, BOTH)
    bad = [np.where(mask, np.nan, 0).astype(np.float32) for mask in NARROW]
    optimizer.accumulate(bad, NARROW)
    optimizer.apply(tf.constant(0.01))
    for value, start, mask in zip(values, weights(), NARROW, strict=True):
        np.testing.assert_array_equal(value.numpy()[~mask], start.numpy()[~mask])


def test_reset_forgets_all_steps():
    values = weights()
    optimizer = MaskedAdamW(values, DECAY, BOTH)
    step(optimizer, 0, ALL)
    optimizer.accumulate(gradients(1), ALL)
    optimizer.reset()
    assert all(not variable.numpy().any() for variable in optimizer.variables)
    for value, start in zip(values, weights(), strict=True):
        value.assign(start)
    step(optimizer, 2, ALL)
    fresh = weights()
    other = MaskedAdamW(fresh, DECAY, BOTH)
    step(other, 2, ALL)
    for value, expected in zip(values, fresh, strict=True):
        np.testing.assert_array_equal(value.numpy(), expected.numpy())


def test_weights_that_do_not_decay_rest_where_their_gradient_is_zero():
    values, before = weights(), weights()
    optimizer = MaskedAdamW(values, DECAY, (True, False))
    optimizer.accumulate([np.zeros(shape, np.float32) for shape in SHAPES], ALL)
    optimizer.apply(tf.constant(0.01))
    # One multiplication in float32 apart.
    np.testing.assert_allclose(values[0].numpy(), before[0].numpy() * (1 - 0.01 * DECAY), rtol=1e-6)
    np.testing.assert_array_equal(values[1].numpy(), before[1].numpy())

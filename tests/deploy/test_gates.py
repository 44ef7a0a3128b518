"""Regression gates: statistics against worked examples, and what counts as a regression."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from core.errors import LitesmithError
from core.values import TensorSpec
from deploy.changes import (
    ACCURACY,
    BETTER,
    LATENCY,
    MODEL,
    NOT_COMPARED,
    OK,
    REGRESSION,
    SIZE,
    Change,
    Limits,
    describe,
)
from deploy.gates import compare_releases, mcnemar_p, paired_interval, ratio_interval, unpaired_interval
from deploy.manifest import Manifest, ReleaseLatency, ReleaseModel, TestSet
from deploy.predictions import Predictions, image_hashes, images_sha256, parse_predictions, predictions_bytes
from search.dataset import ImageSet

SPEC = TensorSpec("image", (1, 8, 8, 3), "uint8", 1 / 255, 0)
LATENCY_US = ReleaseLatency("host", 100.0, 130.0, 1000, 1, "tool 1", 95.0, 105.0, 5, "cpu 1", "x86_64", "xnnpack")
NAMES = ("cat", "dog", "owl")
IMAGES = 100


def model(file: str = "a-ptq.tflite", **changes: Any) -> ReleaseModel:
    plain = ReleaseModel(
        file=file,
        sha256="0" * 64,
        size_bytes=1000,
        zipped_bytes=900,
        scheme="full_integer",
        input=SPEC,
        output=SPEC,
        labels="labels.txt",
        arch="",
        macs=1,
        params=1,
        recipe=file.removesuffix(".tflite").rpartition("-")[2],
        float_test_accuracy=0.9,
        test_accuracy=0.9,
        sparsity=0.0,
        clusters=None,
        latency=(LATENCY_US,),
    )
    return dataclasses.replace(plain, **changes)


def manifest(*models: ReleaseModel, names: tuple[str, ...] = NAMES, **changes: Any) -> Manifest:
    tested = TestSet("digits", names, IMAGES, "0" * 64)
    return dataclasses.replace(Manifest("a", "2030-01-01T00:00:00+00:00", {}, models, tested), **changes)


def predictions(wrong: set[int], images: range = range(IMAGES), file: str = "a-ptq.tflite") -> Predictions:
    """Of images of class number % 3, all right but those that are `wrong`."""
    numbers = np.array(images)
    label = (numbers % 3).astype(np.int32)
    missed = np.isin(numbers, list(wrong))
    return Predictions(numbers.astype(np.uint64), label, {file: np.where(missed, (label + 1) % 3, label)})


def accuracy(before: Predictions | None, after: Predictions | None, **limits: float) -> Change:
    (found, *_) = compare_releases(manifest(model()), manifest(model()), before, after, Limits(**limits))
    assert found.what == ACCURACY
    return found


@pytest.mark.parametrize(
    ("lost", "gained", "p"),
    # Sums of binomial coefficients over 2^(lost + gained): (9 + 1) / 2^9, 1 / 2^5, (45 + 10 + 1) / 2^10, all of them.
    [(8, 1, 10 / 512), (5, 0, 1 / 32), (8, 2, 56 / 1024), (0, 7, 1.0), (0, 0, 1.0)],
)
def test_mcnemars_exact_test(lost: int, gained: int, p: float) -> None:
    assert mcnemar_p(lost, gained) == pytest.approx(p, rel=1e-12)  # exact but for rounding


def test_intervals_equal_worked_examples() -> None:
    # Bonett and Price: p = 9/52 and 2/52, so -7/52 -+ 1.959964 * sqrt((11/52 - (7/52)^2) / 52), worked by hand to 1e-5.
    assert paired_interval(8, 1, 50) == pytest.approx((-0.25415, -0.01508), abs=1e-5)
    # Newcombe 1998, table II, example (a), method 10: 56/70 against 48/80, printed with four digits.
    assert unpaired_interval(48 / 80, 80, 56 / 70, 70) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    # Zou and Donner: 1.2 / exp(hypot(ln(120/110), ln(110/100))) and 1.2 exp(hypot(ln(130/120), ln(100/90))), by hand.
    before = dataclasses.replace(LATENCY_US, median_us=100.0, low_us=90.0, high_us=110.0)
    after = dataclasses.replace(LATENCY_US, median_us=120.0, low_us=110.0, high_us=130.0)
    assert ratio_interval(before, after) == pytest.approx((1.05472, 1.36976), abs=1e-5)


def test_an_accuracy_is_worse_only_beyond_the_limit_and_beyond_chance() -> None:
    right = predictions(set())
    five, four = accuracy(right, predictions({1, 2, 3, 4, 5})), accuracy(right, predictions({1, 2, 3, 4}))
    assert (five.verdict, five.before, five.after, five.p_value) == (REGRESSION, 1.0, 0.95, 1 / 32)
    assert four.verdict == OK and four.p_value == 1 / 16  # 4 points lost, which chance may explain
    assert "4 of 100 test images lost and 0 gained" in four.reason
    assert accuracy(right, predictions({1, 2, 3, 4, 5}), max_accuracy_loss=0.05).verdict == OK  # not beyond the limit
    assert accuracy(predictions({1, 2, 3, 4, 5}), right).verdict == BETTER
    assert accuracy(right, right).verdict == OK


def test_the_test_is_paired() -> None:
    """Ten images that both get wrong say nothing; the five that one alone gets wrong do."""
    both = set(range(10, 20))
    found = accuracy(predictions(both), predictions(both | {1, 2, 3, 4, 5}))
    assert (found.verdict, found.p_value) == (REGRESSION, 1 / 32)


def test_images_that_both_releases_have_are_compared() -> None:
    found = accuracy(predictions({0, 1}, range(50)), predictions({49, 48, 47, 46, 45, 60}, range(40, 100)))
    assert (found.verdict, found.before, found.after) == (REGRESSION, 1.0, 0.5)
    assert "5 of 10 test images lost and 0 gained, p = 0.031; of the 60 test images only these" in found.reason


@pytest.mark.parametrize("before", [None, predictions(set(), range(200, 300)), predictions(set(), file="b.tflite")])
def test_other_images_are_no_regression_and_the_reason_says_so(before: Predictions | None) -> None:
    old, new = manifest(model()), manifest(model(test_accuracy=0.2))
    found = compare_releases(old, new, before, predictions(set()), Limits())[0]
    assert (found.verdict, found.before, found.after, found.p_value) == (NOT_COMPARED, 0.9, 0.2, None)
    assert found.high is not None and found.high < -0.5  # told all the same
    assert "not tested on the same images" in found.reason


def test_classes_are_matched_by_name() -> None:
    """A class that came later moves the numbers of the others; what a model said is what it was called."""
    more = ("ant", *NAMES)
    later = predictions(set())
    later = Predictions(later.image, later.label + 1, {file: classes + 1 for file, classes in later.predicted.items()})
    pair = manifest(model()), manifest(model(), names=more)
    assert compare_releases(*pair, predictions(set()), later, Limits())[0].before == 1.0
    gone = manifest(model(), names=("wolf", *NAMES[1:]))  # what it called "cat" is no class any more
    assert compare_releases(gone, pair[1], predictions(set()), later, Limits())[0].before == 0.66


def test_a_prediction_that_is_no_class_of_its_release_is_wrong() -> None:
    """As of a file that others wrote: neither an error nor, counted from the end, another class."""
    before = predictions(set())
    before.predicted["a-ptq.tflite"][:3] = (-1, 3, 2**31 - 1)
    before.predicted["a-ptq.tflite"][5] = -1  # an owl, which is the last class
    assert accuracy(before, predictions(set())).before == 0.96


def test_an_image_that_a_test_set_has_twice_counts_once() -> None:
    twice = predictions({1})
    twice.image[50:] = twice.image[:50]
    twice.label[50:] = twice.label[:50]
    found = accuracy(twice, twice)
    assert (found.before, found.reason) == (0.98, "0 of 50 test images lost and 0 gained, p = 1")


@pytest.mark.parametrize(("size", "verdict"), [(1050, OK), (1051, REGRESSION), (999, BETTER), (1000, OK)])
def test_sizes_are_exact(size: int, verdict: str) -> None:
    found = compare_releases(manifest(model()), manifest(model(size_bytes=size)), None, None, Limits())[1]
    assert (found.what, found.verdict, found.after) == (SIZE, verdict, size)


def latency(**changes: Any) -> Change:
    after = model(latency=(dataclasses.replace(LATENCY_US, **changes),))
    found = compare_releases(manifest(model()), manifest(after), None, None, Limits())[2]
    assert (found.what, found.target) == (LATENCY, "host")
    return found


def test_a_latency_is_worse_if_its_interval_is_wholly_beyond_the_limit() -> None:
    assert latency(median_us=130.0, low_us=126.0, high_us=135.0).verdict == REGRESSION
    unsure = latency(median_us=115.0, low_us=110.0, high_us=120.0)
    assert unsure.verdict == OK and "does not exclude the limit" in unsure.reason
    assert latency(median_us=80.0, low_us=78.0, high_us=82.0).verdict == BETTER
    assert latency().verdict == OK


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"device": "cpu 2"}, "another device: cpu 1 before, cpu 2 now"),
        ({"threads": 4}, "another number of threads: 1 before, 4 now"),
        ({"tool": "tool 2"}, "another tool"),
        ({"delegate": ""}, "another delegate: xnnpack before, unknown now"),
        ({"abi": "x86"}, "another ABI"),
        ({"verdict": "noisy: busy"}, "not to be trusted: noisy: busy"),
        ({"processes": 1}, "of 1 processes"),
        ({"low_us": 0.0, "high_us": 0.0}, "has no interval"),
    ],
)
def test_latencies_under_other_conditions_are_not_compared(changes: dict[str, Any], words: str) -> None:
    found = latency(median_us=500.0, **{"low_us": 490.0, "high_us": 510.0, **changes})
    assert found.verdict == NOT_COMPARED and words in found.reason
    assert (found.before, found.after, found.low) == (100.0, 500.0, None)  # told, without an interval


def test_figures_of_zero_as_nobody_measures_them_are_no_error() -> None:
    """As of a manifest that others wrote."""
    nothing = dataclasses.replace(LATENCY_US, median_us=0.0, low_us=0.0, high_us=0.0)
    old = manifest(model(size_bytes=0, latency=(nothing,)))
    _, size, slow = compare_releases(old, manifest(model()), None, None, Limits())
    assert (size.verdict, size.change, slow.verdict, slow.change) == (NOT_COMPARED, None, NOT_COMPARED, None)


def test_a_target_that_was_not_measured_is_named() -> None:
    found = compare_releases(manifest(model()), manifest(model(latency=())), None, None, Limits())[2]
    assert (found.verdict, found.after) == (NOT_COMPARED, None) and "no figure on host" in found.reason


def models_compared(before: Manifest, after: Manifest) -> list[tuple[str, str]]:
    return [(c.model, c.verdict) for c in compare_releases(before, after, None, None, Limits()) if c.what != LATENCY]


def test_models_are_matched_by_recipe_and_winner_whatever_the_release_is_called() -> None:
    old = manifest(model("old-w0-ptq.tflite"), model("old-w1-ptq.tflite", winner=1), release="old")
    new = manifest(model("new-w1-ptq.tflite", winner=1, size_bytes=2000), model("new-w0-ptq.tflite"), release="new")
    assert models_compared(old, new) == [
        ("new-w1-ptq.tflite", NOT_COMPARED),
        ("new-w1-ptq.tflite", REGRESSION),  # its size, against that of winner 1
        ("new-w0-ptq.tflite", NOT_COMPARED),
        ("new-w0-ptq.tflite", OK),
    ]


def test_a_found_recipe_follows_another_that_was_found() -> None:
    old = manifest(model("a-found-ptq.tflite"), model("a-ptq.tflite"))
    new = manifest(model("a-found-qat.tflite", recipe="qat"), model("a-qat.tflite"))
    assert {name for name, _ in models_compared(old, new)} == {"a-found-qat.tflite", "a-ptq.tflite"}


def test_a_model_that_vanished_is_named_and_one_that_could_not_be_made_is_a_regression() -> None:
    old = manifest(model("a-qat.tflite"), model("a-ptq.tflite"))
    new = manifest(model("a-ptq.tflite"))
    (gone,) = (change for change in compare_releases(old, new, None, None, Limits()) if change.what == MODEL)
    assert (gone.model, gone.verdict, gone.reason) == ("a-qat.tflite", NOT_COMPARED, "no longer in the release")
    failed = dataclasses.replace(new, failed=("a-qat.tflite",))
    (gone,) = (change for change in compare_releases(old, failed, None, None, Limits()) if change.what == MODEL)
    assert (gone.verdict, describe(gone)) == (REGRESSION, "a-qat.tflite: could not be made this time")
    found = manifest(model("a-found-qat.tflite"), model("a-ptq.tflite"))
    failed = dataclasses.replace(new, failed=("a-found-found.tflite",))  # which recipe it was to be is not known
    assert ("a-found-qat.tflite", REGRESSION) in models_compared(found, failed)


def test_a_change_is_told_in_one_line() -> None:
    worse = accuracy(predictions(set()), predictions({1, 2, 3, 4, 5}))
    assert describe(worse) == (
        "a-ptq.tflite: accuracy 100.00 % -> 95.00 % (-5.00 points; 5 of 100 test images lost and 0 gained, p = 0.031); "
        "at most 0.5 points may be lost"
    )
    slower = latency(median_us=130.0, low_us=126.0, high_us=135.0)
    assert describe(slower).startswith("a-ptq.tflite: latency on host 100.0 -> 130.0 us (+30.0%; 95 % interval +2")


def test_predictions_are_kept_as_they_are() -> None:
    kept = predictions({3})
    again = parse_predictions(predictions_bytes(kept), "x")
    np.testing.assert_array_equal(again.image, kept.image)
    np.testing.assert_array_equal(again.predicted["a-ptq.tflite"], kept.predicted["a-ptq.tflite"])
    assert predictions_bytes(kept) == predictions_bytes(predictions({3}))


@pytest.mark.parametrize("seed", range(40))
def test_damaged_predictions_are_refused_in_one_line(seed: int) -> None:
    random, content = np.random.default_rng(seed), predictions_bytes(predictions({3}))
    start, count = int(random.integers(len(content) - 8)), int(random.integers(1, 200))
    damaged = content[:start] if seed % 4 == 0 else content[:start] + random.bytes(count) + content[start + count :]
    try:
        found = parse_predictions(damaged, "p.npz")
    except LitesmithError as error:
        assert str(error).startswith("p.npz: not the predictions of a release") and "\n" not in str(error)
    else:  # only what the checksums of a .zip do not cover was hit
        np.testing.assert_array_equal(found.label, predictions({3}).label)


def test_predictions_of_other_lengths_are_refused() -> None:
    whole = predictions({3})
    short = Predictions(whole.image, whole.label[:-1], whole.predicted)
    with pytest.raises(LitesmithError, match="its arrays differ in length"):
        parse_predictions(predictions_bytes(short), "p.npz")


def test_an_image_s_hash_is_of_its_bytes_alone() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 1), np.uint8)
    labels = np.arange(4, dtype=np.int32)
    whole, turned = (ImageSet(pixels, labels, np.array(rows)) for rows in ([0, 1, 2, 3], [3, 2, 1, 0]))
    assert image_hashes(whole).tolist() == image_hashes(turned).tolist()[::-1]
    assert len(set(image_hashes(whole).tolist())) == 4
    assert images_sha256(whole) != images_sha256(turned)
    other = ImageSet(pixels, labels[::-1].copy(), whole.rows)
    assert images_sha256(whole) != images_sha256(other)

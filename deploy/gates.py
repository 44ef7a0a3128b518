"""Is a release worse than the one before it? Every model against its predecessor, each figure by what supports it.

A regression is a change for the worse that is beyond its limit *and* not to be explained by chance:

- accuracy: more is lost than the limit, and a paired test over the images that both releases were tested on says that
  it is a loss at all;
- latency: the whole interval is beyond the limit, since an interval holds the chance of one session each, not how two
  days differ;
- size: as it is.

Each figure is judged at the same level however many there are: a correction for their number would let a recipe more
in the configuration hide the regression of another.

Sources: McNemar, Note on the sampling error of the difference between correlated proportions (1947), in its exact
form; Bonett and Price, Adjusted Wald confidence interval for a difference of binomial proportions based on paired data
(2012); Newcombe, Interval estimation for the difference between independent proportions (1998); Zou and Donner,
Construction of confidence limits about effect measures: a general approach (2008), for ratios. No TensorFlow here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest  # type: ignore[import-untyped]

from core.intervals import NORMAL_95, wilson_interval
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
)
from deploy.manifest import Manifest, ReleaseLatency, ReleaseModel
from deploy.predictions import Predictions
from search.dataset import Int32

MAX_P = 0.05
MIN_PROCESSES = 5  # of fewer, a bootstrap interval of their medians is too narrow (core.values.LatencyStats)
FOUND = "-found-"  # in the file names of recipes that a joint search has found
# What must agree for two latencies to be comparable, with its name in messages.
_CONDITIONS = {"device": "device", "threads": "number of threads", "tool": "tool", "delegate": "delegate", "abi": "ABI"}


def compare_releases(
    before: Manifest,
    after: Manifest,
    predictions_before: Predictions | None,
    predictions_after: Predictions | None,
    limits: Limits,
) -> tuple[Change, ...]:
    """Every model of `after` that has a predecessor in `before`, and every model of `before` that vanished.

    Models are matched by winner and recipe. Predictions are None where a release has none: then accuracies are told,
    and never a regression.
    """
    pairs = _pairs(before, after)
    images = _common_images(before, after, predictions_before, predictions_after)
    changes: list[Change] = []
    for old, new in pairs:
        changes.append(_accuracy(old, new, images, (before, after), limits.max_accuracy_loss))
        changes.append(_size(old, new, limits.max_size_growth))
        changes += _latencies(old, new, limits.max_latency_growth)
    kept = {old.file for old, _ in pairs}
    changes += [_vanished(model, before, after) for model in before.artifacts if model.file not in kept]
    return tuple(changes)


def _pairs(before: Manifest, after: Manifest) -> list[tuple[ReleaseModel, ReleaseModel]]:
    """Models of the same winner and recipe; a recipe that was found also follows another one that was found."""
    old = {_identity(model, before): model for model in before.artifacts}
    followed = {model.file: old.pop(key) for model in after.artifacts if (key := _identity(model, after)) in old}
    found = {model.winner: model for model in old.values() if _is_found(model, before)}
    for model in after.artifacts:
        if model.file not in followed and _is_found(model, after) and model.winner in found:
            followed[model.file] = found.pop(model.winner)
    return [(followed[model.file], model) for model in after.artifacts if model.file in followed]


def _identity(model: ReleaseModel, release: Manifest) -> tuple[int, bool, str]:
    return model.winner, _is_found(model, release), model.recipe


def _is_found(model: ReleaseModel, release: Manifest) -> bool:
    """Whether a joint search found the model's recipe; its file's name tells."""
    return FOUND in model.file.removeprefix(release.release)


def _vanished(model: ReleaseModel, before: Manifest, after: Manifest) -> Change:
    """A model that could not be made is a regression; one that was no longer asked for is merely told."""
    name = after.release + model.file.removeprefix(before.release)
    found_failed = _is_found(model, before) and any(FOUND in file for file in after.failed)
    if name in after.failed or found_failed:
        return Change(model.file, MODEL, verdict=REGRESSION, reason="could not be made this time")
    return Change(model.file, MODEL, verdict=NOT_COMPARED, reason="no longer in the release")


@dataclass(frozen=True, slots=True, eq=False)
class _CommonImages:
    """The different test images that two releases share, out of `total` of the later one.

    `label` and the classes `predicted` (before, after) are numbered as in the later release, -1 where it has no such
    class. Labels are the later release's: an image whose label was corrected is judged by the right one.
    """

    label: Int32
    predicted: tuple[Mapping[str, Int32], Mapping[str, Int32]]
    total: int

    def right(self, file: str, side: int) -> NDArray[np.bool_]:
        """Which images a model gets right; `side` is 0 before, 1 after."""
        return np.asarray(self.predicted[side][file] == self.label)


def _common_images(
    before: Manifest, after: Manifest, old: Predictions | None, new: Predictions | None
) -> _CommonImages | None:
    """None if they share none. Of images that a test set has twice, the first counts."""
    if old is None or new is None:
        return None
    common, rows_old, rows_new = np.intersect1d(old.image, new.image, return_indices=True)
    if not len(common):
        return None
    renumbered = _renumbering(before.test_set.class_names, after.test_set.class_names)
    # What is no class of its release at all is -1 as well.
    in_range = {file: np.clip(classes[rows_old], -1, len(renumbered) - 1) for file, classes in old.predicted.items()}
    before_predicted = {file: renumbered[classes] for file, classes in in_range.items()}
    after_predicted = {file: classes[rows_new] for file, classes in new.predicted.items()}
    return _CommonImages(new.label[rows_new], (before_predicted, after_predicted), len(np.unique(new.image)))


def _renumbering(before: Sequence[str], after: Sequence[str]) -> Int32:
    """[classes before + 1], each class' number in the later release by its name; -1 for those that have none, and last
    for what is no class."""
    numbers = {name: number for number, name in enumerate(after)}
    return np.array([*(numbers.get(name, -1) for name in before), -1], np.int32)


def _accuracy(
    old: ReleaseModel,
    new: ReleaseModel,
    images: _CommonImages | None,
    releases: tuple[Manifest, Manifest],
    limit: float,
) -> Change:
    if images is None or old.file not in images.predicted[0] or new.file not in images.predicted[1]:
        return _unpaired_accuracy(old, new, releases, limit)
    right_before, right_after = images.right(old.file, 0), images.right(new.file, 1)
    lost, gained = int(np.sum(right_before & ~right_after)), int(np.sum(~right_before & right_after))
    low, high = paired_interval(lost, gained, len(images.label))
    p_loss, p_gain = mcnemar_p(lost, gained), mcnemar_p(gained, lost)
    loss = (lost - gained) / len(images.label)
    verdict = OK
    if loss > limit and p_loss < MAX_P:
        verdict = REGRESSION
    elif loss < 0 and p_gain < MAX_P:
        verdict = BETTER
    reason = f"{lost} of {len(images.label):,} test images lost and {gained} gained, p = {p_loss:.2g}"
    if len(images.label) < images.total:
        reason += f"; of the {images.total:,} test images only these were in the earlier release"
    accuracies = float(right_before.mean()), float(right_after.mean())
    return Change(new.file, ACCURACY, "", *accuracies, low, high, p_loss, limit, verdict, reason)


def mcnemar_p(lost: int, gained: int) -> float:
    """The one-sided p-value of losing so many or more of the images on which two models differ, by chance alone."""
    return float(binomtest(lost, lost + gained, 0.5, alternative="greater").pvalue) if lost + gained else 1.0


def paired_interval(lost: int, gained: int, images: int) -> tuple[float, float]:
    """The 95 % interval of (gained - lost) / images for two models on the same images (Bonett and Price 2012)."""
    down, up = (lost + 1) / (images + 2), (gained + 1) / (images + 2)
    half = NORMAL_95 * math.sqrt((down + up - (up - down) ** 2) / (images + 2))
    return max(-1.0, up - down - half), min(1.0, up - down + half)


def _unpaired_accuracy(
    old: ReleaseModel, new: ReleaseModel, releases: tuple[Manifest, Manifest], limit: float
) -> Change:
    counts = [release.test_set.images for release in releases]
    low, high = unpaired_interval(old.test_accuracy, counts[0], new.test_accuracy, counts[1])
    reason = "not tested on the same images, so the difference may be that of the images"
    accuracies = old.test_accuracy, new.test_accuracy
    return Change(new.file, ACCURACY, "", *accuracies, low, high, None, limit, NOT_COMPARED, reason)


def unpaired_interval(before: float, images_before: int, after: float, images_after: int) -> tuple[float, float]:
    """The 95 % interval of after - before for accuracies on different images (Newcombe 1998, method 10)."""
    (low_0, high_0), (low_1, high_1) = wilson_interval(before, images_before), wilson_interval(after, images_after)
    change = after - before
    return change - math.hypot(after - low_1, high_0 - before), change + math.hypot(high_1 - after, before - low_0)


def _size(old: ReleaseModel, new: ReleaseModel, limit: float) -> Change:
    whole = Change(new.file, SIZE, "", float(old.size_bytes), float(new.size_bytes), limit=limit)
    growth = whole.change
    if growth is None:
        return replace(whole, verdict=NOT_COMPARED, reason="the size before is 0")
    is_beyond = new.size_bytes > old.size_bytes * (1 + limit)  # so that growth by the limit itself, rounded, is not
    verdict = REGRESSION if is_beyond else BETTER if growth < 0 else OK
    return replace(whole, low=growth, high=growth, verdict=verdict)


def _latencies(old: ReleaseModel, new: ReleaseModel, limit: float) -> Iterator[Change]:
    """On every target where the earlier release has a figure."""
    now = {latency.target: latency for latency in new.latency}
    for before in old.latency:
        yield _latency(new.file, before, now.get(before.target), limit)


def _latency(file: str, before: ReleaseLatency, after: ReleaseLatency | None, limit: float) -> Change:
    now = after.median_us if after else None
    whole = Change(file, LATENCY, before.target, before.median_us, now, limit=limit, verdict=NOT_COMPARED)
    if after is None:
        return replace(whole, reason=f"no figure on {before.target} this time")
    reason = _incomparable(before, after)
    if reason:
        return replace(whole, reason=reason)
    low, high = (bound - 1 for bound in ratio_interval(before, after))
    verdict = REGRESSION if low > limit else BETTER if high < 0 else OK
    words = f"95 % interval {low:+.1%} to {high:+.1%}"
    if verdict == OK and after.median_us / before.median_us - 1 > limit:
        words += ", which does not exclude the limit"
    return replace(whole, low=low, high=high, verdict=verdict, reason=words)


def ratio_interval(before: ReleaseLatency, after: ReleaseLatency) -> tuple[float, float]:
    """The 95 % interval of after / before from those of the two medians (Zou and Donner 2008), whose errors must be
    independent, as those of two sessions in processes of their own are.

    A manifest keeps no more than the medians' intervals, so they cannot be drawn again together, as
    android_bench.bootstrap does it. It errs to the wide side (tests/android_bench/test_bootstrap.py).
    """
    ratio = math.log(after.median_us / before.median_us)
    down = math.hypot(math.log(after.median_us / after.low_us), math.log(before.high_us / before.median_us))
    up = math.hypot(math.log(after.high_us / after.median_us), math.log(before.median_us / before.low_us))
    return math.exp(ratio - down), math.exp(ratio + up)


def _incomparable(before: ReleaseLatency, after: ReleaseLatency) -> str:
    """Why two latencies on targets of one name say nothing of the models; "" if they do."""
    for name, words in _CONDITIONS.items():
        old, new = getattr(before, name), getattr(after, name)
        if old != new:
            return f"another {words}: {old or 'unknown'} before, {new or 'unknown'} now"
    for when, latency in (("before", before), ("now", after)):
        if latency.verdict != OK:
            return f"the figure {when} is not to be trusted: {latency.verdict}"
        if latency.processes < MIN_PROCESSES:
            return f"the figure {when} is of {latency.processes} processes; its interval needs {MIN_PROCESSES} to hold"
        if not 0 < latency.low_us <= latency.median_us <= latency.high_us:
            return f"the figure {when} has no interval"
    return ""

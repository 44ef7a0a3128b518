"""The best model of a release for a device, by the release's own measurements."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from core.checks import in_choices, in_range
from core.errors import LitesmithError, UsageError, bad_value
from deploy.manifest import Manifest, ReleaseLatency, ReleaseModel
from deploy.schemes import PERSONALIZE

ACCURACY, LATENCY, SIZE = PREFERENCES = ("accuracy", "latency", "size")
# Verdicts of which the figure is the target's own; any other is the latency of something else (the CPU that took a
# delegate's place, an emulator) and counts as none.
FIGURES = ("ok", "noisy", "throttled")


@dataclass(frozen=True, slots=True)
class Wish:
    """What an app asks for; the default asks for the most accurate model.

    Attributes:
      target: where the latency counts; "" leaves latencies aside.
      max_latency_us: limit of the median on `target`.
      min_accuracy: on the test images, a fraction of 1.
      max_size_bytes: limit of the .tflite file.
      prefer: which of the models that fit: the best in "accuracy", "latency" or "size".
      model: only this: a file's name, with or without .tflite, or a recipe; "" is any but those for training on the
        device.
    """

    target: str = ""
    max_latency_us: float | None = None
    min_accuracy: float | None = None
    max_size_bytes: int | None = None
    prefer: str = ACCURACY
    model: str = ""


@dataclass(frozen=True, slots=True)
class Selection:
    """The model that was taken.

    Attributes:
      latency: its figure on the wish's target; None where no target was named.
      why: what made it the best, as a sentence's part.
      cautions: what to know about the figures that it was taken for.
      others: the file name of each other model, and why it was not taken.
    """

    model: ReleaseModel
    latency: ReleaseLatency | None
    why: str
    cautions: tuple[str, ...]
    others: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class _Miss:
    """A limit that a model misses: in words, and by how much as a fraction of the limit."""

    text: str
    excess: float


@dataclass(frozen=True, slots=True)
class _Candidate:
    model: ReleaseModel
    latency: ReleaseLatency | None
    misses: tuple[_Miss, ...] = field(default=())

    @property
    def excess(self) -> float:
        return sum(miss.excess for miss in self.misses)


def check_wish(wish: Wish) -> None:
    """Raises UsageError for a limit or preference that is not legal, before anything is fetched."""
    in_choices("--prefer", wish.prefer, PREFERENCES)
    if wish.max_latency_us is not None and not 0 < wish.max_latency_us < math.inf:
        raise bad_value("--max_latency_us", wish.max_latency_us, "microseconds above 0")
    if wish.min_accuracy is not None:
        in_range("--min_accuracy", wish.min_accuracy, 0, 1)
    if wish.max_size_bytes is not None and wish.max_size_bytes < 1:
        raise bad_value("--max_size_bytes", wish.max_size_bytes, "a whole number from 1")
    if not wish.target and (wish.max_latency_us is not None or wish.prefer == LATENCY):
        flag = "--prefer=latency" if wish.max_latency_us is None else "--max_latency_us"
        raise UsageError(f"{flag}: needs --target, the device that the latency is of; `show` lists those of a release")


def select(manifest: Manifest, wish: Wish) -> Selection:
    """The best model that fits.

    Models without a figure on the wish's target do not fit, nor do those whose median is beyond the limit; an interval
    that reaches beyond it is told as a caution. Equally good models: the smaller, then the first by name.

    Raises UsageError for a target or model that the release does not have, LitesmithError naming the nearest model if
    none fits.
    """
    check_wish(wish)
    _check_target(manifest, wish.target)
    candidates = [_candidate(model, wish) for model in _named(manifest, wish.model)]
    fitting = sorted((found for found in candidates if not found.misses), key=_ORDER[wish.prefer])
    if not fitting:
        raise _none_fits(manifest, candidates)
    best = fitting[0]
    reasons = {found.model.file: _lost(found, best, wish) for found in candidates if found is not best}
    unasked = f"is not --model={wish.model}" if wish.model else "for training on the device; --model takes it"
    others = [
        (model.file, reasons.get(model.file, unasked)) for model in manifest.artifacts if model.file != best.model.file
    ]
    why = _why(wish, len(fitting), len(manifest.artifacts))
    return Selection(best.model, best.latency, why, _cautions(best, wish), tuple(others))


def figure_on(model: ReleaseModel, target: str) -> ReleaseLatency | None:
    """The model's latency on a target; None if it was not measured there or the figure is not the target's own."""
    for latency in model.latency:
        if latency.target == target and latency.verdict.startswith(FIGURES) and 0 < latency.median_us < math.inf:
            return latency
    return None


def targets_of(manifest: Manifest) -> tuple[str, ...]:
    """The targets that any of the release's models was measured on, by name."""
    return tuple(sorted({latency.target for model in manifest.artifacts for latency in model.latency}))


def latency_text(latency: ReleaseLatency) -> str:
    """The median with its interval: "78.2 us on host (77.0 to 79.5)"."""
    interval = f" ({_us(latency.low_us)} to {_us(latency.high_us)})" if latency.high_us else ""
    return f"{_us(latency.median_us)} us on {latency.target}{interval}"


def accuracy_text(accuracy: float) -> str:
    """A fraction in percent: "98.20 %"."""
    return f"{100 * accuracy:.2f} %"


def size_text(size_bytes: int) -> str:
    """Bytes with separators: "83,120 bytes"."""
    return f"{size_bytes:,} bytes"


def _us(value: float) -> str:
    return f"{value:,.1f}" if value < 1000 else f"{value:,.0f}"


def _check_target(manifest: Manifest, target: str) -> None:
    known = targets_of(manifest)
    if target and target not in known:
        measured = f"one that {manifest.release_id} was measured on: {', '.join(known)}"
        nowhere = f"no --target, since {manifest.release_id} was measured nowhere"
        raise bad_value("--target", target, measured if known else nowhere)


def _named(manifest: Manifest, name: str) -> list[ReleaseModel]:
    """The models that a name means; for "" all but those that are for training."""
    models = manifest.artifacts
    if not name:
        return [model for model in models if model.scheme != PERSONALIZE]
    found = [model for model in models if name in (model.file, model.file.removesuffix(".tflite"))]
    found = found or [model for model in models if model.recipe == name]
    if not found:
        known = "; ".join(f"{model.file} (recipe {model.recipe})" for model in models)
        raise bad_value("--model", name, f"a file or recipe of {manifest.release_id}: {known}")
    return found


def _candidate(model: ReleaseModel, wish: Wish) -> _Candidate:
    latency = figure_on(model, wish.target)
    misses: list[_Miss] = []
    if wish.target and latency is None:
        misses.append(_Miss(_no_figure(model, wish.target), math.inf))
    limit = wish.max_latency_us
    if latency is not None and limit is not None and latency.median_us > limit:
        over = latency.median_us / limit - 1
        misses.append(_Miss(f"{latency_text(latency)} is {over:.1%} over --max_latency_us={limit:.10g}", over))
    if wish.min_accuracy is not None and not model.test_accuracy >= wish.min_accuracy:
        gap = wish.min_accuracy - model.test_accuracy
        text = f"an accuracy of {accuracy_text(model.test_accuracy)} is {100 * gap:.2f} percentage points under"
        misses.append(_Miss(f"{text} --min_accuracy={wish.min_accuracy:.10g}", gap / wish.min_accuracy))
    if wish.max_size_bytes is not None and model.size_bytes > wish.max_size_bytes:
        over = model.size_bytes / wish.max_size_bytes - 1
        text = f"{size_text(model.size_bytes)} is {over:.1%} over --max_size_bytes={wish.max_size_bytes}"
        misses.append(_Miss(text, over))
    return _Candidate(model, latency, tuple(misses))


def _no_figure(model: ReleaseModel, target: str) -> str:
    verdicts = [latency.verdict for latency in model.latency if latency.target == target]
    return f"no figure on {target}: {verdicts[0]}" if verdicts else f"not measured on {target}"


def _median(found: _Candidate) -> float:
    return math.inf if found.latency is None else found.latency.median_us


_ORDER: dict[str, Callable[[_Candidate], tuple[float | str, ...]]] = {
    ACCURACY: lambda found: (-found.model.test_accuracy, found.model.size_bytes, _median(found), found.model.file),
    LATENCY: lambda found: (_median(found), found.model.size_bytes, -found.model.test_accuracy, found.model.file),
    SIZE: lambda found: (found.model.size_bytes, -found.model.test_accuracy, _median(found), found.model.file),
}
_BEST = {ACCURACY: "most accurate", LATENCY: "fastest", SIZE: "smallest"}


def _none_fits(manifest: Manifest, candidates: Sequence[_Candidate]) -> LitesmithError:
    if not candidates:
        return LitesmithError(f"{manifest.release_id} has no models but those for training on the device")
    nearest = min(candidates, key=lambda found: (found.excess, found.model.file))
    reasons = " and ".join(miss.text for miss in nearest.misses)
    return LitesmithError(f"no model of {manifest.release_id} fits; the nearest is {nearest.model.file}: {reasons}")


def _lost(found: _Candidate, best: _Candidate, wish: Wish) -> str:
    """Why a model was not taken: the limits that it misses, or what the best one has over it."""
    if found.misses:
        return "; ".join(miss.text for miss in found.misses)
    words: dict[str, tuple[float, float, str]] = {
        ACCURACY: (
            -found.model.test_accuracy,
            -best.model.test_accuracy,
            f"less accurate: {accuracy_text(found.model.test_accuracy)}",
        ),
        LATENCY: (_median(found), _median(best), _slower(found, best)),
        SIZE: (found.model.size_bytes, best.model.size_bytes, f"larger: {size_text(found.model.size_bytes)}"),
    }
    first, *ties = dict.fromkeys((wish.prefer, SIZE, ACCURACY, LATENCY))
    if words[first][0] > words[first][1]:
        return words[first][2]
    equal = {ACCURACY: "as accurate", LATENCY: "as fast", SIZE: "as small"}[first]
    worse = [words[other][2] for other in ties if words[other][0] > words[other][1]]
    return f"{equal}, {worse[0]}" if worse else f"{equal}, and later by name"


def _slower(found: _Candidate, best: _Candidate) -> str:
    if found.latency is None or best.latency is None:
        return ""
    overlaps = 0 < found.latency.low_us <= best.latency.high_us
    return f"slower: {latency_text(found.latency)}" + ("; the intervals overlap" if overlaps else "")


def _why(wish: Wish, fitting: int, models: int) -> str:
    limits = (
        ("max_latency_us", wish.max_latency_us),
        ("min_accuracy", wish.min_accuracy),
        ("max_size_bytes", wish.max_size_bytes),
    )
    given = [f"--{flag}={value:.10g}" for flag, value in limits if value is not None]
    given += [f"--model={wish.model}"] if wish.model else []
    within = f" within {', '.join(given)}" if given else ""
    where = f" on {wish.target}" if wish.target else ""
    if models == 1:
        return "the release's only model"
    if fitting == 1:
        return f"the only one of the release's {models} models that fits{within}{where}"
    best = _BEST[wish.prefer]
    if fitting == models:
        return f"the {best} of the release's {models} models{', which all fit' if given else ''}{within}{where}"
    return f"the {best} of the {fitting} models that fit{within}{where} (the release has {models})"


def _cautions(best: _Candidate, wish: Wish) -> tuple[str, ...]:
    latency, limit = best.latency, wish.max_latency_us
    if latency is None:
        return ()
    found = []
    if latency.verdict != "ok":
        found.append(f"the figure on {latency.target} is not to be trusted: {latency.verdict}")
    if limit is not None and latency.high_us > limit:
        found.append(f"its interval ends at {_us(latency.high_us)} us, beyond --max_latency_us={limit:.10g}")
    if limit is not None and not latency.high_us:
        found.append(f"the figure on {latency.target} has no interval: a repeat may be beyond --max_latency_us")
    return tuple(found)

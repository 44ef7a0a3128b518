"""What differs between two releases, as values; the command `diff` prints them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from core.values import TensorSpec
from deploy.manifest import Manifest, ReleaseLatency, ReleaseModel
from deploy.store.select import accuracy_text, figure_on, size_text, targets_of

CONDITIONS = ("device", "abi", "delegate", "threads", "tool")  # that two latencies must share to be compared


@dataclass(frozen=True, slots=True)
class Row:
    """What differs of a model that both releases have; `change` is in words."""

    model: str
    what: str
    before: str
    after: str
    change: str


@dataclass(frozen=True, slots=True)
class Difference:
    """Two releases beside each other.

    Attributes:
      rows: per model of both, what differs.
      same: the files of models of which nothing does.
      removed, added: the files of models that only the first or only the second has.
      config: per key that differs, with dots between sections: the value before and after ("–" where it is not there).
      cautions: why figures of the two do not compare.
    """

    rows: tuple[Row, ...]
    same: tuple[str, ...]
    removed: tuple[str, ...]
    added: tuple[str, ...]
    config: tuple[tuple[str, str, str], ...]
    cautions: tuple[str, ...]

    @property
    def is_same(self) -> bool:
        """Whether nothing differs at all."""
        return not (self.rows or self.removed or self.added or self.config or self.cautions)


def difference(before: Manifest, after: Manifest) -> Difference:
    """The second release against the first, models matched by their file names."""
    old, new = ({model.file: model for model in manifest.artifacts} for manifest in (before, after))
    targets = dict.fromkeys((*targets_of(before), *targets_of(after)))
    both = [name for name in old if name in new]
    rows = [row for name in both for row in _rows(old[name], new[name], tuple(targets)) if row.change]
    differing = {row.model for row in rows}
    return Difference(
        rows=tuple(rows),
        same=tuple(name for name in both if name not in differing),
        removed=tuple(name for name in old if name not in new),
        added=tuple(name for name in new if name not in old),
        config=tuple(_config(before.config, after.config)),
        cautions=tuple(_cautions(before, after)),
    )


def _rows(old: ReleaseModel, new: ReleaseModel, targets: tuple[str, ...]) -> Iterator[Row]:
    name = old.file
    points = 100 * (new.test_accuracy - old.test_accuracy)
    change = f"{points:+.2f} percentage points" if points else ""
    yield Row(name, "accuracy", accuracy_text(old.test_accuracy), accuracy_text(new.test_accuracy), change)
    for what, first, second in (
        ("size", old.size_bytes, new.size_bytes),
        ("zipped size", old.zipped_bytes, new.zipped_bytes),
    ):
        yield Row(name, what, size_text(first), size_text(second), _relative(first, second))
    for target in targets:
        yield _latency_row(name, target, figure_on(old, target), figure_on(new, target))
    if old.arch != new.arch:
        yield Row(name, "network", old.arch, new.arch, "another network")
    for what, tensor, other in (("input", old.input, new.input), ("output", old.output, new.output)):
        if tensor != other:
            yield Row(name, what, _tensor(tensor), _tensor(other), "the app must change")
    if old.sha256 != new.sha256:
        yield Row(name, "content", old.sha256[:12], new.sha256[:12], "another file")


def _tensor(spec: TensorSpec) -> str:
    shape = "x".join(str(size) for size in spec.shape)
    return f"{spec.name} {shape} {spec.dtype}, scale {spec.scale:g}, zero point {spec.zero_point}"


def _relative(before: float, after: float) -> str:
    return f"{after / before - 1:+.1%}" if before and before != after else ""


def _latency_row(name: str, target: str, old: ReleaseLatency | None, new: ReleaseLatency | None) -> Row:
    """The medians; the change is told only where the conditions agree and the intervals do not overlap."""
    if old is None or new is None:
        change = "" if old is new else "no figure before" if old is None else "no figure any more"
    elif differing := [what for what in CONDITIONS if getattr(old, what) != getattr(new, what)]:
        change = f"not compared: other {', '.join(differing)}"
    elif old.high_us and new.high_us and old.low_us <= new.high_us and new.low_us <= old.high_us:
        change = "" if old == new else f"{_relative(old.median_us, new.median_us) or 'same'}, within the intervals"
    else:
        change = _relative(old.median_us, new.median_us)
    return Row(name, f"latency on {target}", _latency(old), _latency(new), change)


def _latency(latency: ReleaseLatency | None) -> str:
    if latency is None:
        return "–"
    interval = f" ({latency.low_us:.1f} to {latency.high_us:.1f})" if latency.high_us else ""
    return f"{latency.median_us:,.1f} us{interval}"


def _config(before: Any, after: Any) -> Iterator[tuple[str, str, str]]:
    old, new = dict(_flat(before)), dict(_flat(after))
    for key in sorted({*old, *new}):
        if old.get(key) != new.get(key) or (key in old) != (key in new):
            yield key, _value(old, key), _value(new, key)


def _value(config: Mapping[str, Any], key: str) -> str:
    return repr(config[key]) if key in config else "–"


def _flat(config: Any, prefix: str = "config") -> Iterator[tuple[str, Any]]:
    if isinstance(config, Mapping) and config:
        for key, value in config.items():
            yield from _flat(value, f"{prefix}.{key}")
    else:
        yield prefix, config


def _cautions(before: Manifest, after: Manifest) -> Iterator[str]:
    old, new = before.test_set, after.test_set
    if old.class_names != new.class_names:
        gone = [name for name in old.class_names if name not in new.class_names]
        added = [name for name in new.class_names if name not in old.class_names]
        what = "; ".join(f"{word}: {', '.join(names)}" for word, names in (("gone", gone), ("new", added)) if names)
        yield f"the classes differ ({what or 'another order'})"
    if old.sha256 != new.sha256:
        yield (
            f"the accuracies are of different test images ({old.images:,} of {old.name} before, "
            f"{new.images:,} of {new.name} after)"
        )

"""Numbers as a report prints them: sensible digits, units, no line break between the two."""

from __future__ import annotations

import datetime
from collections.abc import Callable

from core.intervals import accuracy_digits
from core.intervals import wilson_interval as wilson_interval  # templates find it here

NBSP = "\N{NO-BREAK SPACE}"
MISSING = "–"


def number(value: float) -> str:
    """About three significant digits, thousands separated: 1,234; 134; 63.0; 1.45; 0.12."""
    size = abs(value)
    digits = 0 if size >= 99.95 else 1 if size >= 9.995 else 2
    return f"{value:,.{digits}f}".replace("-", "−")


def tiny(value: float) -> str:
    """Two significant digits of a number that may be very small: 0.0013, 0.13, 9e-07, 0."""
    return f"{value:.2g}" if abs(value) >= 1e-4 else f"{value:.0e}" if value else "0"


def percent(fraction: float, images: int = 1000) -> str:
    """A fraction of 1 in percent, with the digits that so many images bear out."""
    return f"{100 * fraction:.{accuracy_digits(images)}f}{NBSP}%"


def points(fraction: float, images: int = 1000) -> str:
    """A difference of two fractions in percentage points, signed unless it is zero."""
    text = f"{100 * fraction:+.{accuracy_digits(images)}f}"
    return text.lstrip("+-") if float(text) == 0 else text.replace("-", "−")


def growth(fraction: float) -> str:
    """A relative change in percent, signed unless it is zero: +1.2 %, −12 %, 0.0 %."""
    digits = 0 if abs(fraction) >= 0.0995 else 1
    text = f"{100 * fraction:+.{digits}f}"
    text = text.lstrip("+-") if float(text) == 0 else text.replace("-", "−")
    return f"{text}{NBSP}%"


def signed(change: float, write: Callable[[float], str]) -> str:
    """A difference as `write` prints what it is a difference of, with its sign: −117 kB."""
    return write(0.0) if change == 0 else f"{'−' if change < 0 else '+'}{write(abs(change))}"


def size(size_bytes: float) -> str:
    """Bytes as kB or MB (powers of 1000)."""
    return f"{number(size_bytes / 1e6)}{NBSP}MB" if size_bytes >= 1e6 else f"{number(size_bytes / 1e3)}{NBSP}kB"


def latency(latency_us: float) -> str:
    """Microseconds as µs, or as ms from 10 ms on."""
    return f"{number(latency_us / 1e3)}{NBSP}ms" if latency_us >= 1e4 else f"{number(latency_us)}{NBSP}µs"


def latencies(low_us: float, high_us: float) -> str:
    """A range of latencies, the unit once where both have the same: 49.5–50.0 µs, 9,990 µs–10.2 ms."""
    low, high = latency(low_us), latency(high_us)
    unit = high.partition(NBSP)[2]
    return f"{low.removesuffix(unit).rstrip(NBSP)}–{high}"


def count(value: float) -> str:
    """A large count with a suffix: 33.7k, 1.45M, 2.1G."""
    for scale, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= scale:
            return f"{number(value / scale)}{suffix}"
    return f"{value:,.0f}"


def duration(seconds: float) -> str:
    """Wall time as "3.1 s", "4 min 5 s" or "2 h 3 min"."""
    if seconds < 59.95:
        return f"{seconds:.1f}{NBSP}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}{NBSP}min {rest}{NBSP}s"
    return f"{minutes // 60}{NBSP}h {minutes % 60}{NBSP}min"


def ratio(value: float) -> str:
    """How many times: 2.1×, 12×."""
    return f"{value:.0f}×" if value >= 9.95 else f"{value:.1f}×" if value >= 1.95 else f"{value:.2f}×"


def now() -> str:
    """The present time in UTC, ISO 8601, whole seconds."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def moment(iso: str) -> str:
    """An ISO 8601 time as "21 November 2026, 21:16 UTC"."""
    time = datetime.datetime.fromisoformat(iso)
    return f"{time.day} {time:%B %Y, %H:%M} {time.tzname() or ''}".strip()

"""How well a fraction of so many images is known: its interval, and the digits that it bears out."""

from __future__ import annotations

import math

NORMAL_95 = 1.959964  # standard deviations on each side of the normal distribution's 95 %


def wilson_interval(fraction: float, images: int) -> tuple[float, float]:
    """The 95 % confidence interval of an accuracy on so many images (Wilson 1927, the score interval)."""
    if images < 1:
        return 0.0, 1.0
    square = NORMAL_95**2
    centre = (fraction + square / (2 * images)) / (1 + square / images)
    variance = fraction * (1 - fraction) / images + square / (2 * images) ** 2
    half = NORMAL_95 * math.sqrt(variance) / (1 + square / images)
    return max(0.0, centre - half), min(1.0, centre + half)


def accuracy_digits(images: int) -> int:
    """Digits after the point of a percentage over so many images: the step of one image shows, no more."""
    return max(1, math.ceil(math.log10(max(images, 1))) - 2)

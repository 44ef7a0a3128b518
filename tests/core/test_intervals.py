"""Intervals and digits of fractions against printed examples."""

from __future__ import annotations

import pytest

from core.intervals import accuracy_digits, wilson_interval


@pytest.mark.parametrize(
    ("right", "images", "expected"),
    # Newcombe 1998 (Statistics in Medicine 17:857), table I, the score method: printed with four digits.
    [
        (81, 263, (0.2553, 0.3662)),
        (15, 148, (0.0624, 0.1605)),
        (0, 20, (0.0, 0.1611)),
        (1, 29, (0.0061, 0.1718)),
        (29, 29, (0.8830, 1.0)),  # 0 of 29, printed as 0 to 0.1170, the other way round
    ],
)
def test_wilsons_interval(right: int, images: int, expected: tuple[float, float]) -> None:
    assert wilson_interval(right / images, images) == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize("images", [1, 7, 1000, 10_000])
def test_bounds_are_fractions(images: int) -> None:
    bounds = *wilson_interval(0.0, images), *wilson_interval(1.0, images)
    assert all(0.0 <= bound <= 1.0 for bound in bounds)
    assert (bounds[0], bounds[3]) == pytest.approx((0.0, 1.0), abs=1e-12)  # rounding


def test_without_images_nothing_is_known() -> None:
    assert wilson_interval(0.0, 0) == (0.0, 1.0)


def test_one_image_shows_in_the_digits() -> None:
    assert [accuracy_digits(images) for images in (0, 10, 1000, 1001, 10_000, 10_001)] == [1, 1, 1, 2, 2, 3]

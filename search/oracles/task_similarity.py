"""How much an earlier task says about the running one: agreement in rank, by cautious estimates. numpy only."""

from __future__ import annotations

import numpy as np

from search.oracles.encoding import Array

Z_BOUND = 1.64  # standard errors that an agreement must be above chance: one unrelated task in twenty seems to agree
MIN_POINTS = 4  # below that an agreement has no standard error


def ranks(values: Array) -> Array:
    """Ranks from 0; equals share their mean rank."""
    _, position, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts + 1) / 2)[position]


def rank_correlation(first: Array, second: Array) -> float:
    """Spearman's; 0 if one of them is constant."""
    a, b = ranks(first), ranks(second)
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / scale if scale > 0 else 0.0


def similarity(predicted: Array, observed: Array, z: float = Z_BOUND) -> float:
    """The least rank correlation that is plausible, 0..1: its lower confidence bound by Fisher's transformation, with
    a standard error of 1 / sqrt(n - 3).

    0 for tasks that disagree, for those whose agreement may be chance, and for fewer than `MIN_POINTS` points.
    """
    if len(observed) < MIN_POINTS:
        return 0.0
    correlation = min(max(rank_correlation(predicted, observed), -0.999), 0.999)
    bound = np.tanh(np.arctanh(correlation) - z / np.sqrt(len(observed) - 3))
    return max(0.0, float(bound))


def discordant_pairs(predicted: Array, observed: Array) -> Array:
    """The ranking loss of RGPE: how many ordered pairs of points each row of predictions [samples, points] orders
    otherwise than `observed` does. A pair of equal observations is not counted."""
    less = predicted[:, :, None] < predicted[:, None, :]
    truth = observed[:, None] < observed[None, :]
    differ = observed[:, None] != observed[None, :]
    return np.asarray(((less != truth) & differ).sum(axis=(1, 2)), dtype=float)

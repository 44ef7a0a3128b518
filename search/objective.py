"""What a search maximizes. No TensorFlow here."""

from __future__ import annotations

from collections.abc import Callable

# MnasNet, section 3 (Tan et al. 2019, https://arxiv.org/abs/1807.11626): doubling the latency should cost about 5 % of
# the accuracy.
SOFT_EXPONENT = -0.07
# A candidate that could not be evaluated scores below every real one: with accuracies of 0..1 no score below is under
# -0.5. (mnasnet_soft has no upper bound: a thousandth of the target's cost multiplies the accuracy by 1.6.)
FAILED_SCORE = -1.0
COST_WEIGHT = 0.1  # of `weighted`: what a cost of the target's size takes from the accuracy
# Several objectives at once: the oracle is told each of them, and the score is but the accuracy.
PARETO = "pareto"


def mnasnet_soft(accuracy: float, cost: float, target: float) -> float:
    """accuracy * (cost / target)^-0.07 on both sides of the target: a trade-off (MnasNet with alpha = beta = -0.07)."""
    return accuracy * (cost / target) ** SOFT_EXPONENT


def mnasnet_hard(accuracy: float, cost: float, target: float) -> float:
    """The accuracy within the target, accuracy * target / cost beyond it (MnasNet with alpha = 0, beta = -1)."""
    return accuracy if cost <= target else accuracy * target / cost


def constraint(accuracy: float, cost: float, target: float) -> float:
    """The epsilon-constraint method: the accuracy within the target; beyond it a score below 0 that falls with the
    excess, whatever the accuracy."""
    return accuracy if cost <= target else -0.5 * (1.0 - target / cost)


def weighted(accuracy: float, cost: float, target: float, cost_weight: float = COST_WEIGHT) -> float:
    """The weighted sum accuracy - cost_weight * cost / target. Sums below 0 are pressed into -0.5..0 in their order."""
    total = accuracy - cost_weight * cost / target
    return total if total >= 0 else -0.5 * (1.0 - 1.0 / (1.0 - 2.0 * total))


def plain_accuracy(accuracy: float, cost: float, target: float) -> float:
    """The accuracy alone."""
    return accuracy


OBJECTIVES: dict[str, Callable[[float, float, float], float]] = {
    "mnasnet_soft": mnasnet_soft,
    "mnasnet_hard": mnasnet_hard,
    "constraint": constraint,
    "weighted": weighted,
    "accuracy": plain_accuracy,
    PARETO: plain_accuracy,
}

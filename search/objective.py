"""What a search maximizes. No TensorFlow here."""

from __future__ import annotations

from collections.abc import Callable

# MnasNet, section 3 (Tan et al. 2019, https://arxiv.org/abs/1807.11626): doubling the latency should cost about 5 % of
# the accuracy.
SOFT_EXPONENT = -0.07
# A candidate that could not be evaluated scores below every real one: with accuracies of 0..1 no score below is under
# -0.5. (mnasnet_soft has no upper bound: a thousandth of the target's cost multiplies the accuracy by 1.6.)
FAILED_SCORE = -1.0


def mnasnet_soft(accuracy: float, cost: float, target: float) -> float:
    """accuracy * (cost / target)^-0.07 on both sides of the target: a trade-off (MnasNet with alpha = beta = -0.07)."""
    return accuracy * (cost / target) ** SOFT_EXPONENT


def mnasnet_hard(accuracy: float, cost: float, target: float) -> float:
    """The accuracy within the target, accuracy * target / cost beyond it (MnasNet with alpha = 0, beta = -1)."""
    return accuracy if cost <= target else accuracy * target / cost


def constraint(accuracy: float, cost: float, target: float) -> float:
    """The accuracy within the target; beyond it a score below 0 that falls with the excess, whatever the accuracy."""
    return accuracy if cost <= target else -0.5 * (1.0 - target / cost)


def plain_accuracy(accuracy: float, cost: float, target: float) -> float:
    """The accuracy alone."""
    return accuracy


OBJECTIVES: dict[str, Callable[[float, float, float], float]] = {
    "mnasnet_soft": mnasnet_soft,
    "mnasnet_hard": mnasnet_hard,
    "constraint": constraint,
    "accuracy": plain_accuracy,
}

"""Settings of knowledge distillation. No TensorFlow here."""

from __future__ import annotations

from dataclasses import dataclass

from core.checks import in_choices, in_range

NO_FEATURES, ATTENTION, FITNET = "none", "attention", "fitnet"
FEATURES = (NO_FEATURES, ATTENTION, FITNET)
TEACHERS = ("given", "self")


@dataclass(frozen=True, slots=True)
class DistillConfig:
    """The config section `distill`: what a network learns from a teacher besides the labels.

    Attributes:
      temperature: of the softmaxes that are compared.
      alpha: weight 0..1 of the teacher's scores against the labels.
      features: what else is compared: "attention" maps, "fitnet" hints (feature maps), or "none".
      feature_weight: weight of that part; it is added to the rest.
      teacher: who teaches the compressed networks: "given", the run's teacher, or "self", their own float32 parent,
        which also works where the run has no teacher.
    """

    temperature: float = 4.0
    alpha: float = 0.7
    features: str = NO_FEATURES
    feature_weight: float = 1.0
    teacher: str = "given"

    def __post_init__(self) -> None:
        in_range("config.distill.temperature", self.temperature, 0.1, 100.0)
        in_range("config.distill.alpha", self.alpha, 0.0, 1.0)
        in_choices("config.distill.features", self.features, FEATURES)
        in_range("config.distill.feature_weight", self.feature_weight, 0.0, 1e6)
        in_choices("config.distill.teacher", self.teacher, TEACHERS)

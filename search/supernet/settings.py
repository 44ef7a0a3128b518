"""Settings of weight sharing, checked when they are made. No TensorFlow here."""

from __future__ import annotations

from dataclasses import dataclass

from core.checks import in_range
from core.errors import bad_value
from core.registry import check_name
from search.settings import BATCH_SIZE, EPOCHS, LEARNING_RATE
from search.supernet import METHODS

PROGRESSIVE, SANDWICH, SINGLE_PATH = "progressive", "sandwich", "single_path"
ENAS, DARTS, PROXYLESS = "enas", "darts", "proxyless"
ELASTIC_METHODS = (PROGRESSIVE, SANDWICH, SINGLE_PATH, ENAS)  # that train one elastic supernet
MIXED_METHODS = (DARTS, PROXYLESS)  # that train a mixture of operators
RESOLUTION = (8, 4096)
IMAGES = (1, 1_000_000_000)


@dataclass(frozen=True, slots=True)
class SupernetConfig:
    """How shared weights are trained and what is then done with them.

    Attributes:
      method: "progressive" (progressive shrinking of Once-for-All, Cai et al. 2020, arXiv:1908.09791), "sandwich" (the
        sandwich rule, Yu & Huang 2019, arXiv:1903.05134), "single_path" (uniform sampling, Guo et al. 2020,
        arXiv:1904.00420), "enas" (Pham et al. 2018, arXiv:1802.03268), "darts" (Liu et al. 2019, arXiv:1806.09055) or
        "proxyless" (Cai et al. 2019, arXiv:1812.00332).
      full_epochs: of the largest network alone, before anything is elastic ("progressive").
      epochs: of everything after that, split over the phases of shrinking; of the other methods in all.
      train_images: limits the images that the shared weights are trained on.
      distill_alpha: weight 0..1 of the largest network's scores against the labels, for the other networks
        ("progressive", "sandwich").
      temperature: of the softmaxes that are compared.
      networks_per_step: sub-networks drawn for a step, whose gradients are summed; "sandwich": beside the largest and
        the smallest. "darts" and "proxyless" draw none.
      resolutions: input sides to search as well, as Once-for-All does; (): the data's own alone.
      recalibration_images: training images from which a sub-network's batch-norm statistics are computed.
      val_images: limits the validation images that a sub-network is judged by.
      predictor_networks: sub-networks that are evaluated to train the accuracy predictor; 0: there is none.
      fine_tune_epochs, fine_tune_learning_rate: of a network taken out of the supernet; 0 epochs: none.
      controller_steps: policy updates after each epoch of the weights ("enas").
      second_order: whether the architecture's gradient looks one step of the weights ahead ("darts").
      architecture_learning_rate: of the operators' weights in the mixture ("darts", "proxyless").
      latency_weight: of the expected latency in the loss, as a multiple of the target or of the mean network's latency
        ("darts", "proxyless"); 0: accuracy alone.
      target_latency_us: which the weight is adjusted to reach, and the network found meets ("proxyless"); or None.
      warmup_share: share of the epochs, at the start, in which only the weights are trained ("darts", "proxyless").
    """

    method: str = PROGRESSIVE
    full_epochs: int = 6
    epochs: int = 12
    batch_size: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    label_smoothing: float = 0.0
    train_images: int | None = None
    distill_alpha: float = 0.5
    temperature: float = 1.0
    networks_per_step: int = 1
    resolutions: tuple[int, ...] = ()
    recalibration_images: int = 1000
    val_images: int | None = 2000
    predictor_networks: int = 100
    fine_tune_epochs: int = 5
    fine_tune_learning_rate: float = 2e-3
    controller_steps: int = 50
    second_order: bool = False
    architecture_learning_rate: float = 1e-2
    latency_weight: float = 0.0
    target_latency_us: float | None = None
    warmup_share: float = 0.2

    def __post_init__(self) -> None:
        check_name(METHODS, self.method, "config.supernet.method")
        self._check_training()
        self._check_use()
        self._check_mixture()

    def _check_training(self) -> None:
        in_range("config.supernet.full_epochs", self.full_epochs, *EPOCHS)
        in_range("config.supernet.epochs", self.epochs, *EPOCHS)
        in_range("config.supernet.batch_size", self.batch_size, *BATCH_SIZE)
        in_range("config.supernet.learning_rate", self.learning_rate, *LEARNING_RATE)
        in_range("config.supernet.weight_decay", self.weight_decay, 0.0, 1.0)
        in_range("config.supernet.label_smoothing", self.label_smoothing, 0.0, 0.9)
        if self.train_images is not None:
            in_range("config.supernet.train_images", self.train_images, *IMAGES)
        in_range("config.supernet.distill_alpha", self.distill_alpha, 0.0, 1.0)
        in_range("config.supernet.temperature", self.temperature, 0.1, 100.0)
        in_range("config.supernet.networks_per_step", self.networks_per_step, 1, 64)
        self._check_resolutions()

    def _check_resolutions(self) -> None:
        where = "config.supernet.resolutions"
        for side in self.resolutions:
            if type(side) is not int:
                raise bad_value(where, self.resolutions, "whole numbers of pixels")
            in_range(where, side, *RESOLUTION)
        if len(self.resolutions) == 1 or len(set(self.resolutions)) < len(self.resolutions):
            raise bad_value(where, self.resolutions, "() or at least two, none twice")
        if self.resolutions and self.method in MIXED_METHODS:
            raise bad_value(where, self.resolutions, f"() with config.supernet.method = {self.method!r}")

    def _check_use(self) -> None:
        in_range("config.supernet.recalibration_images", self.recalibration_images, *IMAGES)
        if self.val_images is not None:
            in_range("config.supernet.val_images", self.val_images, *IMAGES)
        in_range("config.supernet.predictor_networks", self.predictor_networks, 0, 1_000_000)
        in_range("config.supernet.fine_tune_epochs", self.fine_tune_epochs, 0, EPOCHS[1])
        in_range("config.supernet.fine_tune_learning_rate", self.fine_tune_learning_rate, *LEARNING_RATE)
        in_range("config.supernet.controller_steps", self.controller_steps, 1, 1_000_000)

    def _check_mixture(self) -> None:
        why = f"config.supernet.method = {self.method!r}"
        if self.latency_weight and self.method not in MIXED_METHODS:
            raise bad_value("config.supernet.latency_weight", self.latency_weight, f"0 with {why}")
        if self.networks_per_step > 1 and self.method in MIXED_METHODS:
            raise bad_value("config.supernet.networks_per_step", self.networks_per_step, f"1 with {why}")
        in_range("config.supernet.architecture_learning_rate", self.architecture_learning_rate, *LEARNING_RATE)
        in_range("config.supernet.latency_weight", self.latency_weight, 0.0, 1e6)
        in_range("config.supernet.warmup_share", self.warmup_share, 0.0, 0.9)
        if self.second_order and self.method != DARTS:
            raise bad_value("config.supernet.second_order", True, f"False but for config.supernet.method = {DARTS!r}")
        if self.target_latency_us is None:
            return
        in_range("config.supernet.target_latency_us", self.target_latency_us, 1e-3, 1e9)
        if self.method != PROXYLESS:
            legal = f"None but for config.supernet.method = {PROXYLESS!r}"
            raise bad_value("config.supernet.target_latency_us", self.target_latency_us, legal)

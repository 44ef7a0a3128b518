"""The settings of a release: what is in it, and whether and how it is published."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass

from core.checks import in_range
from core.errors import bad_value
from deploy.app.names import check_package
from deploy.changes import Limits
from deploy.store.layout import check_channel_name

MAX_GOLDEN_IMAGES = 100
MAX_SPARE_CLASSES = 1000
_NAME = re.compile("[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
# What is done with a release that was made: in no key but those of the stage that compares it, and in no manifest.
PUBLICATION = (
    *("store", "channel", "sign_key", "allow_regression"),
    *("max_accuracy_loss", "max_size_growth", "max_latency_growth"),
)


@dataclass(frozen=True, slots=True)
class ReleaseConfig:
    """What a release holds, and where it goes.

    Attributes:
      name: begins the names of the release's files; releases of one name are one history.
      metadata: whether TFLite metadata and labels are in the models.
      on_device_training: whether each winner also comes as a model that an app can train further.
      spare_classes: outputs of that model beyond the trained classes, off until the app uses them.
      golden_images: test images whose expected outputs are kept beside each model, for `verify`.
      android_package: of the Android wrapper's classes.
      store: a folder or URL where a run publishes its release; None: it does not.
      channel: of the store, which then names the new release.
      sign_key: a private key's file, with which what is published is signed.
      max_accuracy_loss: fraction of the test images that a model may lose against the channel's previous release.
      max_size_growth, max_latency_growth: fraction by which a model may grow and become slower.
      allow_regression: whether to publish beyond these limits.
    """

    name: str = "litesmith"
    metadata: bool = True
    on_device_training: bool = False
    spare_classes: int = 0
    golden_images: int = 5
    android_package: str = "com.example.litesmith"
    store: str | None = None
    channel: str = "latest"
    sign_key: str | None = None
    max_accuracy_loss: float = 0.005
    max_size_growth: float = 0.05
    max_latency_growth: float = 0.10
    allow_regression: bool = False

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            legal = "letters, digits, '.', '_' and '-', beginning with a letter or a digit, at most 100"
            raise bad_value("config.release.name", self.name, legal)
        check_channel_name(self.channel, "config.release.channel")
        in_range("config.release.spare_classes", self.spare_classes, 0, MAX_SPARE_CLASSES)
        in_range("config.release.golden_images", self.golden_images, 0, MAX_GOLDEN_IMAGES)
        check_package("config.release.android_package", self.android_package)
        for name in ("store", "sign_key"):
            if getattr(self, name) == "":
                legal = "a folder or a URL, or None" if name == "store" else "a file, or None"
                raise bad_value(f"config.release.{name}", "", legal)
        in_range("config.release.max_accuracy_loss", self.max_accuracy_loss, 0, 1)
        in_range("config.release.max_size_growth", self.max_size_growth, 0, 1000)
        in_range("config.release.max_latency_growth", self.max_latency_growth, 0, 1000)

    @property
    def limits(self) -> Limits:
        """How much worse than the previous release a model may be."""
        return Limits(self.max_accuracy_loss, self.max_size_growth, self.max_latency_growth)

    def unpublished(self) -> ReleaseConfig:
        """The settings that decide what is in the release, the others at their defaults."""
        defaults = ReleaseConfig()
        return dataclasses.replace(self, **{name: getattr(defaults, name) for name in PUBLICATION})

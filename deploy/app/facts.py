"""What a release's files for apps are made of. No TensorFlow here."""

from __future__ import annotations

from dataclasses import dataclass

from deploy.manifest import ReleaseModel, TestSet
from search.dataset import ImageSet, Int32


@dataclass(frozen=True, slots=True, eq=False)
class AppModel:
    """A model of the release, already in the folder, and what it says of the test images.

    Attributes:
      model: as the manifest will have it, but for `extras`, which may be empty.
      test: the test images in the model's own resolution.
      predicted: int32 [n], the class that the .tflite names for each of them.
      steps: the passes of its recipe, one text each, as pipeline.plan_artifacts.ArtifactPlan.steps; () for none.
    """

    model: ReleaseModel
    test: ImageSet
    predicted: Int32
    steps: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReleaseFacts:
    """What model cards say of the whole release.

    Attributes:
      release, created, command: as in the manifest.
      data: the name of the data set (config.data.name); `origin` is where its images come from, "" if unknown.
      train_images, val_images: how many images the networks were trained on and chosen by.
      augment: the random changes in training (search.dataset.ImageData.augment).
      seed: of the run.
      teacher: what the networks were distilled from, in words; "" for none.
    """

    release: str
    created: str
    labels: tuple[str, ...]
    test_set: TestSet
    data: str
    train_images: int
    val_images: int
    augment: str
    seed: int
    origin: str = ""
    teacher: str = ""
    command: str = ""

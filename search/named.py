"""Reference networks and search spaces by name."""

from __future__ import annotations

from core.checks import in_range
from core.registry import load
from search.arch import ArchSpec
from search.choice import OneOf
from search.grammar import from_text, to_text
from search.networks import NETWORKS
from search.space import SearchSpace
from search.spaces import SPACES

DEFAULT_RESOLUTION, DEFAULT_CLASSES = 224, 1000  # ImageNet's, where neither the caller nor a publication says


def network(name: str, resolution: int, num_classes: int, width_multiplier: float = 1.0) -> ArchSpec:
    """The named reference network for a data set.

    Raises UsageError for an unknown name, a resolution too small for its strides, a width that it does not have.
    """
    make = load(NETWORKS, name, "network")
    in_range(f"{name}: width_multiplier", width_multiplier, 0.05, 20)
    return from_text(to_text(make(resolution, num_classes, width_multiplier)))  # names the place where it does not fit


def space(name: str, resolution: int | OneOf, num_classes: int) -> SearchSpace:
    """The named search space for a data set; a OneOf of resolutions is searched too.

    Raises UsageError for an unknown name, and for a resolution that the space cannot have.
    """
    named: SearchSpace = load(SPACES, name, "search space")(resolution, num_classes)
    return named

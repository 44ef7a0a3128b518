"""ShuffleNet V1 and V2, whose authors give a table of channels for each width."""

from __future__ import annotations

from collections.abc import Mapping

from core.errors import bad_value
from search.arch import ArchSpec
from search.networks.text import arch_of

# Stem channels and the channels of the three stages by width multiplier.
_V1_G3_CHANNELS = {
    0.5: (12, 120, 240, 480),
    1.0: (24, 240, 480, 960),
    1.5: (24, 360, 720, 1440),
    2.0: (48, 480, 960, 1920),
}
# The same and the head's: Ma et al. 2018, table 5 (2x: as in the authors' code, whose first stage has 244).
_V2_CHANNELS = {
    0.5: (24, 48, 96, 192, 1024),
    1.0: (24, 116, 232, 464, 1024),
    1.5: (24, 176, 352, 704, 1024),
    2.0: (24, 244, 488, 976, 2048),
}


def shufflenet_v1_g3(resolution: int, num_classes: int, width_multiplier: float = 1.0) -> ArchSpec:
    """ShuffleNet with three groups (Zhang et al. 2018, arXiv:1707.01083, table 1).

    Raises UsageError for a width other than 0.5, 1, 1.5 and 2.
    """
    stem, *channels = _of_width(_V1_G3_CHANNELS, width_multiplier, "shufflenet_v1_g3")
    stages = " ".join(f"shuffle1_r{r}_k3_s2_c{c}_g3_relu" for r, c in zip((4, 8, 4), channels, strict=True))
    return arch_of(f"stem_s2_c{stem}_relu max_r1_k3_s2 {stages} head_c0", resolution, num_classes)


def shufflenet_v2(resolution: int, num_classes: int, width_multiplier: float = 1.0) -> ArchSpec:
    """ShuffleNetV2 (Ma et al. 2018, arXiv:1807.11164, table 5).

    Raises UsageError for a width other than 0.5, 1, 1.5 and 2.
    """
    stem, *channels, head = _of_width(_V2_CHANNELS, width_multiplier, "shufflenet_v2")
    stages = " ".join(f"shuffle2_r{r}_k3_s2_c{c}_relu" for r, c in zip((4, 8, 4), channels, strict=True))
    return arch_of(f"stem_s2_c{stem}_relu max_r1_k3_s2 {stages} head_c{head}_relu", resolution, num_classes)


def _of_width(table: Mapping[float, tuple[int, ...]], width_multiplier: float, name: str) -> tuple[int, ...]:
    if width_multiplier not in table:
        legal = "one of the published " + ", ".join(f"{width:g}" for width in table)
        raise bad_value(f"{name}: width_multiplier", width_multiplier, legal)
    return table[width_multiplier]

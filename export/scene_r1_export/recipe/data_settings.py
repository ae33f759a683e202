"""What decides the data that is made, with the recordings and the checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, field

from scene_r1_engines.errors import BadConfig
from scene_r1_export.recipe.layout import Layout


@dataclass(frozen=True, slots=True)
class DataSettings:
    """k: keyframes held. image_pixels: what a keyframe is shown at, at most; as the runtime's own setting.
    views: keyframes in which a thing is sought, at most; absent_views: those that do not show it. jpeg_quality: of the
    pictures that are written. layout: how the checkpoint is asked."""

    k: int = 16
    image_pixels: int = 448 * 448
    views: int = 4
    absent_views: int = 1
    jpeg_quality: int = 95
    layout: Layout = field(default_factory=Layout)

    def __post_init__(self) -> None:
        if not 1 <= self.k <= 1024:
            raise BadConfig(f"k must be in 1..1024 keyframes, got {self.k}")
        if not 784 <= self.image_pixels <= 1 << 26:
            raise BadConfig(f"image_pixels must be in 784..{1 << 26}, got {self.image_pixels}")
        if self.views < 0 or self.absent_views < 0:
            raise BadConfig(f"views and absent_views must be 0 or more, got {self.views} and {self.absent_views}")
        if not 1 <= self.jpeg_quality <= 100:
            raise BadConfig(f"jpeg_quality must be in 1..100, got {self.jpeg_quality}")

"""Masks in several posed RGB-D frames -> one metric 3D box."""

from scene_r1.lift.lift import Lifted, Lifter, LiftSettings
from scene_r1.lift.masked_view import MaskedView

__all__ = ["LiftSettings", "Lifted", "Lifter", "MaskedView"]

"""Which frames to keep: quality-weighted voxel coverage, chosen online, k frames held."""

from scene_r1.keyframes.evaluate import Evaluation, evaluate
from scene_r1.keyframes.observation import FULL, Observation, ObservationSettings, Observer
from scene_r1.keyframes.quality import Quality, QualityMeter
from scene_r1.keyframes.selector import Decision, KeyframeSelector, SelectionSettings

__all__ = [
    "FULL",
    "Decision",
    "Evaluation",
    "KeyframeSelector",
    "Observation",
    "ObservationSettings",
    "Observer",
    "Quality",
    "QualityMeter",
    "SelectionSettings",
    "evaluate",
]

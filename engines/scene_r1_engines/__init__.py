"""Models behind small Protocols. Imports nothing of the runtime; heavy packages are imported on use."""

from scene_r1_engines.errors import (
    BadConfig,
    BadFrame,
    BadInput,
    BadIntrinsics,
    BadPrompt,
    BadRecording,
    BudgetExceeded,
    EngineFailed,
    MissingExtra,
    OutputExists,
    SceneR1Error,
)
from scene_r1_engines.intrinsics import Intrinsics
from scene_r1_engines.segmenter import SEGMENTERS, Segmenter, open_segmenter
from scene_r1_engines.view import Masks, Prompt, View

__all__ = [
    "SEGMENTERS",
    "BadConfig",
    "BadFrame",
    "BadInput",
    "BadIntrinsics",
    "BadPrompt",
    "BadRecording",
    "BudgetExceeded",
    "EngineFailed",
    "Intrinsics",
    "Masks",
    "MissingExtra",
    "OutputExists",
    "Prompt",
    "SceneR1Error",
    "Segmenter",
    "View",
    "open_segmenter",
]

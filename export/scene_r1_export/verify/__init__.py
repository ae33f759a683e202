"""Is an exported model the checkpoint it was made from? Logits, greedy tokens and boxes, side by side."""

from scene_r1_export.verify.report import Report
from scene_r1_export.verify.verify import verify

__all__ = ["Report", "verify"]

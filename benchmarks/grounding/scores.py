"""How one answer compares with its truth: as the rooms' own questions say, and the demo too."""

from scene_r1.rooms.questions.scores import box_iou, mean_relative_accuracy, temporal_iou, vqa_score

__all__ = ["box_iou", "mean_relative_accuracy", "temporal_iou", "vqa_score"]

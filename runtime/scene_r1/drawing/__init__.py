"""Pictures for people: what an answer points at, and which keyframes are held. Needs OpenCV and nothing else."""

from scene_r1.drawing.picture import Exhibit, evidence
from scene_r1.drawing.png import write_png
from scene_r1.drawing.sheet import contact_sheet, evidence_sheet

__all__ = ["Exhibit", "contact_sheet", "evidence", "evidence_sheet", "write_png"]

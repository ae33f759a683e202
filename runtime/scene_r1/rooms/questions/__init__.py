"""Questions about a room that have one answer, and the truth about it."""

from scene_r1.rooms.questions.make import make_questions
from scene_r1.rooms.questions.question import FIND_FAMILIES, VQA_FAMILIES, Question
from scene_r1.rooms.questions.seen_walk import SeenWalk

__all__ = ["FIND_FAMILIES", "VQA_FAMILIES", "Question", "SeenWalk", "make_questions"]

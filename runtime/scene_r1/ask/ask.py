"""The asking path: two-stage grounding as in Scene-R1, then one object in 3D from what several views claim."""

from __future__ import annotations

from scene_r1.answer import Answer
from scene_r1.ask.agreement import agreeing
from scene_r1.ask.inquiry import Inquiry, Scene
from scene_r1.timings import Timings
from scene_r1_engines.limits import Limits
from scene_r1_engines.reasoner import Finish


def find(question: str, limits: Limits, scene: Scene, clock: Timings | None = None) -> Answer:
    """The metric box of what a question is about.

    The reasoner says when it is seen, then where in up to four keyframes of that time. Each 2D box is segmented and
    lifted alone; the largest group of views whose boxes are the same thing in 3D wins, and its most confident member
    goes through the second half of `locate`. One deadline holds for all of it, and is looked at between the steps.

    Raises BadQuestion, and EngineFailed where a model breaks or writes what cannot be read in every view.
    """
    inquiry = Inquiry(question, limits, scene, clock or Timings())
    steps = {"when": inquiry.when, "where": inquiry.where, "lift": inquiry.look}
    for stage, step in steps.items():
        finish = step()
        if finish is not Finish.OK:
            return inquiry.unfinished(finish, stage)
    group = agreeing(inquiry.claims())
    if not group:
        return inquiry.without_object()
    return inquiry.found(group)


def in_words(question: str, limits: Limits, scene: Scene, clock: Timings | None = None) -> Answer:
    """A free question about the keyframes, answered in words and without a box. Raises as `find`."""
    inquiry = Inquiry(question, limits, scene, clock or Timings())
    return inquiry.words()

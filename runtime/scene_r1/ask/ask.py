"""The asking path: two-stage grounding as in Scene-R1, then one object in 3D from what several views claim."""

from __future__ import annotations

from collections.abc import Iterable

from scene_r1.answer import Answer
from scene_r1.ask.agreement import agreeing
from scene_r1.ask.inquiry import Inquiry, Scene
from scene_r1.memory import Keyframe
from scene_r1.timings import Timings
from scene_r1_engines.limits import Limits
from scene_r1_engines.reasoner import Finish

ENOUGH = 2
"""Views that must agree before no more are asked: each costs a call of the model, most of a question's time."""


def find(question: str, limits: Limits, scene: Scene, clock: Timings | None = None) -> Answer:
    """The metric box of what a question is about.

    The reasoner says when it is seen, then where in keyframes of that time, one after the other, up to four. Each 2D
    box is segmented and lifted alone, and as soon as two views' boxes are the same thing in 3D no more are asked. Until
    then the other keyframes are asked too, those nearest to that time first, for `limits.search_s`: a model errs by
    seconds. What they show is believed only where two views agree; without that, what one view of that time alone has
    shown. The largest group wins, and its most confident member goes through the second half of `locate`. One deadline
    holds for all of it, and is looked at between the steps.

    Raises BadQuestion, and EngineFailed where a model breaks or writes what cannot be read in every view.
    """
    inquiry = Inquiry(question, limits, scene, clock or Timings())
    finish = inquiry.when()
    if finish is not Finish.OK:
        return inquiry.unfinished(finish, "when")
    views = inquiry.views()
    stopped, group = _sought(inquiry, views)
    if stopped is None and len(group) < ENOUGH and inquiry.views_read:
        stopped, more = _sought(inquiry, inquiry.further_views(views))
        group = more if len(more) >= ENOUGH else group
    if stopped is not None:
        return inquiry.unfinished(stopped, "where")
    if group:
        return inquiry.found(group)
    return inquiry.without_object() if inquiry.claims() else inquiry.nowhere()


def _sought(inquiry: Inquiry, views: Iterable[Keyframe]) -> tuple[Finish | None, tuple[int, ...]]:
    """Look in each view until enough agree: how that was cut short, or None, and the claims that agree so far."""
    group: tuple[int, ...] = ()
    for keyframe in views:
        finish = inquiry.where(keyframe)
        if finish in (Finish.TIMED_OUT, Finish.CANCELLED):
            return finish, group
        group = agreeing(inquiry.claims())
        if len(group) >= ENOUGH:
            break
    return None, group


def in_words(question: str, limits: Limits, scene: Scene, clock: Timings | None = None) -> Answer:
    """A free question about the keyframes, answered in words and without a box. Raises as `find`."""
    inquiry = Inquiry(question, limits, scene, clock or Timings())
    return inquiry.words()

"""One question on its way: what it has brought to light so far, and the answers that can be made of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from scene_r1.answer import Answer, Box2D, Evidence, Status
from scene_r1.ask.agreement import Claim
from scene_r1.ask.candidates import candidates, further
from scene_r1.ask.confidence import confidence
from scene_r1.frame import RgbdFrame
from scene_r1.lift import Lifter
from scene_r1.locate import FirstLook, followed, look_at
from scene_r1.memory import Keyframe
from scene_r1.timings import Timings
from scene_r1_engines.errors import BadAnswer, BadInput, BadPrompt, EngineFailed, SceneR1Error
from scene_r1_engines.limits import Limits
from scene_r1_engines.reasoner import Finish, ImageGrounding, LabelledBox, Reasoner, TextAnswer, TimeGrounding
from scene_r1_engines.segmenter import Segmenter

MOST_BOXES = 3
"""Boxes of one keyframe that are lifted, the most confident ones."""

STATUS = {
    Finish.OK: Status.OK,
    Finish.NOT_FOUND: Status.NOT_FOUND,
    Finish.TRUNCATED: Status.TRUNCATED,
    Finish.TIMED_OUT: Status.TIMED_OUT,
    Finish.CANCELLED: Status.TIMED_OUT,
    Finish.NOT_READY: Status.NOT_READY,
}
"""How the end of a reasoner's call is said in an answer; its `reason` tells cancelled from out of time."""
NOT_THERE = {
    "when": "the model says that it is not in the recording",
    "where": "the model sees it in none of the keyframes that were looked through",
    "answer": "the model says that the recording does not show it",
}

Said = TypeVar("Said", TimeGrounding, ImageGrounding, TextAnswer)


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """What a question is put to. keyframes: those that the reasoner watches, in order of time; start_ns: the
    timestamp_ns that is 0 s on the clock of `watch`."""

    keyframes: tuple[Keyframe, ...]
    start_ns: int
    reasoner: Reasoner
    segmenter: Segmenter
    lifter: Lifter

    def seconds(self, keyframe: Keyframe) -> float:
        """A keyframe's time since the start of the recording."""
        return (keyframe.timestamp_ns - self.start_ns) / 1e9


@dataclass(frozen=True, slots=True, eq=False)
class _Pointed:
    """A 2D box, the keyframe it is in, what the model thought, and what is there."""

    keyframe: Keyframe
    box: LabelledBox
    rationale: str
    look: FirstLook


class Inquiry:
    """The steps of one question; each is timed, keeps the deadline, and says how it finished."""

    def __init__(self, question: str, limits: Limits, scene: Scene, clock: Timings) -> None:
        self._question, self._limits, self._scene, self._clock = question, limits, scene, clock
        self._when = TimeGrounding(Finish.NOT_FOUND)
        self._pointed: list[_Pointed] = []
        self._frames: dict[int, RgbdFrame] = {}
        self._late_encodes = 0
        self._unread: SceneR1Error | None = None
        self.views_read = 0
        """Views whose answer could be read."""
        self._unfinished = Finish.NOT_FOUND  # how a view ended that neither found the thing nor missed it

    def when(self) -> Finish:
        """Temporal grounding."""
        self._when = self._heard("when", lambda: self._scene.reasoner.when(self._question, self._limits))
        return self._when.finish

    def views(self) -> list[Keyframe]:
        """The keyframes of that time in which the thing is sought, in the order in which to ask.

        Raises BadAnswer where the model gave no time.
        """
        if self._when.window_s is None:
            raise BadAnswer("the model gave no time window")
        return candidates(self._scene.keyframes, self._when.window_s, self._scene.seconds)

    def further_views(self, asked: Sequence[Keyframe]) -> Iterator[Keyframe]:
        """The keyframes that are asked after those, in the order in which to ask, while there is time to search."""
        assert self._when.window_s is not None
        for keyframe in further(self._scene.keyframes, self._when.window_s, self._scene.seconds, asked):
            if self._clock.total_s >= self._limits.search_s:
                return
            yield keyframe

    def where(self, keyframe: Keyframe) -> Finish:
        """Image grounding in one keyframe; each 2D box is segmented and lifted alone. Ok when any has a place in the
        world.

        A view whose answer was cut off or cannot be read, or that the reasoner has lost, does not spoil the others.
        """
        try:
            said = self._grounded(keyframe)
        except BadAnswer as error:
            self._unread = error
            return Finish.NOT_FOUND
        except BadInput as error:  # which keyframes there are is not the caller's to know
            self._unread = EngineFailed(f"{self._scene.reasoner.name} has lost a keyframe: {error}")
            return Finish.NOT_FOUND
        self.views_read += said.finish in (Finish.OK, Finish.NOT_FOUND)
        if said.finish is not Finish.OK:
            if said.finish is not Finish.NOT_FOUND:
                self._unfinished = said.finish
            return said.finish
        placed = False
        for box in sorted(said.boxes, key=lambda box: -box.confidence)[:MOST_BOXES]:
            stopped = self._stopped()
            if stopped is not None:
                return stopped
            try:
                look = self._looked_at(keyframe, box)
            except BadAnswer as error:
                self._unread, self.views_read = error, self.views_read - 1
                continue
            self._pointed.append(_Pointed(keyframe, box, said.rationale, look))
            placed = placed or look.lifted.box is not None
        return Finish.OK if placed else Finish.NOT_FOUND

    def nowhere(self) -> Answer:
        """The answer when no view shows a thing that has a place in the world.

        Raises BadAnswer, or EngineFailed, where no view's answer could be read.
        """
        if self._pointed:
            return self.unfinished(Finish.NOT_FOUND, "lift")
        if self._unread is not None and self.views_read <= 0:
            raise self._unread
        return self.unfinished(self._unfinished, "where")

    def _looked_at(self, keyframe: Keyframe, box: LabelledBox) -> FirstLook:
        try:
            return look_at(self._frame(keyframe), box.xyxy, self._scene.segmenter, self._scene.lifter, self._clock)
        except BadPrompt as error:
            raise BadAnswer(f"{self._scene.reasoner.name} gave a box that is not in the picture: {error}") from error

    def claims(self) -> list[Claim]:
        """What each box that could be lifted says of the world; positions in it are what `found` takes."""
        return [
            Claim(one.keyframe.index, look.lifted.box, one.box.confidence)
            for one, look in self._lifted
            if look.lifted.box is not None
        ]

    def found(self, group: Sequence[int]) -> Answer:
        """The answer of a group of claims, the most confident first: it is sought in all keyframes and lifted."""
        lifted = self._lifted
        best, first = lifted[group[0]]
        stopped = self._stopped()
        if stopped is not None:
            return self.unfinished(stopped, "lift")
        frames = [self._frame(keyframe) for keyframe in self._scene.keyframes]
        answer = followed(first, frames, self._scene.segmenter, self._scene.lifter, self._clock)
        if answer.box_3d is None:
            return self._told(answer, best.rationale)
        sure = confidence(
            self._when.confidence,
            [lifted[i][0].box.confidence for i in group],
            agree=len(group),
            views=len({one.keyframe.index for one in self._pointed}),
            spread_m=answer.box_3d.spread_m,
            size=answer.box_3d.size,
        )
        return self._told(replace(answer, answer=best.box.label, confidence=sure), best.rationale)

    def without_object(self) -> Answer:
        """No two views point at one thing: a box would be a guess."""
        views = len({one.keyframe.index for one, _ in self._lifted})
        return self._ended(Status.NOT_FOUND, f"the views disagree: {views} keyframes show {views} different things")

    def unfinished(self, finish: Finish, stage: str) -> Answer:
        """The answer of a question that ended early, at a stage: when, where, lift or answer."""
        return self._ended(STATUS[finish], self._reason(finish, stage))

    def words(self) -> Answer:
        """The answer of a free question."""
        said = self._heard("answer", lambda: self._scene.reasoner.answer(self._question, self._limits))
        done = said.finish is Finish.OK
        answer = Answer(
            STATUS[said.finish],
            None,
            {"reasoner": self._scene.reasoner.name},
            {},
            reason="" if done else self._reason(said.finish, "answer"),
            answer=said.answer,
            rationale=said.rationale,
            confidence=said.confidence if done else 0.0,
            late_encodes=self._late_encodes,
        )
        return replace(answer, timings_ms=self._clock.ms())

    @property
    def _lifted(self) -> list[tuple[_Pointed, FirstLook]]:
        return [(one, one.look) for one in self._pointed if one.look.lifted.box is not None]

    def _grounded(self, keyframe: Keyframe) -> ImageGrounding:
        stopped = self._stopped()
        if stopped is not None:
            return ImageGrounding(stopped, keyframe.index)
        reasoner, image = self._scene.reasoner, None
        if reasoner.grounding_pixels is not None:
            image = self._frame(keyframe).color
        return self._heard("where", lambda: reasoner.where(self._question, keyframe.index, self._limits, image))

    def _heard(self, stage: str, call: Callable[[], Said]) -> Said:
        with self._clock.stage(stage):
            said = call()
        for part, ms in said.effort.timings_ms.items():
            self._clock.add(f"{stage}.{part}", ms)
        self._late_encodes += said.effort.late_encodes
        return said

    def _frame(self, keyframe: Keyframe) -> RgbdFrame:
        """Decoded once for a question."""
        if keyframe.index not in self._frames:
            with self._clock.stage("decode_keyframes"):
                self._frames[keyframe.index] = keyframe.frame()
        return self._frames[keyframe.index]

    def _stopped(self) -> Finish | None:
        if self._limits.cancelled():
            return Finish.CANCELLED
        return Finish.TIMED_OUT if self._limits.remaining_s <= 0.0 else None

    def _reason(self, finish: Finish, stage: str) -> str:
        if finish is Finish.TRUNCATED:
            return (
                f"the model was cut off at '{stage}' before it had finished: raise max_tokens in the settings, or ask "
                "for something shorter"
            )
        if finish is Finish.TIMED_OUT:
            return f"the time ran out at '{stage}': raise the timeout, think less or hold fewer keyframes"
        if finish is Finish.CANCELLED:
            return f"cancelled at '{stage}'"
        if finish is Finish.NOT_READY:
            return f"the model has not seen the keyframes yet (asked '{stage}'): ask again in a moment"
        if stage == "lift":
            return self._pointed[0].look.reason
        return NOT_THERE[stage]

    def _ended(self, status: Status, reason: str) -> Answer:
        seen: tuple[Evidence, ...] = tuple(one.look.evidence for one in self._pointed)
        answer = Answer(
            status,
            None,
            {"segmenter": self._scene.segmenter.name} if seen else {},
            {},
            seen,
            reason,
            ("segmenter",) if seen and self._scene.segmenter.degraded else (),
        )
        return self._told(answer, self._pointed[-1].rationale if self._pointed else "")

    def _told(self, answer: Answer, rationale: str) -> Answer:
        """The answer with what the reasoner has to do with it."""
        return replace(
            answer,
            engine={"reasoner": self._scene.reasoner.name, **answer.engine},
            rationale="\n".join(words for words in (self._when.rationale, rationale) if words),
            window_s=self._when.window_s,
            boxes_2d=tuple(Box2D(one.keyframe.index, one.box.xyxy, one.box.label) for one in self._pointed),
            confidence=answer.confidence or 0.0,
            late_encodes=self._late_encodes,
            timings_ms=self._clock.ms(),
        )

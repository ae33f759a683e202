"""The KV prefix over the keyframes: disposable, and brought up to date from the first keyframe that changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from scene_r1_engines.limits import never
from scene_r1_engines.llama.context import LlamaContext
from scene_r1_engines.llama.conversation import Conversation, Stretch, picture_positions
from scene_r1_engines.llama.model import Embedded

PREFIX, QUESTION = 0, 1
"""The two sequences of a context: what all questions share, and the question that is being asked."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A keyframe as the prefix holds it. digest: of its pixels; equal Shown have equal cells after equal neighbours."""

    keyframe_id: int
    digest: str
    timestamp_s: float


@dataclass(frozen=True, slots=True)
class _Laid:
    """One stretch in the cache. start: position from which its cells are removed. next: the position after it; pictures
    of a video share their corner, so it need not grow from one to the next. time: as in Stretch."""

    shown: Shown | None
    start: int
    next: int
    cells: int
    time: int | None


class Prefix:
    """Keeps sequence 0 equal to head + keyframes, and nothing else in it.

    Each stretch is decoded by itself, at the same batch boundaries whatever came before: so the cells after any history
    are those of a fresh start with the same keyframes.
    """

    def __init__(self, context: LlamaContext, conversation: Conversation) -> None:
        self._context = context
        self._conversation = conversation
        self._laid: list[_Laid] = []

    @property
    def shown(self) -> tuple[Shown, ...]:
        return tuple(one.shown for one in self._laid if one.shown is not None)

    @property
    def next_position(self) -> int:
        """Where a question begins."""
        return _next(self._laid)

    @property
    def cells(self) -> int:
        return sum(one.cells for one in self._laid)

    def is_current(self, wanted: Sequence[Shown]) -> bool:
        return bool(self._laid) and self.shown == tuple(wanted)

    def update(
        self,
        wanted: Sequence[Shown],
        pictures: Callable[[int], Embedded],
        enough: Callable[[], bool] = never,
        stop: Callable[[], bool] = never,
    ) -> bool:
        """Make the prefix that of the wanted keyframes, in their order. pictures: the embedding by id.

        enough: asked between keyframes; True leaves the rest for later. stop: asked within the work too, and raises
        Stopped. Either way what is laid is whole. Returns whether the prefix is current.
        """
        same = 0
        for have, want in zip(self.shown, wanted, strict=False):
            if have != want:
                break
            same += 1
        if self._laid:
            self._cut(1 + same)
        if not self._laid:
            self._lay(None, self._conversation.head(), stop)
        for shown in wanted[same:]:
            if enough():
                return False
            before = self._laid[-1].time
            stretch = self._conversation.keyframe(pictures(shown.keyframe_id), shown.timestamp_s, before)
            self._lay(shown, stretch, stop)
        return True

    def drop(self) -> None:
        """Start from nothing."""
        self._cut(0)

    def adopt(self, wanted: Sequence[Shown], pictures: Callable[[int], Embedded], load: Callable[[int], bool]) -> bool:
        """Take a saved prefix over these keyframes into the empty cache. load: reads that many cells, or says no."""
        self.drop()
        laid: list[_Laid] = []
        for shown in (None, *wanted):
            if shown is None:
                stretch = self._conversation.head()
            else:
                picture = pictures(shown.keyframe_id)
                stretch = self._conversation.keyframe(picture, shown.timestamp_s, laid[-1].time)
            laid.append(self._plan(shown, stretch, _next(laid), laid))
        if not load(sum(one.cells for one in laid)):
            return False
        self._laid = laid
        return True

    def _cut(self, keep: int) -> None:
        if keep >= len(self._laid):
            return
        gone = self._laid[keep:]
        self._context.remove(PREFIX, gone[0].start, sum(one.cells for one in gone))
        del self._laid[keep:]

    def _plan(self, shown: Shown | None, stretch: Stretch, position: int, laid: Sequence[_Laid]) -> _Laid:
        if stretch.picture is None or stretch.time is None:
            past = position + len(stretch.before)
            if stretch.picture is not None:
                past += max(stretch.picture.nx, stretch.picture.ny)
            return _Laid(shown, position, past + len(stretch.after), stretch.cells, None)
        corner = laid[0].next
        time = corner + stretch.time
        last = max(time, corner + stretch.picture.ny - 1, corner + stretch.picture.nx - 1)
        return _Laid(shown, time, last + 1, stretch.cells, stretch.time)

    def _lay(self, shown: Shown | None, stretch: Stretch, stop: Callable[[], bool]) -> None:
        plan = self._plan(shown, stretch, self.next_position, self._laid)
        already = self._context.cells
        try:
            decode_stretch(self._context, stretch, self.next_position, PREFIX, stop, self._laid)
        except BaseException:
            self._context.remove(PREFIX, plan.start, self._context.cells - already)
            raise
        self._laid.append(plan)


def _next(laid: Sequence[_Laid]) -> int:
    return max((one.next for one in laid), default=0)


def decode_stretch(
    context: LlamaContext,
    stretch: Stretch,
    position: int,
    seq: int,
    stop: Callable[[], bool] = never,
    laid: Sequence[_Laid] = (),
) -> int:
    """Decode one stretch at a position; returns the next free one. laid: what stands before, for the time of videos."""
    if stretch.before:
        position = context.decode_tokens(stretch.before, position, seq, stop)
    if stretch.picture is not None:
        corner = position if stretch.time is None else laid[0].next
        time = corner if stretch.time is None else corner + stretch.time
        positions = picture_positions(stretch.picture, time, corner)
        context.decode_rows(stretch.picture.rows, positions, seq, stop)
        position = max(position, int(np.max(positions)) + 1) if stretch.time is not None else int(np.max(positions)) + 1
    if stretch.after:
        position = context.decode_tokens(stretch.after, position, seq, stop)
    return position

"""The streaming half of the runtime: frames -> keyframes -> memory."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace

from scene_r1.frame import RgbdFrame
from scene_r1.keyframes.selector import Decision, KeyframeSelector
from scene_r1.memory import SceneMemory
from scene_r1_engines.errors import BudgetExceeded


def stream(frames: Iterable[RgbdFrame], selector: KeyframeSelector, memory: SceneMemory) -> Iterator[Decision]:
    """Offer each frame to the selector and keep the memory in step with it; yields every decision.

    Where the stream ends, the last candidate is settled: one decision more than frames, with index -1.

    A keyframe that the memory has no room for is given up by the selector too, and its decision says that nothing was
    inserted (the keyframe it was to replace has gone then as well).
    """
    for frame in frames:
        yield kept_in_step(selector.offer(frame), selector, memory)
    yield kept_in_step(selector.settle(), selector, memory)


def kept_in_step(decision: Decision, selector: KeyframeSelector, memory: SceneMemory) -> Decision:
    """Carry a decision of the selector out in the memory; returns it as it came to be, see `stream`."""
    if decision.inserted is None:
        return decision
    try:
        memory.put(decision.inserted, in_place_of=decision.evicted)
    except BudgetExceeded:
        selector.forget(decision.inserted.index)
        if decision.evicted is not None:
            memory.remove(decision.evicted)
        return replace(decision, inserted=None)
    return decision


def remember(
    frames: Iterable[RgbdFrame],
    selector: KeyframeSelector,
    memory: SceneMemory,
    also: Collection[int] = (),
    on_frame: Callable[[], None] | None = None,
) -> dict[int, RgbdFrame]:
    """Stream a whole recording into the memory. Returns those of the frames with indices `also` that it has.

    on_frame is called after each frame, to show progress. Constant memory but for the frames asked for.
    """
    kept: dict[int, RgbdFrame] = {}

    def noted() -> Iterator[RgbdFrame]:
        for frame in frames:
            if frame.index in also:
                kept[frame.index] = frame
            yield frame

    for decision in stream(noted(), selector, memory):
        if on_frame is not None and decision.index >= 0:
            on_frame()
    return kept

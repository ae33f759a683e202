"""The streaming half of the runtime: frames -> keyframes -> memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from scene_r1.frame import RgbdFrame
from scene_r1.keyframes.selector import Decision, KeyframeSelector
from scene_r1.memory import SceneMemory
from scene_r1_engines.errors import BudgetExceeded


def stream(frames: Iterable[RgbdFrame], selector: KeyframeSelector, memory: SceneMemory) -> Iterator[Decision]:
    """Offer each frame to the selector and keep the memory in step with it; yields every decision.

    A keyframe that the memory has no room for is given up by the selector too, and its decision says that nothing was
    inserted (the keyframe it was to replace has gone then as well).
    """
    for frame in frames:
        decision = selector.offer(frame)
        if decision.inserted is not None:
            try:
                memory.put(decision.inserted, in_place_of=decision.evicted)
            except BudgetExceeded:
                selector.forget(decision.inserted.index)
                if decision.evicted is not None:
                    memory.remove(decision.evicted)
                decision = replace(decision, inserted=None)
        yield decision

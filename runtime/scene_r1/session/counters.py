"""What a session has counted: everything that came in, and everything that was left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Counters:
    """Since the session was opened; those with a unit, and keyframes, held and waiting, are as of now.

    frames: handed in = mapped + lost + skipped + repeated + backward, where none starved. mapped: offered to the
    selector. lost: without a pose. skipped: while the map was built anew after a correction. repeated: of an index that
    had been. backward: taken before the one before. starved: there was no memory for it.
    keyframes: held. inserted, evicted: of them. refused: no room in the memory. unanchored: given up, since the
    tracker holds their place no longer. revisions: of the tracker's map.
    questions: asked = answered + failed + busy + those at work. busy: refused, since one was waiting already.
    reasoner_failures: while nobody asked. source: what the source has counted. recorder_dropped, viewer_dropped: not
    recorded, not shown, for want of time.
    memory_bytes: of the keyframes. cpu_ms: of the thread that hands frames in, by stage.
    """

    frames: int = 0
    mapped: int = 0
    lost: int = 0
    skipped: int = 0
    repeated: int = 0
    backward: int = 0
    starved: int = 0
    keyframes: int = 0
    inserted: int = 0
    evicted: int = 0
    refused: int = 0
    unanchored: int = 0
    revisions: int = 0
    questions: int = 0
    answered: int = 0
    failed: int = 0
    busy: int = 0
    waiting: int = 0
    reasoner_failures: int = 0
    recorder_dropped: int = 0
    viewer_dropped: int = 0
    memory_bytes: int = 0
    source: Mapping[str, int] = field(default_factory=dict)
    cpu_ms: Mapping[str, float] = field(default_factory=dict)

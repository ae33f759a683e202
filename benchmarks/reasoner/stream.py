"""How often a stream pays for the vision tower: the real selector, memory and reasoner over a recording."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from benchmarks.recordings import with_progress
from scene_r1.config import Config
from scene_r1.frame import RgbdFrame
from scene_r1.grounder import Grounder
from scene_r1.sources import FrameSource
from scene_r1_engines.errors import BadInput
from scene_r1_engines.llama import LlamaReasoner
from scene_r1_engines.llama.settings import LlamaSettings
from scene_r1_engines.segmenter import open_segmenter

LONG = 1000
RATE_HZ = 30.0


def there_and_back(frames: Iterable[RgbdFrame], count: int) -> Iterator[RgbdFrame]:
    """A stream of so many frames from a shorter recording: forwards, backwards and so on, as by a camera that turns
    round, at 30 Hz and with indices of its own. The recording is held in memory."""
    recorded = list(frames)
    period = max(1, 2 * (len(recorded) - 1))
    for index in range(count):
        place = index % period
        frame = recorded[min(place, period - place)]
        yield replace(frame, index=index, timestamp_ns=round(index * 1e9 / RATE_HZ))


def streamed(source: FrameSource, settings: LlamaSettings, frames: int = LONG) -> dict[str, Any]:
    """Watch a recording, there and back for so many frames at 30 Hz, and count.

    encodes_per_1000_frames: pictures through the vision tower, those that were caught up with after the last frame
    among them; after_first_k_...: without the first k, which every recording costs however long it is.
    inserted_per_1000_frames: what it would be if every keyframe were encoded at once.

    Raises BadInput where the reasoner and the grounder hold different numbers.
    """
    config = Config()
    opened: list[LlamaReasoner] = []

    def reasoner(_: object) -> LlamaReasoner:
        opened.append(LlamaReasoner(settings))
        return opened[0]

    if settings.keyframes != config.keyframes.k:
        raise BadInput(f"the grounder holds {config.keyframes.k} keyframes, the reasoner {settings.keyframes}")
    times: list[int] = []
    with Grounder(reasoner, open_segmenter("depth_cut"), config) as grounder:
        for frame in with_progress(there_and_back(source.frames(), frames), frames, "stream"):
            grounder.take(frame)
            times.append(frame.timestamp_ns)
        while_streaming = opened[0].encodes
        grounder.end()
        counted = grounder.selector.counters
        return {
            "frames": counted.offered,
            "duration_s": (times[-1] - times[0]) / 1e9,
            "k": config.keyframes.k,
            "inserted": counted.inserted,
            "encodes": opened[0].encodes,
            "encodes_while_streaming": while_streaming,
            "encodes_per_1000_frames": 1000.0 * opened[0].encodes / counted.offered,
            "after_first_k_per_1000_frames": 1000.0 * max(0, opened[0].encodes - config.keyframes.k) / counted.offered,
            "inserted_per_1000_frames": 1000.0 * counted.inserted / counted.offered,
        }

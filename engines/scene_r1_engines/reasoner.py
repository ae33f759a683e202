"""The Reasoner protocol: a vision-language model that watches keyframes and is asked about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from importlib import import_module
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from scene_r1_engines.errors import BadConfig
from scene_r1_engines.limits import Limits

Box = tuple[float, float, float, float]
"""(x0, y0, x1, y1), pixels of the original colour image, x1 > x0 and y1 > y0."""


class Finish(str, Enum):
    """How a call of a reasoner ended. A fault is raised, never returned."""

    OK = "ok"
    NOT_FOUND = "not_found"
    TRUNCATED = "truncated"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    NOT_READY = "not_ready"


@dataclass(frozen=True, slots=True)
class Effort:
    """What a call cost. encodes: images through the vision tower during the call; late_encodes: those of them that
    were keyframes still pending. prompt_tokens: decoded by the call itself, not what stood in the cache. timings_ms by
    stage: encode, prefix, prefill, decode and `first_token` (from the call to the first token of the answer).
    think_forced: the thinking ran out of its budget and was closed for the model.
    """

    encodes: int = 0
    late_encodes: int = 0
    prompt_tokens: int = 0
    generated_tokens: int = 0
    think_forced: bool = False
    timings_ms: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TimeGrounding:
    """When the thing is seen. window_s: (start, end) seconds on the clock of `watch`, end > start; None unless finish
    is ok. rationale: what the model thought. confidence: in [0, 1], from the probabilities of the answer's tokens;
    NaN-free, 0 unless ok. text: all that the model wrote."""

    finish: Finish
    window_s: tuple[float, float] | None = None
    rationale: str = ""
    confidence: float = 0.0
    text: str = ""
    effort: Effort = field(default_factory=Effort)


@dataclass(frozen=True, slots=True)
class LabelledBox:
    """One 2D box. xyxy: pixels of the original colour image. confidence: in [0, 1]."""

    xyxy: Box
    label: str
    confidence: float


@dataclass(frozen=True, slots=True)
class ImageGrounding:
    """Where the thing is in one keyframe. boxes: empty unless finish is ok. The rest as in TimeGrounding."""

    finish: Finish
    keyframe_id: int
    boxes: tuple[LabelledBox, ...] = ()
    rationale: str = ""
    text: str = ""
    effort: Effort = field(default_factory=Effort)


@dataclass(frozen=True, slots=True)
class TextAnswer:
    """An answer in words. answer: empty unless finish is ok. The rest as in TimeGrounding."""

    finish: Finish
    answer: str = ""
    rationale: str = ""
    confidence: float = 0.0
    text: str = ""
    effort: Effort = field(default_factory=Effort)


@runtime_checkable
class Reasoner(Protocol):
    """Watches keyframes while the camera runs, and answers questions about those it holds. A context manager.

    Ids are the caller's, so that a reasoner that was lost can be given its keyframes again. Every method raises
    EngineFailed when the model breaks or after `close()`; `close()` twice is fine.

    name: as in the table, and as every answer names the engine it came from.
    grounding_pixels: when not None, `where` wants the keyframe's image again, to look at it at that many pixels.
    """

    @property
    def name(self) -> str: ...

    @property
    def grounding_pixels(self) -> int | None: ...

    def watch(self, keyframe_id: int, image: NDArray[np.uint8], timestamp_s: float) -> None:
        """Take note of a keyframe; cheap: it is encoded later. image: (H, W, 3) uint8 RGB. timestamp_s: since the
        start of the recording. Raises BadFrame for another shape, a time that is not finite or an id that is held,
        BudgetExceeded when no more keyframes are taken."""
        ...

    def forget(self, keyframe_id: int) -> None:
        """Give a keyframe up. Raises BadInput for an id that is not held."""
        ...

    def settle(self, now_s: float | None = None, deadline_ns: int | None = None) -> bool:
        """Do pending work while nobody asks: encode keyframes, bring the prefix up to date.

        now_s: the stream's time; keyframes that are too young are left alone. None: the stream has ended, all are due.
        deadline_ns: on time.monotonic_ns(); a started image is finished. Returns whether nothing is left to do now.
        """
        ...

    def when(self, question: str, limits: Limits) -> TimeGrounding:
        """Temporal grounding over the held keyframes. Raises BadQuestion."""
        ...

    def where(
        self, question: str, keyframe_id: int, limits: Limits, image: NDArray[np.uint8] | None = None
    ) -> ImageGrounding:
        """Image grounding in one held keyframe. image: the keyframe's again, (H, W, 3) uint8 RGB, where
        `grounding_pixels` asks for it. Raises BadQuestion, BadInput for an id that is not held."""
        ...

    def answer(self, question: str, limits: Limits) -> TextAnswer:
        """A free question about the held keyframes. Raises BadQuestion."""
        ...

    def close(self) -> None: ...

    def __enter__(self) -> Reasoner: ...

    def __exit__(self, *exc: object) -> None: ...


REASONERS: dict[str, tuple[str, str]] = {
    # name: (module, class); imported on use, so that a missing extra costs only who asks for it
    "llama_cpp": ("scene_r1_engines.llama", "LlamaReasoner"),
    "openai": ("scene_r1_engines.openai", "OpenAiReasoner"),
}


def open_reasoner(name: str, settings: Any) -> Reasoner:
    """The reasoner of that name, in this process. settings: a LlamaSettings or OpenAiSettings.

    Raises BadConfig for an unknown name, MissingExtra where its package is absent, BadModelFile for a model that
    cannot be vouched for.
    """
    if name not in REASONERS:
        raise BadConfig(f"unknown reasoner {name!r}; known: {', '.join(sorted(REASONERS))}")
    module, attribute = REASONERS[name]
    engine: Reasoner = getattr(import_module(module), attribute)(settings)
    return engine

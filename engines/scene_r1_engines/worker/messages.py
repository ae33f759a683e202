"""What goes through the pipe between the caller's process and the worker's.

The caller hands over one order at a time and gets one Reply for it. Standing comes first of all; Settled comes unasked.
A picture goes through the shared block; the order says its shape.
"""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from scene_r1_engines.errors import EngineFailed, SceneR1Error
from scene_r1_engines.limits import Limits

LAST_LINES = 6
"""Of a traceback that becomes an EngineFailed."""


@dataclass(frozen=True, slots=True)
class Watch:
    keyframe_id: int
    timestamp_s: float
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Forget:
    keyframe_id: int


@dataclass(frozen=True, slots=True)
class Tell:
    """The stream's time is now_s; None: the stream has ended."""

    now_s: float | None


@dataclass(frozen=True, slots=True)
class Ask:
    """A question. number: unlike any other's; the shared block names it to cancel it. method: when, where or answer.
    keyframe_id: of `where`. deadline_ns: on time.monotonic_ns(), which on Linux is one clock for all processes."""

    number: int
    method: str
    question: str
    keyframe_id: int | None
    deadline_ns: int | None
    max_tokens: int
    think_tokens: int
    think_s: float
    shape: tuple[int, ...] | None

    def limits(self, cancelled: Callable[[], bool]) -> Limits:
        return Limits(self.deadline_ns, self.max_tokens, self.think_tokens, self.think_s, cancelled)


@dataclass(frozen=True, slots=True)
class Stop:
    """No more orders: close the reasoner and end."""


Order: TypeAlias = "Watch | Forget | Tell | Ask"


@dataclass(frozen=True, slots=True)
class Standing:
    """The reasoner is open. The fields are its own."""

    name: str
    grounding_pixels: int | None


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of an order: a value, or the error it raised."""

    value: Any = None
    error: SceneR1Error | None = None


@dataclass(frozen=True, slots=True)
class Settled:
    """Nothing is left to do after so many orders. error: or settling raised this, and is given up until the next."""

    orders: int
    error: SceneR1Error | None = None


def travelling(error: BaseException) -> SceneR1Error:
    """The error itself where it is one of ours and survives the pipe; else an EngineFailed that tells of it."""
    if isinstance(error, SceneR1Error) and _survives(error):
        return error
    lines = "".join(traceback.format_exception(type(error), error, error.__traceback__)).strip().split("\n")
    return EngineFailed("the reasoner broke: " + "\n".join([lines[-1], *lines[-LAST_LINES:-1]]))


def _survives(error: SceneR1Error) -> bool:
    try:
        return type(pickle.loads(pickle.dumps(error))) is type(error)
    except Exception:  # noqa: BLE001 - whatever its pickling raises, the error is told in another way
        return False


def packed(message: Standing | Reply | Settled) -> bytes:
    """The bytes of a message. What cannot be pickled becomes a Reply that says so."""
    try:
        return pickle.dumps(message)
    except Exception as error:  # noqa: BLE001 - a foreign result may raise anything; the caller is told
        return pickle.dumps(Reply(error=EngineFailed(f"the reasoner's result cannot be sent to its caller: {error}")))

"""Small reasoners of known behaviour, to be opened in a worker process."""

from __future__ import annotations

import ctypes
import os
import sys
import time
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from scene_r1_engines.errors import BadFrame, BadModelFile, BudgetExceeded, EngineFailed
from scene_r1_engines.limits import Limits
from scene_r1_engines.reasoner import Finish, ImageGrounding, Reasoner, TextAnswer, TimeGrounding


@dataclass(frozen=True)
class Behaviour:
    """settle_s: that each keyframe takes to settle. open: what opening does: "", "raise", "abort", "hang". refuse: the
    keyframes that are not taken, which cannot be known before they are shown."""

    settle_s: float = 0.0
    open: str = ""
    refuse: frozenset[int] = frozenset()


def checksum(image: np.ndarray) -> str:
    return f"{image.shape} {zlib.crc32(np.ascontiguousarray(image).tobytes()):08x}"


class Unknown(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__("two arguments")


class OddError(EngineFailed):
    """Cannot be made again from its message alone."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"odd {one} {two}")


class Obedient:
    """Does what the question says; answers with what it holds."""

    grounding_pixels = 1234

    def __init__(self, name: str, behaviour: Behaviour) -> None:
        self.name = name
        self.behaviour = behaviour
        self.held: dict[int, tuple[np.ndarray, float]] = {}
        self.pending: list[int] = []
        self.settled_at: list[float | None] = []

    def watch(self, keyframe_id, image, timestamp_s):
        if keyframe_id in self.held:
            raise BadFrame(f"held twice: {keyframe_id}")
        if len(self.held) >= 8:
            raise BudgetExceeded("eight are enough")
        if keyframe_id in self.behaviour.refuse:
            raise BadFrame(f"keyframe {keyframe_id} is too narrow")
        self.held[keyframe_id] = (image, timestamp_s)
        self.pending.append(keyframe_id)

    def forget(self, keyframe_id):
        del self.held[keyframe_id]
        self.pending = [one for one in self.pending if one != keyframe_id]

    def settle(self, now_s=None, deadline_ns=None):
        self.settled_at.append(now_s)
        while self.pending:
            if self.held[self.pending[0]][0].max(initial=0) == 77:
                raise EngineFailed("a picture of 77 cannot be encoded")
            time.sleep(self.behaviour.settle_s)
            self.pending.pop(0)
            if deadline_ns is not None and time.monotonic_ns() > deadline_ns:
                break
        return not self.pending

    def when(self, question: str, limits: Limits) -> TimeGrounding:
        return TimeGrounding(Finish.OK, (0.0, 1.0), text=self._obey(question, limits))

    def where(self, question, keyframe_id, limits, image=None):
        text = self._obey(question, limits)
        seen = f"{checksum(self.held[keyframe_id][0])} again {'none' if image is None else checksum(image)}"
        return ImageGrounding(Finish.OK, keyframe_id, text=f"{text}{seen}")

    def answer(self, question, limits):
        return TextAnswer(Finish.OK, text=self._obey(question, limits))

    def _obey(self, question: str, limits: Limits) -> str:
        word, _, more = question.partition(" ")
        if word == "abort":
            ctypes.CDLL(None).puts(b"native words on stdout")
            ctypes.CDLL(None).fflush(None)
            print("ASSERT(n > 0) failed", file=sys.stderr)
            os.abort()
        if word == "exit":
            os._exit(int(more))
        if word == "sleep":
            time.sleep(float(more))
        if word == "until-cancelled":
            began = time.monotonic()
            while not limits.cancelled():
                if limits.remaining_s == 0.0:
                    return "deadline"
                time.sleep(0.005)
                if time.monotonic() - began > 30:
                    return "never cancelled"
            return "cancelled"
        if word == "model-file":
            raise BadModelFile("text.gguf", "is truncated")
        if word == "odd":
            raise OddError(1, 2)
        if word == "unknown":
            raise Unknown(1, 2)
        if word == "exit-python":
            sys.exit(3)
        if word == "unpicklable":
            return lambda: None  # type: ignore[return-value]
        if word == "limits":
            return f"{limits.deadline_ns} {limits.max_tokens} {limits.think_tokens} {limits.think_s}"
        if word == "held":
            return " ".join(f"{one}@{t:g}:{checksum(image)}" for one, (image, t) in sorted(self.held.items()))
        if word == "pending":
            return str(self.pending)
        if word == "settled-at":
            return str(self.settled_at)
        if word == "pid":
            return str(os.getpid())
        if word == "noise":
            print("x" * 100_000)
            os.write(2, b"y" * 200_000)
        return ""

    def close(self):
        print("closed in order")

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


def open_obedient(name: str, behaviour: Behaviour) -> Obedient:
    print("opening", name)
    if behaviour.open == "raise":
        raise BadModelFile("manifest.toml", "is not there")
    if behaviour.open == "abort":
        os.abort()
    if behaviour.open == "hang":
        time.sleep(600)
    return Obedient(name, behaviour)


def open_fragile_llama(name: str, settings: Any) -> Reasoner:
    """The real one, whose `answer` makes ggml abort its process."""
    import llama_cpp

    from scene_r1_engines.llama import LlamaReasoner

    class FragileLlama(LlamaReasoner):
        def answer(self, question: str, limits: Limits) -> TextAnswer:
            memory = llama_cpp.llama_get_memory(self.context.handle)
            llama_cpp.llama_memory_seq_add(memory, 0, 0, -1, 1)  # asserts that positions are one number, not M-RoPE's
            raise AssertionError("it did not abort")

    return FragileLlama(settings)

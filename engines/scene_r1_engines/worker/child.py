"""The worker's own side: opens the reasoner, carries out orders one at a time, and settles while nobody asks."""

from __future__ import annotations

import ctypes
import faulthandler
import os
import pickle
import signal
import sys
import time
import traceback
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from scene_r1_engines.errors import BadConfig, EngineFailed
from scene_r1_engines.reasoner import Reasoner
from scene_r1_engines.worker.messages import (
    Ask,
    Forget,
    Order,
    Reply,
    Settled,
    Standing,
    Stop,
    Tell,
    Watch,
    packed,
    travelling,
)
from scene_r1_engines.worker.shared_block import SharedBlock

STEP_NS = 50_000_000
"""Deadline of one step of settling; an order waits at most for this, or for the picture that is in work."""
REST_S = 0.01
"""Pause after a step that left work and did none, so that such a reasoner does not keep a core busy."""
PR_SET_PDEATHSIG = 1


def main(pipe: Connection[Any, Any], block_fd: int, parent: int) -> None:
    """The whole life of a worker; never returns."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to the whole group; the caller decides
    die_with(parent)
    faulthandler.enable(all_threads=False)  # where Python was when native code aborted: among the last words
    # ggml would start a debugger from the dying process, which may hang it and holds the pipe open.
    os.environ.setdefault("GGML_NO_BACKTRACE", "1")
    block = SharedBlock(block_fd)
    code = 1
    try:
        code = _live(pipe, block)
    except (EOFError, OSError):
        pass  # the caller is gone: nobody is left to be told
    except BaseException:  # noqa: BLE001 - the reasoner's close; told among the last words
        traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)  # not the interpreter's own way out, on which native libraries may hang or abort


def die_with(parent: int) -> None:
    """Be killed when the thread that started this process ends, however it ends, even inside a native call."""
    with suppress(OSError, AttributeError):  # without it, the closed pipe ends this process after its present order
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != parent:
        os._exit(1)


def _live(pipe: Connection[Any, Any], block: SharedBlock) -> int:
    try:
        reasoner = _open(pipe.recv_bytes())
    except BaseException as error:  # noqa: BLE001 - not swallowed: the caller's process raises it
        traceback.print_exc()
        pipe.send_bytes(packed(Reply(error=travelling(error))))
        return 1
    with reasoner:
        pipe.send_bytes(packed(Standing(reasoner.name, reasoner.grounding_pixels)))
        Desk(reasoner, pipe, block).serve()
    return 0


def _open(order: bytes) -> Reasoner:
    try:
        opener, name, settings = pickle.loads(order)
    except Exception as error:
        raise BadConfig(
            f"the worker cannot rebuild the reasoner's settings or opener ({error}): define them in a module that can "
            "be imported, not in the script or session that is running"
        ) from error
    reasoner: Reasoner = opener(name, settings)
    return reasoner


class Desk:
    """Where orders come in. The reasoner is used by this thread alone."""

    def __init__(self, reasoner: Reasoner, pipe: Connection[Any, Any], block: SharedBlock) -> None:
        self._reasoner = reasoner
        self._pipe = pipe
        self._block = block
        self._orders = 0
        self._time_known = False
        self._now_s: float | None = None

    def serve(self) -> None:
        """Until a Stop. Raises EOFError or OSError when the caller's process is gone."""
        settled, rest_s = True, 0.0
        while True:
            if settled or self._pipe.poll(rest_s):
                order = self._pipe.recv()
                if isinstance(order, Stop):
                    return
                self._orders += 1
                self._block.work(self._orders)
                reply = packed(self._carry_out(order))
                self._block.rest()
                self._pipe.send_bytes(reply)
                settled, rest_s = False, 0.0
            else:
                settled, rest_s = self._step()

    def _carry_out(self, order: Order) -> Reply:
        try:
            return Reply(self._do(order))
        except BaseException as error:  # noqa: BLE001 - not swallowed: the caller's process raises it
            traceback.print_exc()
            return Reply(error=travelling(error))

    def _do(self, order: Order) -> object:
        if isinstance(order, Watch):
            self._reasoner.watch(order.keyframe_id, self._block.take(order.shape), order.timestamp_s)
            self._note_time(order.timestamp_s)
            return None
        if isinstance(order, Forget):
            self._reasoner.forget(order.keyframe_id)
            return None
        if isinstance(order, Tell):
            self._time_known, self._now_s = True, order.now_s
            return None
        return self._answer(order)

    def _note_time(self, timestamp_s: float) -> None:
        """A keyframe tells the stream's time too, and that it has not ended."""
        self._now_s = timestamp_s if self._now_s is None else max(self._now_s, timestamp_s)
        self._time_known = True

    def _answer(self, order: Ask) -> object:
        # not ==: a later question that was given up as well must not hide that this one was
        limits = order.limits(lambda: self._block.cancelled >= order.number)
        if order.method == "when":
            return self._reasoner.when(order.question, limits)
        if order.method == "answer":
            return self._reasoner.answer(order.question, limits)
        if order.method != "where" or order.keyframe_id is None:
            raise EngineFailed(f"the worker knows no method {order.method!r}")
        image = None if order.shape is None else self._block.take(order.shape)
        return self._reasoner.where(order.question, order.keyframe_id, limits, image)

    def _step(self) -> tuple[bool, float]:
        """One step of settling. Returns whether nothing is left, and how long to rest before the next."""
        began_ns = self._block.work(self._orders)
        error = None
        try:
            settled = not self._time_known or self._reasoner.settle(self._now_s, began_ns + STEP_NS)
        except BaseException as fault:  # noqa: BLE001 - not swallowed: the caller's process raises it
            traceback.print_exc()
            settled, error = True, travelling(fault)
        self._block.rest()
        if settled:
            self._pipe.send_bytes(packed(Settled(self._orders, error)))
        return settled, REST_S if time.monotonic_ns() - began_ns < 1_000_000 else 0.0

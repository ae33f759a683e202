"""`scene-r1 live`: a camera runs, and questions typed meanwhile are answered from what it has seen so far."""

from __future__ import annotations

import argparse
import atexit
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from scene_r1.cli import INTERRUPTED, OK, TERMINATED
from scene_r1.cli.asking import add_options, effective, model_of
from scene_r1.cli.chat import answer, questions
from scene_r1.config import Config
from scene_r1.files import check_output_folder
from scene_r1.session import Session, State
from scene_r1.tracking.tracker import TRACKERS
from scene_r1_engines.errors import SceneR1Error

if TYPE_CHECKING:
    from scene_r1.live import LiveSource

STATUS_S = 1.0
FIRST_FRAME_S = 10.0
"""How long the first question waits for the first keyframe."""
LOOK_S = 0.05


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--source",
        default="realsense",
        metavar="SOURCE",
        help="realsense, realsense:SERIAL, or a recording played at a rate: RECORDING@30hz (default realsense)",
    )
    add_options(parser)
    parser.add_argument(
        "--tracker", choices=sorted(TRACKERS), help="where poses come from (default auto: the source, or the picture)"
    )
    parser.add_argument("--record", metavar="FILE", help="record everything there, .mcap (extra 'ros')")
    parser.add_argument("--viewer", metavar="rerun|FILE", help="show it in Rerun, or write FILE.rrd (extra 'viewer')")
    parser.epilog = (
        "One question a line; '/vqa QUESTION' is answered in words whatever --task says. At a terminal the input's end "
        "(Ctrl-D) ends it; else it goes on until the source ends, or SIGINT or SIGTERM."
    )


def run(args: argparse.Namespace) -> int:
    config = effective(args)
    if args.tracker is not None:
        config = replace(config, live=replace(config.live, tracker=args.tracker))
    out = None if args.out is None else check_output_folder(args.out)
    with _signals_as_before(), ExitStack() as stack, _leaving_once():
        session, source = _opened(args, config, stack)
        watcher = Watcher(session, source)
        asked = 0
        for line in _lines(watcher):
            watcher.wait_for_keyframe()
            asked += 1
            answer(line, args.task, session, None if out is None else out / str(asked), args.json, "live")
        if not sys.stdin.isatty():
            watcher.wait()
        print(watcher.summary(asked), file=sys.stderr)
        if watcher.broken is not None:
            raise watcher.broken
    return OK if watcher.fault is None else watcher.fault.exit_code


class Watcher:
    """The thread that hands the source's frames to the session, and what there is to say of it."""

    def __init__(self, session: Session, source: LiveSource) -> None:
        self.fault: SceneR1Error | None = None
        self.broken: BaseException | None = None
        """What nobody foresaw; for the caller to raise, with its traceback, when the questions are over."""
        self._session, self._source = session, source
        self._thread = threading.Thread(target=self._run, name="scene-r1-frames", daemon=True)
        self._thread.start()

    def wait_for_keyframe(self) -> None:
        """A question that is there before the first frame waits for it a while."""
        ends_s = time.monotonic() + FIRST_FRAME_S
        while self._thread.is_alive() and not self._session.keyframes and time.monotonic() < ends_s:
            time.sleep(LOOK_S)

    def wait(self) -> None:
        """Until the source has ended."""
        while self._thread.is_alive():
            self._thread.join(LOOK_S)

    def status(self) -> str:
        """One line for people."""
        session, counted = self._session, self._session.counters
        state = "ended" if not self._thread.is_alive() and session.state is State.RUNNING else session.state.value
        dropped = counted.source.get("dropped", 0)
        words = f"[{state}] {counted.frames} frames, {dropped} dropped, {counted.keyframes} keyframes"
        words += f", {counted.memory_bytes / 1e6:.1f} MB"
        if counted.recorder_dropped:
            words += f", {counted.recorder_dropped} not recorded"
        return "; ".join([words, *session.reasons])

    def summary(self, asked: int) -> str:
        counted = self._session.counters
        dropped = counted.source.get("dropped", 0)
        return f"saw {counted.frames} frames ({dropped} dropped), {counted.keyframes} keyframes, {asked} questions"

    def _run(self) -> None:
        try:
            self._session.run(self._source)
        except SceneR1Error as error:
            self.fault = error
            print(f"scene-r1 live: {error}; questions are still answered", file=sys.stderr)
            return
        except BaseException as error:  # noqa: BLE001 - a thread's last words would be lost
            self.broken = error
            print(f"scene-r1 live: no more frames ({error!r}); questions are still answered", file=sys.stderr)
            return
        if self._session.state is not State.CLOSED and sys.stdin.isatty():
            print("\nthe recording has ended; questions are still answered, Ctrl-D ends", file=sys.stderr)


def _opened(args: argparse.Namespace, config: Config, stack: ExitStack) -> tuple[Session, LiveSource]:
    """Everything that was asked for; what is there soonest first, so that what lacks shows soonest."""
    from scene_r1.live import open_live  # on use: a camera's needs are not everybody's
    from scene_r1.viewer.live import LiveViewer, check_target

    if args.viewer is not None:
        check_target(args.viewer)
    source = stack.enter_context(open_live(args.source))
    session = stack.enter_context(Session.open(config, model_of(args, config)))
    if args.record is not None:
        from scene_r1.recorder import Recorder

        quality = config.memory.jpeg_quality
        recorder = Recorder(92 if quality is None else quality)
        recorder.start(args.record, source.info)
        session.record(recorder)
    if args.viewer is not None:
        session.show(LiveViewer(args.viewer))
    return session, source


def _lines(watcher: Watcher) -> Iterator[str]:
    """Questions as they are typed, with a line above that says how it goes where people look on."""
    lines = questions("\n? ")
    while True:
        with _status_line(watcher):
            line = next(lines, None)
        if line is None:
            return
        yield line


@contextmanager
def _status_line(watcher: Watcher) -> Iterator[None]:
    """While the block runs, the line above the prompt says once a second how it goes, and the cursor stays."""
    if not (sys.stderr.isatty() and sys.stdin.isatty()):
        yield
        return
    done = threading.Event()

    def show() -> None:
        while not done.wait(STATUS_S):
            width = shutil.get_terminal_size().columns - 1
            print(f"\x1b7\x1b[1A\r\x1b[2K{watcher.status()[:width]}\x1b8", end="", file=sys.stderr, flush=True)

    thread = threading.Thread(target=show, name="scene-r1-status", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()


@contextmanager
def _signals_as_before() -> Iterator[None]:
    """At the end, signals are taken as before the block."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        with suppress(ValueError):  # not the main thread: nothing was changed either
            for number, handler in before.items():
                signal.signal(number, handler)


@contextmanager
def _leaving_once() -> Iterator[None]:
    """Once the block has ended, however it did, everything closes: another SIGINT then leaves at once, and SIGTERM is
    being obeyed already."""
    try:
        yield
    except (Exception, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # a signal
        atexit.register(_end_now, INTERRUPTED if isinstance(error, KeyboardInterrupt) else TERMINATED)
        raise
    finally:
        with suppress(ValueError):
            signal.signal(signal.SIGINT, lambda number, frame: os._exit(INTERRUPTED))
            signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _end_now(code: int) -> None:
    """After a signal, when all is closed: the interpreter takes seconds to tear compiled kernels down where the
    machine is busy, and who sent the signal waits for no more than two."""
    for out in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            out.flush()
    os._exit(code)

"""Processes that make rooms, one room at a time each."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from multiprocessing import spawn
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from types import FrameType
from typing import Literal

from scene_r1.rooms.dataset.room_folder import make_room_folder, room_name
from scene_r1.rooms.dataset.settings import RoomsSettings
from scene_r1_engines.errors import MissingExtra, SceneR1Error

END_S = 20.0
"""How long a process may take to remove what it has half-written; baking a room's light cannot be interrupted."""
# As for the process of an engine: multiprocessing's spawn would run the caller's main module once more.
START = (
    "import sys; sys.path[:] = [p for p in sys.path if p];"
    "from multiprocessing.connection import Connection; pipe = Connection(int(sys.argv[1]));"
    "sys.path[:] = pipe.recv();"
    "from scene_r1.rooms.dataset.worker import main; main(pipe)"
)


@dataclass(frozen=True, slots=True)
class RoomDone:
    """What became of one room. reason: why it failed, else empty. questions: how many it has."""

    name: str
    how: Literal["made", "kept", "failed"]
    questions: int = 0
    reason: str = ""


def make_each(out: Path, seeds: Sequence[int], made: RoomsSettings, workers: int) -> Generator[RoomDone, None, None]:
    """Make the rooms of those seeds, `workers` at a time, and tell of each when it is done.

    One worker is this process. A room that fails, or whose process dies, is told of and the others go on. Leaving the
    loop early, or an error in it, ends the processes; what they had half-written is removed. Raises MissingExtra
    without a ray caster.
    """
    if workers == 1 or len(seeds) <= 1:
        for seed in seeds:
            done = _attempt(out, seed, made)
            if isinstance(done, MissingExtra):
                raise done
            yield done
        return
    waiting = list(reversed(seeds))
    with ExitStack() as stack:
        busy: dict[object, tuple[_Process, int]] = {}

        def give(process: _Process) -> None:
            if waiting:
                seed = waiting.pop()
                process.say((out, seed, made))
                busy[process.pipe] = process, seed

        for _ in range(min(workers, len(seeds))):
            give(stack.enter_context(_Process()))
        while busy:
            for pipe in wait([process.pipe for process, _ in busy.values()]):
                process, seed = busy.pop(pipe)
                try:
                    done = process.pipe.recv()
                except (EOFError, OSError):
                    done = RoomDone(room_name(seed), "failed", 0, f"its process died ({process.end()})")
                    _sweep(out, seed)
                    if waiting:
                        process = stack.enter_context(_Process())
                if isinstance(done, MissingExtra):
                    raise done
                give(process)
                yield done


def main(pipe: Connection) -> None:
    """The loop of a worker process: a room for each order, until the other end of the pipe is closed."""
    import cv2

    def stop(number: int, frame: FrameType | None) -> None:
        raise SystemExit  # so that what is half-written is removed on the way out

    signal.signal(signal.SIGTERM, stop)
    cv2.setNumThreads(1)  # the processes share the cores
    while True:
        try:
            out, seed, made = pipe.recv()
            done = _attempt(out, seed, made)
            pipe.send(done)
        except (EOFError, BrokenPipeError):
            return


def _attempt(out: Path, seed: int, made: RoomsSettings) -> RoomDone | MissingExtra:
    try:
        return RoomDone(room_name(seed), "made", make_room_folder(out, seed, made))
    except MissingExtra as error:
        return error
    except SceneR1Error as error:
        return RoomDone(room_name(seed), "failed", 0, str(error))


class _Process:
    """A resource: leaving it ends the process. In a session of its own, so that Ctrl-C reaches its maker alone."""

    def __init__(self) -> None:
        self.pipe, theirs = Pipe()
        with theirs:
            self._process = subprocess.Popen(
                [os.fsdecode(spawn.get_executable()), "-c", START, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
        self.say(sys.path)

    def say(self, message: object) -> None:
        """Send it something; that it has died is seen when its answer is read."""
        with suppress(OSError):
            self.pipe.send(message)

    def end(self) -> str:
        """Wait for its end; says in words how it ended."""
        code = self._process.wait()
        return f"signal {-code}" if code < 0 else f"exit status {code}"

    def __enter__(self) -> _Process:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.pipe.close()
        if kind is not None:
            self._process.terminate()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _sweep(out: Path, seed: int) -> None:
    """Remove what a process that died could not."""
    for left in out.glob(f".{room_name(seed)}-*"):
        with suppress(OSError):
            shutil.rmtree(left)

"""The capturing process as its caller sees it: started, listened to, ended, and its last words kept."""

from __future__ import annotations

import logging
import os
import pickle
import signal
import subprocess
import sys
import time
from contextlib import suppress
from multiprocessing import spawn
from multiprocessing.connection import Connection, Pipe, wait
from typing import Any

from scene_r1.live.messages import Ended, Fault, Message, Open, Opened, Order, Stop
from scene_r1_engines.errors import CameraLost

_log = logging.getLogger(__name__)

TAIL_BYTES = 16384
QUOTED = 1500
"""Characters of the last words that an error quotes."""
ASK_S, TERMINATE_S = 0.8, 0.3
"""How long `end` waits for a process that was asked, then for one that was sent SIGTERM: a driver may hang in both."""

# As engines' worker: not through multiprocessing's own spawn, which runs the caller's main module a second time.
START = (
    "import sys; sys.path[:] = [p for p in sys.path if p];"
    "from multiprocessing.connection import Connection; pipe = Connection(int(sys.argv[1]));"
    "sys.path[:] = pipe.recv();"
    "from scene_r1.live.child import main; main(pipe, *map(int, sys.argv[2:]))"
)


class CaptureProcess:
    """Starts a process that opens the camera of `order`, see child.main. A resource: `end()`, then `close()`.

    wake_fd: an eventfd that it counts up with each frame. ring_fd: empty memory to be made as large as the ring, once
    the camera has said how large its images are.

    To be made in a thread that lives as long as the camera is wanted: the system kills the process when that thread
    ends. Its stdout and stderr go to the log (level DEBUG) and never to the caller's own.

    Raises CameraLost when no process can be started.
    """

    def __init__(self, order: Open, wake_fd: int) -> None:
        packed = pickle.dumps(order)
        self.ring_fd = os.memfd_create("scene-r1-frames")
        self._pipe, theirs = Pipe()
        self._tail = b""
        fds = (theirs.fileno(), self.ring_fd, wake_fd)
        try:
            self._process = subprocess.Popen(
                [os.fsdecode(spawn.get_executable()), "-u", "-c", START, *map(str, (*fds, os.getpid()))],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                bufsize=0,
                pass_fds=fds,
            )
        except OSError as error:
            self._pipe.close()
            os.close(self.ring_fd)
            raise CameraLost(f"no capturing process can be started with {sys.executable!r}: {error}") from error
        finally:
            theirs.close()
        assert self._process.stdout is not None
        self._noise: int | None = self._process.stdout.fileno()
        with suppress(OSError):  # it is dead already, which `listen` finds
            self._pipe.send([path or os.getcwd() for path in sys.path if isinstance(path, str)])
            self._pipe.send_bytes(packed)

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, order: Order) -> None:
        """Never waits: the few orders there are fit the pipe. A process that is dead is found by `listen`."""
        with suppress(OSError):
            self._pipe.send(order)

    def listen(self, timeout_s: float) -> Message | None:
        """The next message, None after the timeout. Raises EOFError when the process is dead."""
        ends_s = time.monotonic() + timeout_s
        while True:
            sources: list[Connection[Any, Any] | int] = [self._pipe]
            if self._noise is not None:
                sources.append(self._noise)
            ready = wait(sources, max(0.0, ends_s - time.monotonic()))
            if self._noise in ready:
                self._drain()
            if self._pipe in ready:
                return self._received()
            if self._process.poll() is not None and not self._pipe.poll():
                raise EOFError  # something that it started still holds the pipe open
            if time.monotonic() >= ends_s:
                return None

    def kill(self) -> None:
        self._process.kill()

    def end(self) -> None:
        """Ask, terminate, kill: dead and reaped on return, within 1.5 s. From any thread, and again."""
        self.send(Stop())
        for timeout_s, more in ((ASK_S, self._process.terminate), (TERMINATE_S, self._process.kill)):
            try:
                self._process.wait(timeout_s)
                return
            except subprocess.TimeoutExpired:
                more()
        self._process.wait()

    def last_words(self) -> str:
        """How it ended, and the end of what it wrote. To be called when it is dead, or as good as."""
        try:
            code = self._process.wait(TERMINATE_S)
        except subprocess.TimeoutExpired:  # its pipe is closed and it does not go
            self._process.kill()
            code = self._process.wait()
        while self._noise is not None and wait([self._noise], 0):
            self._drain()
        tail = self._tail.decode(errors="replace").strip()[-QUOTED:]
        return f"{_how(code)}; " + (f"its last words:\n{tail}" if tail else "it said nothing")

    def close(self) -> None:
        """Give its pipes and memory back. By the thread that listens, when it is dead. Twice is fine."""
        self._pipe.close()
        if self.ring_fd >= 0:
            os.close(self.ring_fd)
            self.ring_fd = -1
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._noise = None

    def _received(self) -> Message:
        try:
            message = pickle.loads(self._pipe.recv_bytes())
        except OSError:
            raise EOFError from None
        assert isinstance(message, (Opened, Ended, Fault))
        return message

    def _drain(self) -> None:
        assert self._noise is not None
        data = os.read(self._noise, 65536)
        if not data:
            self._noise = None
        self._tail = (self._tail + data)[-TAIL_BYTES:]
        for line in data.decode(errors="replace").splitlines():
            _log.debug("capture %d: %s", self._process.pid, line)


def _how(code: int) -> str:
    if code >= 0:
        return f"exited with code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = "unknown"
    return f"was killed by signal {-code} ({name})"

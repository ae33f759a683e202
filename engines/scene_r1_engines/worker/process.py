"""One worker process as its caller sees it: started, listened to, ended, and its last words kept."""

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

from scene_r1_engines.errors import EngineFailed
from scene_r1_engines.worker.messages import Order, Reply, Settled, Standing, Stop
from scene_r1_engines.worker.shared_block import SharedBlock

_log = logging.getLogger(__name__)

TAIL_BYTES = 16384
QUOTED = 3000
"""Characters of the last words that an error quotes."""
ASK_S, TERMINATE_S = 1.0, 0.4
"""How long `end` waits for a worker that was asked, then for one that was sent SIGTERM."""

# multiprocessing's spawn would run the caller's main module again in the worker: that fails for a script from stdin and
# starts a script without the `__main__` idiom a second time. So the worker starts from this line, with nothing but the
# caller's sys.path; the working directory is kept out of the way of the standard library.
START = (
    "import sys; sys.path[:] = [p for p in sys.path if p];"
    "from multiprocessing.connection import Connection; pipe = Connection(int(sys.argv[1]));"
    "sys.path[:] = pipe.recv();"
    "from scene_r1_engines.worker.child import main; main(pipe, int(sys.argv[2]), int(sys.argv[3]))"
)


class WorkerProcess:
    """Starts a worker that opens the reasoner of `order`, see child.main. A resource: `end()`, then `close()`.

    To be made in a thread that lives as long as the worker is wanted: the system kills the worker when that thread
    ends. Its stdout and stderr go to the log (level DEBUG) and never to the caller's own.

    Raises EngineFailed when no process can be started.
    """

    def __init__(self, order: bytes) -> None:
        self.block = SharedBlock()
        self._pipe, theirs = Pipe()
        self._tail = b""
        try:
            self._process = subprocess.Popen(
                [
                    os.fsdecode(spawn.get_executable()),
                    "-u",
                    "-c",
                    START,
                    *map(str, (theirs.fileno(), self.block.fd, os.getpid())),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                bufsize=0,
                pass_fds=(theirs.fileno(), self.block.fd),
            )
        except OSError as error:
            self._pipe.close()
            self.block.close()
            raise EngineFailed(f"no worker process can be started with {sys.executable!r}: {error}") from error
        finally:
            theirs.close()
        assert self._process.stdout is not None
        self._noise: int | None = self._process.stdout.fileno()
        with suppress(OSError):  # it is dead already, which `listen` finds
            self._pipe.send([path or os.getcwd() for path in sys.path if isinstance(path, str)])
            self._pipe.send_bytes(order)

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, order: Order | Stop) -> None:
        """Never waits: one order at a time fits the pipe. A worker that is dead is found by `listen`."""
        with suppress(OSError):
            self._pipe.send(order)

    def listen(self, timeout_s: float) -> Standing | Reply | Settled | None:
        """The next message, None after the timeout. Raises EOFError when the worker is dead."""
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
        """Ask, terminate, kill: dead and reaped on return, within 2 s. From any thread, and again."""
        self.send(Stop())
        for timeout_s, more in ((ASK_S, self._process.terminate), (TERMINATE_S, self._process.kill)):
            try:
                self._process.wait(timeout_s)
                return
            except subprocess.TimeoutExpired:
                more()
        self._process.wait()

    def last_words(self) -> tuple[str, str]:
        """How it ended, and the end of what it wrote. To be called when it is dead, or as good as."""
        try:
            code = self._process.wait(TERMINATE_S)
        except subprocess.TimeoutExpired:  # its pipe is closed and it does not go
            self._process.kill()
            code = self._process.wait()
        while self._noise is not None and wait([self._noise], 0):
            self._drain()
        tail = self._tail.decode(errors="replace").strip()[-QUOTED:]
        return _how(code), f"its last words:\n{tail}" if tail else "it said nothing"

    def close(self) -> None:
        """Give its pipes and memory back. By the thread that listens, after `end` or `last_words`."""
        self._pipe.close()
        self.block.close()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._noise = None

    def _received(self) -> Standing | Reply | Settled:
        try:
            data = self._pipe.recv_bytes()
        except OSError:
            raise EOFError from None
        try:
            message = pickle.loads(data)
        except Exception as error:  # noqa: BLE001 - what only the worker can import; the caller is told
            return Reply(error=EngineFailed(f"the worker's message cannot be read here: {error}"))
        assert isinstance(message, (Standing, Reply, Settled))
        return message

    def _drain(self) -> None:
        assert self._noise is not None
        data = os.read(self._noise, 65536)
        if not data:
            self._noise = None
        self._tail = (self._tail + data)[-TAIL_BYTES:]
        for line in data.decode(errors="replace").splitlines():
            _log.debug("worker %d: %s", self._process.pid, line)


def _how(code: int) -> str:
    if code >= 0:
        return f"exited with code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = "unknown"
    hint = ", as the system does when memory runs out" if name == "SIGKILL" else ""
    return f"was killed by signal {-code} ({name}{hint})"

"""A process of our own as its caller sees it: started, listened to, ended, and its last words kept."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import spawn
from multiprocessing.connection import Connection, Pipe, wait
from typing import Any

_log = logging.getLogger(__name__)

TAIL_BYTES = 16384

# multiprocessing's spawn would run the caller's main module again in the child: that fails for a script from stdin and
# starts a script without the `__main__` idiom a second time. So a child starts from this line, with nothing but the
# caller's sys.path; the working directory is kept out of the way of the standard library.
START = (
    "import sys; sys.path[:] = [p for p in sys.path if p];"
    "from multiprocessing.connection import Connection; pipe = Connection(int(sys.argv[1]));"
    "sys.path[:] = pipe.recv();"
    "from {module} import main; main(pipe, *map(int, sys.argv[2:]))"
)


@dataclass(frozen=True, slots=True)
class Manners:
    """Of a kind of child. name: in the log. module: whose `main(pipe, *fds, parent_pid)` is run. quoted: characters of
    its last words that an error quotes. ask_s, terminate_s: how long `end` waits for one that was asked, then for one
    that was sent SIGTERM."""

    name: str
    module: str
    quoted: int
    ask_s: float
    terminate_s: float


class ChildProcess:
    """Starts a process and sends it an order. A resource: `end()`, then `close()`.

    To be made in a thread that lives as long as the child is wanted: the child has itself killed when that thread ends.
    Its stdout and stderr go to the log (level DEBUG) and never to the caller's own. niceness: how much it gives way to
    the caller, as nice(1) counts, 0..19; all its threads do.

    Raises OSError when no process can be started.
    """

    def __init__(self, manners: Manners, order: bytes, fds: tuple[int, ...], niceness: int = 0) -> None:
        self._manners = manners
        self._pipe, theirs = Pipe()
        self._tail = b""
        given = (theirs.fileno(), *fds)
        start = START.format(module=manners.module)
        try:
            self._process = subprocess.Popen(
                [os.fsdecode(spawn.get_executable()), "-u", "-c", start, *map(str, (*given, os.getpid()))],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                bufsize=0,
                pass_fds=given,
            )
        except OSError:
            self._pipe.close()
            raise
        finally:
            theirs.close()
        if niceness:
            with suppress(OSError):  # here and not in the child: it has one thread yet, which later ones take after
                nice = os.getpriority(os.PRIO_PROCESS, 0) + niceness
                os.setpriority(os.PRIO_PROCESS, self._process.pid, min(nice, 19))
        assert self._process.stdout is not None
        self._noise: int | None = self._process.stdout.fileno()
        with suppress(OSError):  # it is dead already, which `listen` finds
            self._pipe.send([path or os.getcwd() for path in sys.path if isinstance(path, str)])
            self._pipe.send_bytes(order)

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, message: object) -> None:
        """Never waits: the few messages there are fit the pipe. A child that is dead is found by `listen`."""
        with suppress(OSError):
            self._pipe.send(message)

    def listen(self, timeout_s: float) -> bytes | None:
        """The next message, pickled; None after the timeout. Raises EOFError when the child is dead."""
        ends_s = time.monotonic() + timeout_s
        while True:
            sources: list[Connection[Any, Any] | int] = [self._pipe]
            if self._noise is not None:
                sources.append(self._noise)
            ready = wait(sources, max(0.0, ends_s - time.monotonic()))
            if self._noise in ready:
                self._drain()
            if self._pipe in ready:
                try:
                    return self._pipe.recv_bytes()
                except OSError:
                    raise EOFError from None
            if self._process.poll() is not None and not self._pipe.poll():
                raise EOFError  # something that it started still holds the pipe open
            if time.monotonic() >= ends_s:
                return None

    def kill(self) -> None:
        self._process.kill()

    def end(self, stop: object) -> None:
        """Ask by the message `stop`, terminate, kill: dead and reaped on return. From any thread, and again."""
        self.send(stop)
        waits = ((self._manners.ask_s, self._process.terminate), (self._manners.terminate_s, self._process.kill))
        for timeout_s, more in waits:
            try:
                self._process.wait(timeout_s)
                return
            except subprocess.TimeoutExpired:
                more()
        self._process.wait()

    def last_words(self) -> tuple[int, str]:
        """Its exit code, negative for a signal, and the end of what it wrote. To be called when it is dead, or as good
        as."""
        try:
            code = self._process.wait(self._manners.terminate_s)
        except subprocess.TimeoutExpired:  # its pipe is closed and it does not go
            self._process.kill()
            code = self._process.wait()
        while self._noise is not None and wait([self._noise], 0):
            self._drain()
        tail = self._tail.decode(errors="replace").strip()[-self._manners.quoted :]
        return code, f"its last words:\n{tail}" if tail else "it said nothing"

    def close(self) -> None:
        """Give its pipes back. By the thread that listens, when it is dead. Twice is fine."""
        self._pipe.close()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._noise = None

    def _drain(self) -> None:
        assert self._noise is not None
        data = os.read(self._noise, 65536)
        if not data:
            self._noise = None
        self._tail = (self._tail + data)[-TAIL_BYTES:]
        for line in data.decode(errors="replace").splitlines():
            _log.debug("%s %d: %s", self._manners.name, self._process.pid, line)


def how_it_ended(code: int) -> str:
    """An exit code in words."""
    if code >= 0:
        return f"exited with code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = "unknown"
    hint = ", as the system does when memory runs out" if name == "SIGKILL" else ""
    return f"was killed by signal {-code} ({name}{hint})"

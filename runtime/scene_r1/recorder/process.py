"""The recording process as the recorder sees it: started, talked to without waiting, ended and reaped."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import deque
from contextlib import suppress
from multiprocessing import spawn
from typing import Any

from scene_r1.recorder import packets
from scene_r1_engines.errors import EngineFailed

TAIL_BYTES = 2000
"""Of what a process that broke wrote last."""
# As the worker of the reasoner starts: multiprocessing's spawn would run the caller's main module again.
START = (
    "import sys; sys.path[:] = [p for p in sys.path if p];"
    "import json, socket; end = socket.socket(fileno=int(sys.argv[1]));"
    "sys.path[:] = json.loads(end.recv(1 << 18));"
    "from scene_r1.recorder.child import main; main(end)"
)


class RecordingProcess:
    """Starts the process and hands it its order (see `packets`). A resource: `end()`, twice is fine.

    In a session of its own, so that a terminal's Ctrl-C does not reach it: it ends with its recorder, and ends its file
    first. Raises EngineFailed when no process can be started.
    """

    def __init__(self, order: dict[str, object], fds: tuple[int, ...]) -> None:
        self._end, theirs = packets.pair()
        self._outbox: deque[bytes] = deque()
        self._words_fd = os.memfd_create("scene-r1-recorder-words")
        self._gone = False
        try:
            self._process = subprocess.Popen(
                [os.fsdecode(spawn.get_executable()), "-u", "-c", START, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=self._words_fd,
                stderr=self._words_fd,
                pass_fds=(theirs.fileno(), *fds),
                start_new_session=True,
            )
        except OSError as error:
            self._end.close()
            os.close(self._words_fd)
            raise EngineFailed(f"no recording process can be started with {sys.executable!r}: {error}") from error
        finally:
            theirs.close()
        path = [entry or os.getcwd() for entry in sys.path if isinstance(entry, str)]
        self.send(path)
        self.send(order)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def waiting(self) -> int:
        """Packets that the process has had no room for yet."""
        return len(self._outbox)

    def send(self, packet: Any) -> None:
        """Hand a packet over, behind those that wait; never waits itself."""
        self._outbox.append(packets.packed(packet))
        self.push()

    def push(self) -> None:
        """Hand over as many of the packets that wait as there is room for."""
        while self._outbox and not self._gone:
            try:
                self._end.send(self._outbox[0])
            except BlockingIOError:
                return
            except OSError:  # it is dead, which `received` finds
                return
            self._outbox.popleft()

    def received(self, timeout_s: float = 0.0) -> dict[str, Any] | None:
        """What it says next, None when it says nothing. Raises EOFError when it is dead and has said all."""
        if self._gone:
            raise EOFError
        for _ in range(2):
            try:
                return packets.received(self._end, timeout_s)
            except ConnectionResetError:
                # It died with packets unread, which is told once and before the packets that it has sent itself.
                continue
            except (EOFError, ConnectionError):
                break
        self._gone = True
        raise EOFError

    def end(self, timeout_s: float) -> int:
        """Wait for its end, kill it when the time is over, reap it. Returns its exit code, negative for a signal."""
        deadline_s = time.monotonic() + timeout_s
        while not self._gone and time.monotonic() < deadline_s:
            self.push()
            with suppress(EOFError):
                self.received(min(0.01, timeout_s))
        try:
            code = self._process.wait(max(0.0, deadline_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._gone = True
        self._end.close()
        return code

    def last_words(self) -> str:
        """The end of what it wrote to its stdout and stderr."""
        if self._words_fd < 0:
            return ""
        size = os.fstat(self._words_fd).st_size
        return os.pread(self._words_fd, TAIL_BYTES, max(0, size - TAIL_BYTES)).decode(errors="replace").strip()

    def close(self) -> None:
        """After `end`. Twice is fine."""
        if self._words_fd >= 0:
            os.close(self._words_fd)
            self._words_fd = -1

"""The capturing process as its caller sees it, with the memory that its images come in."""

from __future__ import annotations

import os
import pickle
import sys

from scene_r1.live.messages import Ended, Fault, Message, Open, Opened, Order, Stop
from scene_r1_engines.errors import CameraLost
from scene_r1_engines.worker.child_process import ChildProcess, Manners, how_it_ended

# A driver may hang when it is asked to end, and when it is sent SIGTERM.
MANNERS = Manners("capture", "scene_r1.live.child", quoted=1500, ask_s=0.8, terminate_s=0.3)


class CaptureProcess:
    """Starts a process that opens the camera of `order`, see child.main. A resource: `end()`, then `close()`.

    wake_fd: an eventfd that it counts up with each frame. ring_fd: empty memory to be made as large as the ring, once
    the camera has said how large its images are.

    To be made in a thread that lives as long as the camera is wanted, see ChildProcess.

    Raises CameraLost when no process can be started.
    """

    def __init__(self, order: Open, wake_fd: int) -> None:
        packed = pickle.dumps(order)
        self.ring_fd = os.memfd_create("scene-r1-frames")
        try:
            self._child = ChildProcess(MANNERS, packed, (self.ring_fd, wake_fd))
        except OSError as error:
            os.close(self.ring_fd)
            raise CameraLost(f"no capturing process can be started with {sys.executable!r}: {error}") from error

    @property
    def pid(self) -> int:
        return self._child.pid

    def send(self, order: Order) -> None:
        """Never waits: the few orders there are fit the pipe. A process that is dead is found by `listen`."""
        self._child.send(order)

    def listen(self, timeout_s: float) -> Message | None:
        """The next message, None after the timeout. Raises EOFError when the process is dead."""
        data = self._child.listen(timeout_s)
        if data is None:
            return None
        message = pickle.loads(data)
        assert isinstance(message, (Opened, Ended, Fault))
        return message

    def kill(self) -> None:
        self._child.kill()

    def end(self) -> None:
        """Ask, terminate, kill: dead and reaped on return, within 1.5 s. From any thread, and again."""
        self._child.end(Stop())

    def last_words(self) -> str:
        """How it ended, and the end of what it wrote. To be called when it is dead, or as good as."""
        code, words = self._child.last_words()
        return f"{how_it_ended(code)}; {words}"

    def close(self) -> None:
        """Give its pipes and memory back. By the thread that listens, when it is dead. Twice is fine."""
        self._child.close()
        if self.ring_fd >= 0:
            os.close(self.ring_fd)
            self.ring_fd = -1

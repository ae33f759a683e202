"""One worker process as its caller sees it, with the memory that the two share."""

from __future__ import annotations

import pickle
import sys

from scene_r1_engines.errors import EngineFailed
from scene_r1_engines.worker.child_process import ChildProcess, Manners, how_it_ended
from scene_r1_engines.worker.messages import Order, Reply, Settled, Standing, Stop
from scene_r1_engines.worker.shared_block import SharedBlock

MANNERS = Manners("worker", "scene_r1_engines.worker.child", quoted=3000, ask_s=1.0, terminate_s=0.4)


class WorkerProcess:
    """Starts a worker that opens the reasoner of `order`, see child.main. A resource: `end()`, then `close()`.

    To be made in a thread that lives as long as the worker is wanted; that and niceness: see ChildProcess.

    Raises EngineFailed when no process can be started.
    """

    def __init__(self, order: bytes, niceness: int = 0) -> None:
        self.block = SharedBlock()
        try:
            self._child = ChildProcess(MANNERS, order, (self.block.fd,), niceness)
        except OSError as error:
            self.block.close()
            raise EngineFailed(f"no worker process can be started with {sys.executable!r}: {error}") from error

    @property
    def pid(self) -> int:
        return self._child.pid

    def send(self, order: Order | Stop) -> None:
        """Never waits: one order at a time fits the pipe. A worker that is dead is found by `listen`."""
        self._child.send(order)

    def listen(self, timeout_s: float) -> Standing | Reply | Settled | None:
        """The next message, None after the timeout. Raises EOFError when the worker is dead."""
        data = self._child.listen(timeout_s)
        if data is None:
            return None
        try:
            message = pickle.loads(data)
        except Exception as error:  # noqa: BLE001 - what only the worker can import; the caller is told
            return Reply(error=EngineFailed(f"the worker's message cannot be read here: {error}"))
        assert isinstance(message, (Standing, Reply, Settled))
        return message

    def kill(self) -> None:
        self._child.kill()

    def end(self) -> None:
        """Ask, terminate, kill: dead and reaped on return, within 2 s. From any thread, and again."""
        self._child.end(Stop())

    def last_words(self) -> tuple[str, str]:
        """How it ended, and the end of what it wrote. To be called when it is dead, or as good as."""
        code, words = self._child.last_words()
        return how_it_ended(code), words

    def close(self) -> None:
        """Give its pipes and memory back. By the thread that listens, after `end` or `last_words`."""
        self._child.close()
        self.block.close()

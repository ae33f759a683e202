"""Decode ahead of the reader, on one thread and a few frames deep."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

from scene_r1_engines.errors import BadInput

T = TypeVar("T")


class DecodeAhead(Generic[T]):
    """Runs an iterator on a thread of its own and holds up to `ahead` of its items ready.

    The thread starts at the first item asked for. It ends with the items, when the reader leaves its loop, or at
    `stop()`; none is left behind. An exception of the iterator is raised to the reader, with its own traceback and
    cause, after every item before it. A reader that is still in its loop at `stop()` gets BadInput, because a loop
    that just ended would pass for a whole recording.
    """

    def __init__(self, items: Iterator[T], ahead: int = 4) -> None:
        self._items = items
        self._ahead = ahead
        self._ready: deque[T] = deque()
        self._changed = threading.Condition()
        self._stopped = False
        self._finished = False
        self._error: BaseException | None = None
        # A daemon, so that a process that ends with a loop half-way is not kept alive by it.
        self._thread = threading.Thread(target=self._run, name="decode-ahead", daemon=True)

    def __iter__(self) -> Iterator[T]:
        """The items, once."""
        try:
            with self._changed:
                if not self._stopped:
                    self._thread.start()
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: self._ready or self._finished or self._stopped)
                    if self._stopped:
                        raise BadInput("the recording was closed while it was being read: read it inside its 'with'")
                    if not self._ready:
                        break
                    item = self._ready.popleft()
                    self._changed.notify_all()
                yield item
                del item  # the reader holds what it wants; this loop need not keep a frame alive
        finally:
            self.stop()
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """End the thread and wait for it: at most one item's decoding. Twice is fine."""
        with self._changed:
            self._stopped = True
            self._ready.clear()
            self._changed.notify_all()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        try:
            for item in self._items:
                with self._changed:
                    self._ready.append(item)
                    self._changed.notify_all()
                    del item
                    # Wait before decoding the next one, not after: at most `ahead` items exist here.
                    self._changed.wait_for(lambda: len(self._ready) < self._ahead or self._stopped)
                    if self._stopped:
                        return
        except BaseException as error:  # noqa: BLE001 - not swallowed: the reader's thread raises it
            self._error = error
        finally:
            with self._changed:
                self._finished = True
                self._changed.notify_all()

"""Memory that the caller's process and the worker's share: a page of flags, and room for one picture.

It has no name (memfd), so it goes with the last process that has it open, however that process ends: nothing to unlink,
no tracker process, and no /dev/shm, which containers keep so small that writing a picture there may kill the writer.
"""

from __future__ import annotations

import mmap
import os
import time

import numpy as np
from numpy.typing import NDArray

from scene_r1_engines.errors import BudgetExceeded, EngineFailed

PAGE = mmap.PAGESIZE
CANCELLED, TAKEN, WORKING, RESTED = range(4)
"""Places of the flags, 8 bytes each: written at once on every machine this runs on, so never seen half-written."""


class SharedBlock:
    """Opened by the caller without an fd, by the worker with the one it inherited. A resource: `close()`."""

    def __init__(self, fd: int | None = None) -> None:
        self.fd = os.memfd_create("scene-r1-worker") if fd is None else fd
        if fd is None:
            os.ftruncate(self.fd, PAGE)
        self._page = mmap.mmap(self.fd, PAGE)
        self._flags = memoryview(self._page).cast("q")

    @property
    def cancelled(self) -> int:
        """The number of the last question that its caller gave up; 0 = none. Questions take turns, so whatever is still
        at work under a lower number was given up too."""
        return self._flags[CANCELLED]

    @cancelled.setter
    def cancelled(self, number: int) -> None:
        self._flags[CANCELLED] = number

    @property
    def taken(self) -> int:
        """How many orders the worker has taken out of the pipe."""
        return self._flags[TAKEN]

    @property
    def working_ns(self) -> int:
        """When the worker's present order or step of settling began, on time.monotonic_ns(); 0 = it waits."""
        return self._flags[WORKING]

    @property
    def rested_ns(self) -> int:
        """When the last one ended; 0 = there was none."""
        return self._flags[RESTED]

    def work(self, taken: int) -> int:
        """The worker begins with an order, the last of so many, or with a step of settling. Returns when."""
        self._flags[TAKEN] = taken
        self._flags[WORKING] = began_ns = time.monotonic_ns()
        return began_ns

    def rest(self) -> None:
        """The worker has ended what it began."""
        self._flags[RESTED] = time.monotonic_ns()
        self._flags[WORKING] = 0

    def put(self, image: NDArray[np.uint8]) -> None:
        """Write a picture, any strides. The last one must have been taken. Raises BudgetExceeded without memory."""
        rest = np.ascontiguousarray(image).ravel().data
        place = PAGE
        try:
            while rest:
                done = os.pwrite(self.fd, rest, place)
                rest, place = rest[done:], place + done
        except OSError as error:
            raise BudgetExceeded(
                f"no memory to hand over a picture of {image.nbytes} bytes: {error.strerror}"
            ) from None

    def take(self, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """A copy of the picture that was put."""
        image = np.empty(shape, np.uint8)
        rest = image.ravel().data
        place = PAGE
        while rest:
            done = os.preadv(self.fd, [rest], place)
            if not done:
                raise EngineFailed(f"the picture {shape} is not in the shared block")
            rest, place = rest[done:], place + done
        return image

    def close(self) -> None:
        if self.fd >= 0:
            self._flags.release()
            self._page.close()
            os.close(self.fd)
            self.fd = -1

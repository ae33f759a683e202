"""Frames in memory that the capturing process and its caller share: a few slots, the oldest is dropped when all wait.

The memory has no name (memfd): it goes with the last process that has it open, however that process ends, so nothing is
left to unlink. Which slot is whose is changed under a lock on the file, which the system releases when its holder is
killed; images are copied outside of the lock, by the one that the slot belongs to, so none is ever seen half-written.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from scene_r1.live.device import RawFrame
from scene_r1.live.timeline import Mark, Placed
from scene_r1_engines.errors import BadFrame, BudgetExceeded

FREE, WRITING, READY, READING = range(4)
COUNTERS = ("frames", "dropped", "duplicates", "stale", "unpaired", "clock_jumps")
LONGEST_BYTES = 512 << 20
LOCK_S = 0.5
"""How long either side waits for the other, which holds the lock for microseconds unless it is stopped."""
_HEAD = np.dtype([(name, "i8") for name in (*COUNTERS, "marked", *Mark.__dataclass_fields__)])
_SLOT = np.dtype(
    [(name, "i8") for name in ("state", "run", "sequence", "index", "number", "device_ns", "received_ns")]
    + [(name, "i8") for name in Placed.__dataclass_fields__]
    + [("domain", "S32"), ("has_pose", "i8"), ("has_gravity", "i8"), ("pose", "f8", (4, 4)), ("gravity", "f8", 3)]
)


@dataclass(frozen=True, slots=True)
class Layout:
    """Sizes (height, width) of the images in pixels, and how many frames may wait to be read. There is one slot more.

    Raises BudgetExceeded where the memory would be more than 512 MB.
    """

    color: tuple[int, int]
    depth: tuple[int, int]
    waiting: int

    def __post_init__(self) -> None:
        if self.bytes > LONGEST_BYTES:
            raise BudgetExceeded(
                f"{self.waiting} frames of {self.color} and {self.depth} pixels would take {self.bytes >> 20} MB of "
                f"shared memory, more than {LONGEST_BYTES >> 20}: let fewer wait, or ask for smaller images"
            )

    @property
    def slots(self) -> int:
        return self.waiting + 1

    @property
    def color_bytes(self) -> int:
        return _pages(3 * self.color[0] * self.color[1])

    @property
    def depth_bytes(self) -> int:
        return _pages(2 * self.depth[0] * self.depth[1])

    @property
    def bytes(self) -> int:
        return _pages(_HEAD.itemsize + self.slots * _SLOT.itemsize) + self.slots * (self.color_bytes + self.depth_bytes)


@dataclass(frozen=True, slots=True, eq=False)
class Taken:
    """A frame out of the ring; the arrays are the taker's own. run: which playing of a recording it is of."""

    run: int
    index: int
    raw: RawFrame
    placed: Placed


class Ring:
    """Opened by both sides on the same file, which has `layout.bytes` bytes. One thread at a time on each side."""

    def __init__(self, fd: int, layout: Layout) -> None:
        self._fd, self._layout = os.dup(fd), layout
        self._memory = mmap.mmap(fd, layout.bytes)
        whole = np.frombuffer(self._memory, np.uint8)
        ends = _HEAD.itemsize + layout.slots * _SLOT.itemsize
        self._head = whole[: _HEAD.itemsize].view(_HEAD)
        self._slots = whole[_HEAD.itemsize : ends].view(_SLOT)
        images = whole[_pages(ends) :].reshape(layout.slots, layout.color_bytes + layout.depth_bytes)
        (height, width), (h, w) = layout.color, layout.depth
        self._color = [one[: 3 * height * width].reshape(height, width, 3) for one in images]
        depth = images[:, layout.color_bytes :]
        self._depth = [one[: 2 * h * w].view(np.uint16).reshape(h, w) for one in depth]
        self._sequence = 0

    def write(self, run: int, index: int, raw: RawFrame, placed: Placed, mark: Mark | None) -> None:
        """The capturing side: put a frame in, in place of the oldest that waits when there is no room.

        Raises BadFrame where the images are not of the layout's size; TimeoutError when the reader holds the lock.
        """
        for name, image, place in (("color", raw.color, self._color[0]), ("depth", raw.depth_raw, self._depth[0])):
            if image.shape != place.shape or image.dtype != place.dtype:
                raise BadFrame(
                    f"frame {raw.number}: the camera gave {name} {image.shape} {image.dtype} where it had said "
                    f"{place.shape} {place.dtype}"
                )
        i = self._claim()
        slot = self._slots[i : i + 1]
        np.copyto(self._color[i], raw.color)
        np.copyto(self._depth[i], raw.depth_raw)
        has_pose, has_gravity = raw.T_world_camera is not None, raw.gravity is not None
        for name, value in (
            *(("run", run), ("index", index), ("number", raw.number), ("device_ns", raw.timestamp_ns)),
            *(("received_ns", raw.received_ns), ("domain", raw.domain.encode()[:32])),
            *((name, getattr(placed, name)) for name in Placed.__dataclass_fields__),
            *(("has_pose", has_pose), ("has_gravity", has_gravity)),
            *(("pose", raw.T_world_camera if has_pose else 0.0), ("gravity", raw.gravity if has_gravity else 0.0)),
        ):
            slot[name] = value
        with self._locked():
            self._sequence += 1
            slot["sequence"], slot["state"] = self._sequence, READY
            self._head["frames"] += 1
            if mark is not None:
                for name in Mark.__dataclass_fields__:
                    self._head[name] = getattr(mark, name)
                self._head["marked"] = 1

    def count(self, **counters: int) -> None:
        """The capturing side: set counters (not `frames` and `dropped`, which `write` counts)."""
        for name, value in counters.items():
            self._head[name] = value  # 8 bytes, aligned: never seen half-written

    def take(self, newest: bool = False) -> Taken | None:
        """The reading side: copy the oldest frame that waits, and give its slot free; None when none waits.

        newest: the newest one instead, and it goes on waiting. Raises TimeoutError when the writer holds the lock.
        """
        with self._locked():
            ready = np.flatnonzero(self._slots["state"] == READY)
            if not len(ready):
                return None
            order = self._slots["sequence"][ready]
            i = int(ready[np.argmax(order) if newest else np.argmin(order)])
            self._slots["state"][i] = READING
        taken = self._copied(i)
        with self._locked():
            self._slots["state"][i] = READY if newest else FREE
        return taken

    @property
    def counters(self) -> dict[str, int]:
        return {name: int(self._head[name][0]) for name in COUNTERS}

    @property
    def waiting(self) -> int:
        return int(np.count_nonzero(self._slots["state"] == READY))

    @property
    def mark(self) -> Mark | None:
        """Of the last frame that was written. Raises TimeoutError when the writer holds the lock."""
        with self._locked():
            if not self._head["marked"][0]:
                return None
            return Mark(*(int(self._head[name][0]) for name in Mark.__dataclass_fields__))

    @property
    def newest_ns(self) -> int:
        """When the newest frame came in (host monotonic); 0: none did yet."""
        return int(self._head["received_ns"][0])

    def close(self) -> None:
        """Let the memory go. The descriptor that it was opened with is its opener's. Twice is fine."""
        if not self._memory.closed:
            del self._head, self._slots, self._color, self._depth  # they hold the memory open
            self._memory.close()
            os.close(self._fd)

    def _claim(self) -> int:
        with self._locked():
            state, sequence = self._slots["state"], self._slots["sequence"]
            ready = np.flatnonzero(state == READY)
            if len(ready) < self._layout.waiting:
                i = int(np.argmax(state == FREE))  # there is one: no more than one slot is being read
            else:
                i = int(ready[np.argmin(sequence[ready])])
                self._head["dropped"] += 1
            state[i] = WRITING
            return i

    def _copied(self, i: int) -> Taken:
        slot = self._slots[i]
        return Taken(
            run=int(slot["run"]),
            index=int(slot["index"]),
            raw=RawFrame(
                number=int(slot["number"]),
                timestamp_ns=int(slot["device_ns"]),
                domain=bytes(slot["domain"]).decode(errors="replace"),
                received_ns=int(slot["received_ns"]),
                color=self._color[i].copy(),
                depth_raw=self._depth[i].copy(),
                T_world_camera=np.array(slot["pose"]) if slot["has_pose"] else None,
                gravity=np.array(slot["gravity"]) if slot["has_gravity"] else None,
            ),
            placed=Placed(*(int(slot[name]) for name in Placed.__dataclass_fields__)),
        )

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """The file's lock, held for microseconds. It also orders the memory: what was written before it was given back
        is seen by the next holder, on every processor."""
        ends_s = 0.0
        while True:
            try:
                fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                now_s = time.monotonic()
                ends_s = ends_s or now_s + LOCK_S
                if now_s > ends_s:
                    raise TimeoutError("the other side of the ring holds its lock and does not run") from None
                time.sleep(50e-6)
        try:
            yield
        finally:
            fcntl.lockf(self._fd, fcntl.LOCK_UN)


def _pages(count: int) -> int:
    return -(-count // mmap.PAGESIZE) * mmap.PAGESIZE

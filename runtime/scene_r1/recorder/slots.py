"""Frames on their way to the recording process: a fixed number of slots in memory that both processes see."""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scene_r1.recorder.card import LiveCard
from scene_r1_engines.errors import BudgetExceeded

BUDGET_BYTES = 32 << 20
"""20 frames of 640x480: 0.7 s at 30 Hz, which is what a disk may hold the recording up for without a frame lost."""
LEAST, MOST = 3, 32


@dataclass(frozen=True, slots=True)
class Layout:
    """Sizes in pixels, (height, width), of the images in a slot."""

    color: tuple[int, int]
    depth: tuple[int, int]

    @classmethod
    def of(cls, card: LiveCard) -> Layout:
        color, depth = card.color_intrinsics, card.depth_intrinsics
        return cls((color.height, color.width), (depth.height, depth.width))

    @property
    def color_bytes(self) -> int:
        """Of a colour image, up to the next place where depth may begin."""
        return -(-3 * self.color[0] * self.color[1] // 64) * 64

    @property
    def slot_bytes(self) -> int:
        return self.color_bytes + -(-2 * self.depth[0] * self.depth[1] // 64) * 64

    @property
    def count(self) -> int:
        return min(MOST, max(LEAST, BUDGET_BYTES // self.slot_bytes))


class Slots:
    """The slots, opened by the recorder without an fd and by its process with the one it inherited. Which slot is free
    is told by messages, not here. Without a name (memfd): it goes with the last process that has it open.

    Raises BudgetExceeded where the memory for it is not there.
    """

    def __init__(self, layout: Layout, fd: int | None = None) -> None:
        self._layout = layout
        size = layout.slot_bytes * layout.count
        self.fd = os.memfd_create("scene-r1-recorder") if fd is None else fd
        try:
            if fd is None:
                os.posix_fallocate(self.fd, 0, size)  # now, and not by a signal that kills at the first write
            self._map: mmap.mmap | None = mmap.mmap(self.fd, size)
        except OSError as error:
            os.close(self.fd)
            raise BudgetExceeded(
                f"no memory for the {size >> 20} MB in which frames wait to be recorded: {error.strerror}"
            ) from None

    def put(self, slot: int, color: NDArray[np.uint8], depth_raw: NDArray[np.uint16]) -> None:
        """Copy a frame's images into a slot that is free."""
        views = self.views(slot)
        np.copyto(views[0], color)
        np.copyto(views[1], depth_raw)

    def views(self, slot: int) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
        """The images of a slot, not copied: (H, W, 3) uint8 RGB and (h, w) uint16 counts."""
        assert self._map is not None
        (H, W), (h, w), place = self._layout.color, self._layout.depth, slot * self._layout.slot_bytes
        color = np.frombuffer(self._map, np.uint8, 3 * H * W, place).reshape(H, W, 3)
        depth = np.frombuffer(self._map, np.uint16, h * w, place + self._layout.color_bytes).reshape(h, w)
        return color, depth

    def close(self) -> None:
        """Twice is fine."""
        if self._map is not None:
            self._map.close()
            self._map = None
            os.close(self.fd)

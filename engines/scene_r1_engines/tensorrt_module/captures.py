"""Captured CUDA graphs of one engine: what it does for given shapes at given addresses, launched in one call."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Final

from scene_r1_engines.errors import EngineFailed
from scene_r1_engines.tensorrt_module.device import Device

MOST_GRAPHS: Final = 8
"""Kept at once. A decoder meets two or three shapes, memory attention one for each number of memories and pointers
until the bank is full."""
MOST_SEEN: Final = 64
log = logging.getLogger(__name__)


class Captures:
    """Runs work, and captures what comes back.

    Captured at the second sight, since most shapes of a bank that fills are met once; and right after the work was done
    plainly, because TensorRT finishes a change of shapes in the first run after it, which cannot be captured.
    """

    def __init__(self, device: Device, most: int = MOST_GRAPHS) -> None:
        """most: graphs that are kept, the longest unused go first; 0 captures nothing."""
        self._device, self._most = device, most
        self._graphs: OrderedDict[Hashable, int] = OrderedDict()
        self._seen: OrderedDict[Hashable, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._graphs)

    def knows(self, key: Hashable) -> bool:
        return key in self._graphs

    def launch(self, key: Hashable) -> None:
        """Put a captured graph into the stream."""
        self._graphs.move_to_end(key)
        self._device.launch(self._graphs[key])

    def run(self, key: Hashable, work: Callable[[], None]) -> None:
        """Do the work. key: whatever it depends on, shapes and addresses. Raises what `work` raises."""
        work()
        if self._most and self._seen_before(key):
            self._capture(key, work)

    def clear(self) -> None:
        """Destroy all graphs; none may be running."""
        while self._graphs:
            self._device.destroy_graph(self._graphs.popitem()[1])

    def _seen_before(self, key: Hashable) -> bool:
        if key in self._seen:
            self._seen.move_to_end(key)
            return True
        self._seen[key] = None
        if len(self._seen) > MOST_SEEN:
            self._seen.popitem(last=False)
        return False

    def _capture(self, key: Hashable, work: Callable[[], None]) -> None:
        self._device.synchronize()  # so that what a plain run breaks is not laid at the capture's door
        try:
            graph = self._device.capture(work)
        except EngineFailed as error:
            log.info("runs without CUDA graphs: %s", error)
            self._most = 0
            self.clear()
            return
        while len(self._graphs) >= self._most:
            self._device.destroy_graph(self._graphs.popitem(last=False)[1])
        self._graphs[key] = graph

"""Encoded pictures, each encoded once and shared by all questions, as many as fit into a bound of bytes."""

from __future__ import annotations

import hashlib
from collections import OrderedDict

import numpy as np

from scene_r1_engines.errors import BadConfig, DeviceOutOfMemory
from scene_r1_engines.sam2.graphs import Features, Graphs
from scene_r1_engines.view import View

Key = tuple[int, tuple[int, ...], bytes]


class FeatureCache:
    """Features by view id and content, the least recently used go first. hits, misses: how often it had them.

    The content counts because two recordings may use one id; its digest takes about 1 ms for a 640x480 picture, where
    encoding takes hundreds. most_bytes: of all that is held; 0 keeps nothing. Raises BadConfig when it is negative.
    """

    def __init__(self, graphs: Graphs, most_bytes: int) -> None:
        if most_bytes < 0:
            raise BadConfig(f"the features' bound must be 0 bytes or more, got {most_bytes}")
        self.graphs = graphs
        self._most_bytes = most_bytes
        self._held: OrderedDict[Key, Features] = OrderedDict()
        self.nbytes = 0
        self.hits = 0
        self.misses = 0

    def __len__(self) -> int:
        return len(self._held)

    def of(self, view: View) -> Features:
        """The features of a view's picture. A device that is full is tried once more without what is held here."""
        key = view.id, view.image.shape, _digest(view.image)
        if key in self._held:
            self.hits += 1
            self._held.move_to_end(key)
            return self._held[key]
        self.misses += 1
        try:
            features = self.graphs.encode(view.image)
        except DeviceOutOfMemory:
            if not self._held:
                raise
            self.clear()
            features = self.graphs.encode(view.image)
        if features.nbytes <= self._most_bytes:
            self._held[key] = features
            self.nbytes += features.nbytes
            while self.nbytes > self._most_bytes:
                self.nbytes -= self._held.popitem(last=False)[1].nbytes
        return features

    def clear(self) -> None:
        """Hold nothing more."""
        self._held.clear()
        self.nbytes = 0


def _digest(image: np.typing.NDArray[np.uint8]) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).digest()

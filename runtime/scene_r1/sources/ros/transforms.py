"""The tree of frames that /tf and /tf_static tell of, with the last seconds of what moves in it."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from scene_r1 import pose
from scene_r1.sources.trajectory import Trajectory
from scene_r1_engines.errors import BadFrame

FIXED_FRAMES = ("map", "odom", "world")
"""Where poses are given, the first one that the camera hangs below."""
BETWEEN_NS = 500_000_000
"""Two transforms this far apart are still interpolated between (a localiser corrects `map` a few times a second)."""
WITHIN_NS = 50_000_000
"""How far the nearest transform may be where there is none on the other side."""
KEPT_NS = 10_000_000_000
MAX_SAMPLES = 20_000
MAX_FRAMES = 4096


@dataclass(slots=True)
class _Edge:
    """How one frame moves in its parent. times_ns: increasing; rows: x, y, z, qx, qy, qz, qw; static: it does not."""

    parent: str
    static: bool
    times_ns: list[int] = field(default_factory=list)
    rows: list[tuple[float, ...]] = field(default_factory=list)


class TransformBuffer:
    """T_parent_child by child frame and time, the last ten seconds of it. Names are without a leading slash."""

    def __init__(self) -> None:
        self._edges: dict[str, _Edge] = {}

    def add(self, parent: str, child: str, stamp_ns: int, row: Sequence[float], static: bool) -> None:
        """Take in one transform. row: (x, y, z, qx, qy, qz, qw), metres and a unit quaternion, T_parent_child.

        One with NaN is left out. A frame that gets another parent forgets the former one. Raises BadFrame for a
        quaternion that is not of length 1, for a frame without a name, and beyond 4096 frames.
        """
        parent, child = parent.lstrip("/"), child.lstrip("/")
        if not parent or not child or parent == child:
            raise BadFrame(f"the transform from {child!r} to {parent!r} names no two frames")
        if not np.all(np.isfinite(row)):
            return
        length = float(np.linalg.norm(row[3:]))
        if abs(length - 1.0) > 0.01:
            raise BadFrame(f"the transform from {child!r} to {parent!r} has a quaternion of length {length:g}")
        edge = self._edges.get(child)
        if edge is None or edge.parent != parent or edge.static != static:
            if edge is None and len(self._edges) >= MAX_FRAMES:
                raise BadFrame(f"more than {MAX_FRAMES} frames are named")
            edge = self._edges[child] = _Edge(parent, static)
        if static:
            edge.times_ns, edge.rows = [stamp_ns], [tuple(row)]
            return
        at = bisect.bisect_left(edge.times_ns, stamp_ns)
        if at == len(edge.times_ns) or edge.times_ns[at] != stamp_ns:
            edge.times_ns.insert(at, stamp_ns)
            edge.rows.insert(at, tuple(row))
        # In large steps: removing at the front of a list moves all of it.
        old = bisect.bisect_left(edge.times_ns, edge.times_ns[-1] - KEPT_NS)
        old = max(old, len(edge.times_ns) - MAX_SAMPLES)
        if old > 1000 or old * 2 > len(edge.times_ns):
            del edge.times_ns[:old], edge.rows[:old]

    def ancestors(self, frame: str) -> list[str]:
        """The frames above this one, the nearest first."""
        found: list[str] = []
        edge = self._edges.get(frame)
        while edge is not None and edge.parent not in found and edge.parent != frame:
            found.append(edge.parent)
            edge = self._edges.get(edge.parent)
        return found

    def fixed_frame(self, frame: str) -> str | None:
        """`map`, `odom` or `world` above this frame, else the uppermost one if anything moves below it, else None."""
        above = self.ancestors(frame)
        for name in FIXED_FRAMES:
            if name in above:
                return name
        moving = any(not self._edges[name].static for name in [frame, *above] if name in self._edges)
        return above[-1] if above and moving else None

    def settled(self, fixed: str, frame: str, stamp_ns: int) -> bool:
        """True when transforms still to come can no longer change `at`, but for late ones."""
        path = self._path(fixed, frame)
        return path is not None and all(
            edge.static or (edge.times_ns and edge.times_ns[-1] >= stamp_ns) for edge in path
        )

    def at(self, fixed: str, frame: str, stamp_ns: int) -> NDArray[np.float64] | None:
        """(4, 4) float64 T_fixed_frame at that time, or None where the tree does not say."""
        path = self._path(fixed, frame)
        if path is None:
            return None
        T_fixed_frame = np.eye(4)
        for edge in reversed(path):
            T_parent_child = _sample(edge, stamp_ns)
            if T_parent_child is None:
                return None
            T_fixed_frame = T_fixed_frame @ T_parent_child
        return T_fixed_frame

    def static_between(self, a: str, b: str) -> NDArray[np.float64] | None:
        """(4, 4) float64 T_a_b when only fixed transforms lie between the two frames, else None."""
        above_a, above_b = [a, *self.ancestors(a)], [b, *self.ancestors(b)]
        for common in above_a:
            if common in above_b:
                parts = [self._path(common, frame) for frame in (a, b)]
                if any(part is None or not all(edge.static for edge in part) for part in parts):
                    return None
                T_common_a, T_common_b = self.at(common, a, 0), self.at(common, b, 0)
                if T_common_a is None or T_common_b is None:
                    return None
                return pose.inverse(T_common_a) @ T_common_b
        return None

    def _path(self, fixed: str, frame: str) -> list[_Edge] | None:
        """The edges from the frame up to the fixed one; empty when they are the same."""
        names = [frame, *self.ancestors(frame)]
        return [self._edges[name] for name in names[: names.index(fixed)]] if fixed in names else None


def _sample(edge: _Edge, stamp_ns: int) -> NDArray[np.float64] | None:
    if edge.static:
        return pose.from_quaternion(edge.rows[0][:3], edge.rows[0][3:], "T_parent_child")
    after = bisect.bisect_left(edge.times_ns, stamp_ns)
    near = slice(max(0, after - 1), after + 1)
    rows = list(zip(edge.times_ns[near], edge.rows[near], strict=True))
    return Trajectory(rows, WITHIN_NS, BETWEEN_NS).at(stamp_ns)

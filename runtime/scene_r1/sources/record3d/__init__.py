"""Recordings of the Record3D app, `.r3d`."""

from __future__ import annotations

from scene_r1.sources.record3d.source import Record3dSource

__all__ = ["Record3dSource"]

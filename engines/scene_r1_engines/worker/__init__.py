"""A reasoner in a process of its own, so that native code that aborts takes nobody with it."""

from scene_r1_engines.worker.isolated import IsolatedReasoner

__all__ = ["IsolatedReasoner"]

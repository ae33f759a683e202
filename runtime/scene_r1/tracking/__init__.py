"""Where the camera is when it moves through a room."""

from scene_r1.tracking.tracker import TRACKERS, PoseTracker, Tracked, TrackState, open_tracker

__all__ = ["TRACKERS", "PoseTracker", "TrackState", "Tracked", "open_tracker"]

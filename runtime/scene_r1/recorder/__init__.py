"""Recording what a live session sees, thinks and answers into one .mcap file, and playing it again.

    recorder = Recorder()
    recorder.start("walk.mcap", source.info)
    recorder.event("settings", {"toml": config_to_toml(config), "model": name})     # once, before the first frame
    decision = selector.offer(frame)
    recorder.frame(frame, frame.T_world_camera, "tracking", decision.quality)
    if decision.inserted is not None: recorder.event("keyframe", keyframe_fields(decision))
    recorder.event("question", {"id": 1, "question": text, "task": "find"})
    recorder.event("answer", {"id": 1, "answer": answer.to_json()})
    report = recorder.close()

What a replay compares is in `events`.
"""

from __future__ import annotations

from scene_r1.recorder.events import RecordedEvent, keyframe_fields
from scene_r1.recorder.recorder import Recorder, RecorderReport

__all__ = ["RecordedEvent", "Recorder", "RecorderReport", "keyframe_fields"]

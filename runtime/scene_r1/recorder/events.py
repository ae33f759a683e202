"""What is recorded beside the frames: the kinds of events, and the fields that `scene-r1 replay` compares.

settings: {"toml": the effective settings as `config_to_toml` writes them, "model": the model's name}, once, first.
keyframe: {"index", "inserted", "evicted"} of each Decision that changed the keyframes; index is that of the frame that
    was offered, -1 where `settle` was called (a question, the end).
question: {"id", "question", "task"} when it is asked; answer: {"id", "answer": Answer.to_json()} when it is answered,
    or {"id", "error"}. id: whatever tells them apart.
moved: {"poses": {index: sixteen numbers, T_world_camera row by row}} of the keyframes kept when the map was corrected,
    before the first frame of the new revision.
Any other kind ("counters", "state", ...) is kept, and not compared.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from scene_r1_engines.errors import BadInput

if TYPE_CHECKING:  # it brings numba, which the recording process does without
    from scene_r1.keyframes.selector import Decision

SETTINGS, KEYFRAME, MOVED, QUESTION, ANSWER = "settings", "keyframe", "moved", "question", "answer"
MOST_BYTES = 64 << 10
"""Of one event as JSON; a longer one is refused and counted."""


@dataclass(frozen=True, slots=True)
class RecordedEvent:
    """One event as it was recorded. after: index of the last frame handed to the recorder before it, -1 for none."""

    kind: str
    after: int
    fields: Mapping[str, object] = field(default_factory=dict)

    def to_json(self) -> str:
        """Raises BadInput for fields that are no JSON (NaN is none)."""
        try:
            return json.dumps({"kind": self.kind, "after": self.after, "fields": dict(self.fields)}, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise BadInput(f"the event {self.kind!r} cannot be written as JSON: {error}") from error

    @classmethod
    def from_json(cls, text: str) -> RecordedEvent:
        """Raises ValueError where the text is no event."""
        found = json.loads(text)
        if not isinstance(found, dict) or not isinstance(found.get("fields"), dict):
            raise ValueError("it is no event with fields")
        kind, after = found.get("kind"), found.get("after")
        if not isinstance(kind, str) or type(after) is not int:
            raise ValueError(f"its kind is {kind!r:.40} and it comes after {after!r:.40}")
        return cls(kind, after, found["fields"])


def keyframe_fields(decision: Decision) -> dict[str, object]:
    """The fields of a `keyframe` event."""
    inserted = None if decision.inserted is None else int(decision.inserted.index)
    return {"index": int(decision.index), "inserted": inserted, "evicted": decision.evicted}

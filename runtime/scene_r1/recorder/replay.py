"""A live recording played again: are the keyframes the same, and the answers?"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from scene_r1.config import Config, SegmenterConfig, config_from
from scene_r1.keyframes.selector import Decision
from scene_r1.reasoner_config import ReasonerConfig, ServerConfig
from scene_r1.recorder.asked_again import AskedAgain, Compared, compared
from scene_r1.recorder.events import ANSWER, KEYFRAME, MOVED, QUESTION, SETTINGS, RecordedEvent, keyframe_fields
from scene_r1.recorder.recording import LiveRecording, RecordedFrame
from scene_r1.recorder.replayed_map import RecordedMemory, RecordedSelector, RecordedTracker, poses_of, replayed_map
from scene_r1_engines.errors import BadConfig, BadRecording, SceneR1Error

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]

MOST_LINE = 1000
"""Of recorded settings: tomllib takes half a minute for a line of 64 kB that is one dotted key."""
Change = tuple[int, int | None, int | None]
"""(index of the frame offered or -1, inserted, evicted)."""


@dataclass(slots=True)
class Replayed:
    """What a replay found. keyframes: indices held at the end. changes: to the keyframes, recorded and replayed.

    first_difference: in words, None where the changes are the same. compared: the questions. unasked: why they were not
    asked, empty where they were. notes: what may explain a difference.
    """

    frames: int = 0
    keyframes: tuple[int, ...] = ()
    recorded: list[Change] = field(default_factory=list)
    replayed: list[Change] = field(default_factory=list)
    compared: list[Compared] = field(default_factory=list)
    unasked: str = ""
    questions: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def first_difference(self) -> str | None:
        for place, (then, now) in enumerate(zip(self.recorded, self.replayed, strict=False)):
            if then != now:
                return f"change {place}: recorded {in_words(then)}; replayed {in_words(now)}"
        longer, by = (
            (self.recorded, "recorded") if len(self.recorded) > len(self.replayed) else (self.replayed, "replayed")
        )
        place = min(len(self.recorded), len(self.replayed))
        return f"change {place}: only {by} {in_words(longer[place])}" if place < len(longer) else None

    @property
    def same(self) -> bool:
        """Whether everything that was compared is the same."""
        return self.first_difference is None and all(one.same is not False for one in self.compared)


@dataclass(frozen=True, slots=True)
class RecordedSettings:
    """What was in effect. config: without what a file may not choose for whoever replays it. model: its name.
    withheld: what was left out of config, in words; empty where nothing was."""

    config: Config
    model: str
    withheld: str = ""


def settings_of(recording: LiveRecording) -> RecordedSettings | None:
    """The settings that were in effect; None where none were recorded. Raises BadRecording."""
    for item in recording.items():
        if isinstance(item, RecordedEvent) and item.kind == SETTINGS:
            try:
                text = str(item.fields["toml"])
                if any(len(line) > MOST_LINE for line in text.splitlines()):
                    raise BadConfig("a line of them is too long")
                where = f"{recording.info.path}: its settings"
                return _believed(config_from(tomllib.loads(text), where), str(item.fields.get("model", "")))
            except (ValueError, KeyError, RecursionError) as error:
                raise BadRecording(recording.info.path, f"its settings cannot be read: {str(error)[:300]}") from error
        if isinstance(item, RecordedFrame):
            return None
    return None


def _believed(config: Config, model: str) -> RecordedSettings:
    """A recording may come from anybody: a server that pictures and a key would be sent to, and folders that files
    would be read from and written to, are for whoever replays it to name."""
    withheld = []
    if config.reasoner.name == "openai" or config.reasoner.server != ServerConfig():
        withheld.append("a server")
        config = replace(config, reasoner=ReasonerConfig())
    # Neither changes an answer: where to keep what the model has seen, and whether its files are compared with sha256.
    config = replace(config, reasoner=replace(config.reasoner, cache=None, verify_files=True))
    if config.segmenter.folder is not None:
        withheld.append("a segmenter's folder")
        config = replace(config, segmenter=SegmenterConfig())
    return RecordedSettings(config, model, " and ".join(withheld))


def replay(
    recording: LiveRecording,
    config: Config,
    asker: AskedAgain | None = None,
    on_frame: Callable[[], None] | None = None,
) -> Replayed:
    """Play a recording through the map of a session with the recorded poses, and compare.

    asker: puts the recorded questions again; None: they are counted. Raises BadRecording, and what the engines raise
    when they are opened; a question that fails now and did not then is a difference.
    """
    player = _Player(recording, config, asker)
    for item in recording.items():
        if isinstance(item, RecordedFrame):
            player.frame(item)
            if on_frame is not None:
                on_frame()
        else:
            player.event(item)
    return player.end()


class _Player:
    def __init__(self, recording: LiveRecording, config: Config, asker: AskedAgain | None) -> None:
        self._recording = recording
        self._tracker = RecordedTracker()
        self._map = replayed_map(config, recording.card.jpeg_quality, self._tracker)
        self._asker = asker
        self._found = Replayed()
        self._open: dict[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {}  # questions without an answer yet

    def frame(self, frame: RecordedFrame) -> None:
        self._found.frames += 1
        self._note(self._map.take(frame).decision)

    def event(self, event: RecordedEvent) -> None:
        fields: Mapping[str, Any] = event.fields
        if event.kind == KEYFRAME:
            change = _change(fields)
            self._found.recorded.append(change)
            if change[0] == -1 and len(self._found.replayed) < len(self._found.recorded):
                self._note(self._map.settled()[0])  # the end of the stream, which no event tells of
        elif event.kind == MOVED:
            try:
                self._tracker.move(poses_of(fields))
            except (ValueError, TypeError) as error:
                raise BadRecording(self._recording.info.path, f"an event {MOVED!r}: {str(error)[:200]}") from error
        elif event.kind == QUESTION:
            self._question(fields)
        elif event.kind == ANSWER:
            asked = self._open.pop(str(fields.get("id")), None)
            if asked is not None:
                self._found.compared.append(compared(asked[0], fields, asked[1]))

    def end(self) -> Replayed:
        found, selector, memory = self._found, self._map.selector, self._map.memory
        found.compared += [compared(asked, None, now) for asked, now in self._open.values()]
        found.keyframes = tuple(keyframe.index for keyframe in self._map.keyframes)
        dropped = self._recording.info.counters["frames_dropped"]
        if dropped:
            found.notes.append(f"{dropped} frames were seen live and not recorded: the recorder was behind")
        assert isinstance(selector, RecordedSelector)
        assert isinstance(memory, RecordedMemory)
        if selector.quality.judged:
            found.notes.append(f"{selector.quality.judged} frames were judged by their JPEG: no quality was recorded")
        if not memory.same_pixels:
            found.notes.append(
                f"colour was recorded as JPEG of quality {self._recording.card.jpeg_quality}, and the memory held "
                f"{memory.jpeg_quality or 'raw pixels'}: the reasoner saw other pixels"
            )
        return found

    def _question(self, fields: Mapping[str, Any]) -> None:
        self._found.questions += 1
        decision, now = self._map.settled()
        self._note(decision)
        if self._asker is None:
            return
        try:
            if now.keyframes:
                question, task = str(fields.get("question", "")), str(fields.get("task", "find"))
                answer = self._asker.ask(question, task, now).to_json()
            else:
                answer = {"status": "not_ready", "answer": "", "rationale": "", "boxes_2d": []}
        except SceneR1Error as error:
            answer = {"status": f"{type(error).__name__}: {error}"}
        self._open[str(fields.get("id"))] = (fields, answer)

    def _note(self, decision: Decision) -> None:
        if decision.inserted is not None or decision.evicted is not None:
            self._found.replayed.append(_change(keyframe_fields(decision)))


def in_words(change: Change) -> str:
    """A change to the keyframes, for people."""
    at, inserted, evicted = change
    when = "when settled" if at == -1 else f"at frame {at}"
    what = "nothing in" if inserted is None else f"frame {inserted} in"
    return f"{what}, {'none' if evicted is None else f'frame {evicted}'} out, {when}"


def _change(fields: Mapping[str, Any]) -> Change:
    values = [fields.get(name) for name in ("index", "inserted", "evicted")]
    whole = [value if type(value) is int else None for value in values]
    return (-1 if whole[0] is None else whole[0], whole[1], whole[2])

"""`scene-r1 replay`: play a live recording again, and say whether keyframes and answers are the same."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from scene_r1.cli import FAULT, OK
from scene_r1.cli.progress import progress
from scene_r1.config import Config, load_config
from scene_r1.recorder.asked_again import AskedAgain
from scene_r1.recorder.recording import LiveRecording
from scene_r1.recorder.replay import RecordedSettings, Replayed, replay, settings_of
from scene_r1.sources import open_source
from scene_r1_engines.errors import BadModelFile, BadRecording


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recording", metavar="FILE.mcap", help="what `scene-r1 live --record FILE.mcap` has written")
    parser.add_argument("--model", metavar="DIR", help="folder of the model that was asked (default nano, if it was)")
    parser.add_argument("--no-questions", action="store_true", help="compare the keyframes alone")
    parser.add_argument("--config", metavar="FILE", help="settings in TOML (default: those that were recorded)")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.epilog = "Exit code: 0 all is the same, 1 something differs."


def run(args: argparse.Namespace) -> int:
    with open_source(args.recording) as recording, progress("replaying", None) as advance:
        if not isinstance(recording, LiveRecording):
            what = "is no recording of `scene-r1 live --record`: only those tell what was kept and answered"
            raise BadRecording(args.recording, what)
        recorded = settings_of(recording)
        config = load_config(args.config) if args.config is not None or recorded is None else recorded.config
        if args.no_questions:
            asker, unasked = None, "--no-questions"
        elif args.config is None and recorded is not None and recorded.withheld:
            asker, unasked = (
                None,
                f"they went through {recorded.withheld}, which a recording may not choose: give --config",
            )
        else:
            asker, unasked = _asker(config, args.model, recorded)
        if asker is None:
            found = replay(recording, config, None, advance)
        else:
            with asker:
                found = replay(recording, config, asker, advance)
    found.unasked = unasked if found.questions else ""
    if recorded is None and args.config is None:
        found.notes.append("no settings were recorded: the defaults were used")
    for line in _in_words(found):
        print(line)
    if args.json:
        print(json.dumps(_as_json(found)))
    return OK if found.same else FAULT


def _asker(config: Config, model: str | None, recorded: RecordedSettings | None) -> tuple[AskedAgain | None, str]:
    """What asks again, or why nothing does: a model other than the recorded one would answer otherwise."""
    try:
        asker = AskedAgain(config, model)
    except BadModelFile:
        if model is not None:
            raise
        return None, "the model that was asked is not here: name it with --model"
    if model is None and recorded is not None and recorded.model not in ("", asker.name):
        asker.close()
        return None, f"they were put to {recorded.model!r}: name its folder with --model"
    return asker, ""


def _in_words(found: Replayed) -> list[str]:
    difference = found.first_difference
    lines = [
        f"frames     {found.frames}",
        f"keyframes  {len(found.keyframes)} held, {len(found.replayed)} changes: "
        + (f"the same as recorded: {', '.join(map(str, found.keyframes))}" if difference is None else difference),
    ]
    for one in found.compared:
        state = {True: "the same", False: "differs", None: "not compared"}[one.same]
        lines.append(f"question   {one.question!r}: {state}" + "".join(f"; {what}" for what in one.differences))
    if found.unasked:
        lines.append(f"question   {found.questions} not asked again: {found.unasked}")
    return [*lines, *(f"note       {note}" for note in found.notes)]


def _as_json(found: Replayed) -> dict[str, object]:
    return {
        "same": found.same,
        "frames": found.frames,
        "keyframes": list(found.keyframes),
        "changes_recorded": len(found.recorded),
        "changes_replayed": len(found.replayed),
        "first_difference": found.first_difference,
        "questions": found.questions,
        "unasked": found.unasked,
        "compared": [asdict(one) for one in found.compared],
        "notes": found.notes,
    }

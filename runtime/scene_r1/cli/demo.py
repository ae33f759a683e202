"""`scene-r1 demo`: make a synthetic room, find objects in it, compare with the truth."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from scene_r1.answer import Answer
from scene_r1.box import iou
from scene_r1.cli import NOT_FOUND, OK
from scene_r1.cli.locate import Found, find, say, write
from scene_r1.cli.progress import progress
from scene_r1.config import Config
from scene_r1.demo import FRAMES, Question, make_recording, questions
from scene_r1.drawing import Exhibit, evidence_sheet, write_png
from scene_r1.files import check_output_folder
from scene_r1.viewer import require_rerun, write_glb, write_rrd
from scene_r1_engines.errors import BadInput, MissingExtra, OutputExists

DEMO_SEED = 19


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", metavar="DIR", default="demo_out", help="folder for all that it makes (demo_out)")
    parser.add_argument("--seed", type=int, default=DEMO_SEED, help=f"which room (default {DEMO_SEED})")
    parser.add_argument("--objects", type=int, default=3, help="how many objects to ask about (default 3)")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")


def run(args: argparse.Namespace) -> int:
    if args.objects < 1:
        raise BadInput(f"--objects must be 1 or more, got {args.objects}")
    out = check_output_folder(args.out)
    recording = out / f"room-{args.seed}"
    if out.exists() and any(out.iterdir()):
        raise OutputExists(f"{out} is not empty: remove it or name another folder with --out")
    print(f"Rendering {FRAMES} frames of a synthetic room (seed {args.seed}) into {recording}", file=sys.stderr)
    with progress("rendering", FRAMES) as advance:
        room = make_recording(recording, args.seed, lambda _: advance())
    asked = questions(room, args.objects)
    if not asked:
        raise BadInput(f"no object of room {args.seed} is seen well enough to ask about: try another --seed")
    answers = []
    exhibits = []
    every: list[Found] = []
    for question in asked:
        corners = " ".join(f"{v:g}" for v in question.xyxy)
        print(f"\n{question.name}: scene-r1 locate {recording} --frame {question.frame} --xyxy {corners}")
        found = find(str(recording), question.frame, question.xyxy, Config())
        every.append(found)
        answer = found.answer
        say(answer)
        print(f"{'truth':<9} {_compared(answer, question)}")
        write(out / question.name.replace(" ", "-"), answer, found.evidence, Config())
        answers.append(_as_json(answer, question))
        view = answer.evidence[0]
        caption = f"{question.name}: {_compared(answer, question)}"
        exhibits.append(Exhibit(found.evidence[0], view.xyxy, view.mask, answer.box_3d, caption, question.truth))
    write_png(out / "demo.png", evidence_sheet(exhibits))
    print(f"\nPictures: {out / 'demo.png'}, and evidence.png in each object's folder. Camera and room are simulated.")
    print(f"In 3D, with the first object: {_show(out, every[0])}")
    if args.json:
        print(json.dumps({"seed": args.seed, "objects": answers}))
    return OK if all(answer["status"] == "ok" for answer in answers) else NOT_FOUND


def _show(out: Path, found: Found) -> str:
    """Write what 3D viewers open; returns which files there are, in words."""
    write_glb(out / "demo.glb", found.showing)
    try:
        require_rerun()
    except MissingExtra as error:
        return f"{out / 'demo.glb'} (no demo.rrd: {error})"
    write_rrd(out / "demo.rrd", found.showing)
    return f"{out / 'demo.glb'} and {out / 'demo.rrd'} (scene, box and keyframes)"


def _compared(answer: Answer, question: Question) -> str:
    box = answer.box_3d
    if box is None:
        return "not found"
    off = float(np.linalg.norm(np.subtract(box.center, question.truth.center)))
    return f"IoU {iou(box, question.truth):.2f}, centre {off * 100:.1f} cm off"


def _as_json(answer: Answer, question: Question) -> dict[str, object]:
    box = answer.box_3d
    return {
        "name": question.name,
        "frame": question.frame,
        "xyxy": list(question.xyxy),
        "truth": question.truth.to_json(),
        "iou": None if box is None else round(iou(box, question.truth), 4),
        **answer.to_json(),
    }

"""`scene-r1-rooms show`: what is in made rooms, and what is asked about them."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator

from scene_r1.program import OK
from scene_r1.rooms.dataset.folder import RoomScene, open_rooms
from scene_r1.rooms.dataset.graph import GraphObject
from scene_r1.rooms.dataset.questions_file import question_line
from scene_r1.rooms.dataset.sheet import preview_sheet, write_jpeg
from scene_r1.rooms.model.room import BACKGROUND
from scene_r1.rooms.questions.question import Question


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("rooms", metavar="OUT", help="a folder that `make` made")
    parser.add_argument("--room", metavar="NAME", help="of this room alone (room-000019)")
    parser.add_argument("--sheet", metavar="FILE", help="write a contact sheet, a .jpg")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")


def run(args: argparse.Namespace) -> int:
    rooms = open_rooms(args.rooms)
    scenes = rooms.scenes if args.room is None else (rooms.scene(args.room),)
    if args.sheet is not None:
        write_jpeg(args.sheet, preview_sheet(scenes))
    if args.json:
        print(json.dumps({"rooms": [_as_json(scene) for scene in scenes]}))
    else:
        print("\n\n".join("\n".join(_in_words(scene)) for scene in scenes))
    return OK


def _in_words(scene: RoomScene) -> Iterator[str]:
    graph, made = scene.graph, scene.made
    x, y, z = graph.size_m
    light = f", light: {graph.light}" if graph.light else ""
    walk = f"{made.frames} frames in {made.duration_s:g} s"
    yield f"{scene.name}  {scene.split}, {x:.1f} x {y:.1f} x {z:.1f} m{light}, {walk}"
    names = {piece.id: piece.name for piece in graph.furniture}
    names[BACKGROUND] = "floor"
    for thing in graph.objects:
        yield f"  {thing.id:>2} {thing.name:<20} {_size(thing)}  on the {names[thing.support]:<12} {_seen(thing)}"
    yield f"  furniture: {', '.join(piece.name for piece in graph.furniture)}"
    for question in scene.questions:
        yield f"  {question.family:<10} {question.text}"
        yield f"  {'':<10} -> {_answer(question, made.rate_hz)}"


def _size(thing: GraphObject) -> str:
    return " x ".join(f"{side:.2f}" for side in thing.box.size) + " m"


def _seen(thing: GraphObject) -> str:
    near = "" if math.isinf(thing.nearest_m) else f", from {thing.nearest_m:.1f} m"
    return f"{100 * thing.visible:.0f} % seen{near}"


def _answer(question: Question, rate_hz: float) -> str:
    if question.task == "vqa":
        return question.answer
    if not question.windows_s:
        return "it is not there"
    start, end = question.windows_s[0]
    frames = f"{len(question.boxes_2d)} frames" if len(question.boxes_2d) != 1 else "one frame"
    return f"the {question.name} (object {question.target}), {start:.1f} to {end:.1f} s, in {frames}"


def _as_json(scene: RoomScene) -> dict[str, object]:
    return {
        "name": scene.name,
        "seed": scene.seed,
        "split": scene.split,
        "objects": [thing.name for thing in scene.graph.objects],
        "furniture": [piece.name for piece in scene.graph.furniture],
        "questions": [json.loads(question_line(question)) for question in scene.questions],
    }

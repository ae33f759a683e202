"""`--glb` and `--rrd` of the commands that find things: asked about before the work, written after the answer."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from scene_r1.answer import Answer
from scene_r1.files import check_output_folder
from scene_r1.memory import SceneMemory
from scene_r1.viewer import Showing, require_rerun, write_glb, write_rrd
from scene_r1_engines.errors import BadInput, OutputExists

MOST_SHOWN = 64
"""Keyframes, besides those of the evidence: decoded they take 100 MB at 640x480, and more hide each other."""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--glb", metavar="FILE", help="write the scene and the answer there, for any 3D viewer")
    parser.add_argument("--rrd", metavar="FILE", help="the same with its time, for Rerun's viewer (extra 'viewer')")


def check(args: argparse.Namespace) -> None:
    """Before the long work. Raises BadInput for a name of another ending, OutputExists where it is taken, SceneR1Error
    where nothing may be written, MissingExtra where Rerun is not there."""
    for name, ending in ((args.glb, ".glb"), (args.rrd, ".rrd")):
        if name is None:
            continue
        path = Path(name)
        if path.suffix.lower() != ending:
            raise BadInput(f"{name}: end the name in {ending}")
        if path.exists():
            raise OutputExists(f"{name} is already there: name another place or remove it")
        check_output_folder(path.parent)
    if args.rrd is not None:
        require_rerun()


def write(args: argparse.Namespace, showing: Showing) -> None:
    """The files that were asked for, each whole or absent."""
    if args.glb is not None:
        write_glb(args.glb, showing, overwrite=False)
        print(f"wrote {args.glb}", file=sys.stderr)
    if args.rrd is not None:
        write_rrd(args.rrd, showing, overwrite=False)
        print(f"wrote {args.rrd}", file=sys.stderr)


def remembered(answer: Answer, memory: SceneMemory, start_ns: int | None, question: str) -> Showing:
    """What a memory holds, with an answer that was found in it; of many keyframes MOST_SHOWN, evenly spread."""
    held = [keyframe.index for keyframe in memory]
    wanted = shown(held, (view.frame for view in answer.evidence))
    if len(wanted) < len(held):
        print(f"showing {len(wanted)} of {len(held)} keyframes", file=sys.stderr)
    return Showing.of(answer, {index: memory[index].frame() for index in wanted}, start_ns, question)


def shown(held: Sequence[int], evidence: Iterable[int], most: int = MOST_SHOWN) -> list[int]:
    """Which of the keyframes that are held: those of the evidence, and up to `most` others evenly spread."""
    needed = set(held) & set(evidence)
    others = [index for index in held if index not in needed]
    step = max(1.0, len(others) / most)
    spread = {others[int(i * step)] for i in range(min(most, len(others)))}
    return sorted(needed | spread)

"""`scene-r1 demo`: a synthetic room as a recording, three questions about it in words, the answers beside the truth."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from scene_r1.cli import OK, viewing
from scene_r1.cli.asking import model_of, watch
from scene_r1.cli.progress import progress
from scene_r1.config import load_config
from scene_r1.demo import (
    GivenBox,
    Judged,
    Walked,
    asked,
    chosen,
    given_boxes,
    given_line,
    lines,
    sheet,
    walk,
    walk_through,
)
from scene_r1.drawing import write_png
from scene_r1.files import check_output_folder
from scene_r1.grounder import Grounder, open_grounder
from scene_r1.sources import open_source
from scene_r1.viewer import require_rerun, write_glb, write_rrd
from scene_r1_engines.errors import BadInput, MissingExtra, OutputExists

DEMO_SEED = 59
"""A room of the test split, none that a model was trained in; chosen so that Scene-R1 nano has something right."""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", metavar="DIR", default="demo_out", help="folder for all that it makes (demo_out)")
    parser.add_argument("--seed", type=int, default=DEMO_SEED, help=f"which room (default {DEMO_SEED})")
    parser.add_argument("--model", metavar="DIR", help="folder of the model (default nano: the one that is here)")
    parser.add_argument("--config", metavar="FILE", help="settings in TOML")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.epilog = "Exit code 0: it ran to its end, however right the answers are."


def run(args: argparse.Namespace) -> int:
    config = load_config(args.config)
    out = check_output_folder(args.out)
    if out.exists() and any(out.iterdir()):
        raise OutputExists(f"{out} is not empty: remove it or name another folder with --out")
    with open_grounder(config, model_of(args, config)) as grounder:  # first: what it lacks shows before the rendering
        print(f"rendering {walk.FRAMES} frames of a synthetic room into {out}", file=sys.stderr)
        with progress("rendering", walk.FRAMES) as advance:
            walked = walk_through(out, args.seed, advance)
        print(_about(walked, grounder))
        with open_source(walked.path) as source:
            start_ns = watch(source, grounder)
        if not len(grounder.memory):
            raise BadInput(f"no frame of {walked.path} became a keyframe: try another --seed")
        judged = []
        for number, question in enumerate(chosen(walked.questions), 1):
            judged.append(asked(grounder, question))
            print("\n" + "\n".join(lines(number, judged[-1])), flush=True)
        given = list(given_boxes(grounder, [one.question for one in judged]))
        if given:
            masks = grounder.segmenter.name
            print(f"\nThe same things with their true 2D box given, so without the model (masks by {masks}):")
            print("\n".join(given_line(one) for one in given))
        write_png(out / "demo.png", sheet(grounder, judged, given))
        print(f"\n{_summary(judged, given)}\n")
        print(f"Picture: {out / 'demo.png'}")
        print(f"In 3D: {_show(out, judged, grounder, start_ns)}")
        print(f'Ask on: scene-r1 ask {walked.path} "where is ...?"', flush=True)
    if args.json:
        print(json.dumps(_as_json(walked, grounder, judged, given)))
    return OK


def _about(walked: Walked, grounder: Grounder) -> str:
    learnt = " (no model learns in those)" if walked.split == "test" else ""
    return (
        f"Room {walked.seed} of the {walked.split} rooms{learnt}: a walk of {walked.duration_s:.0f} s, written to "
        f"{walked.path}\nand read back from there. Camera and room are simulated. Model: {grounder.model}."
    )


def _summary(judged: Sequence[Judged], given: Sequence[GivenBox]) -> str:
    right = sum(one.right for one in judged)
    seconds = max((one.seconds for one in judged), default=0.0)
    told = f"{right} of {len(judged)} answers right (a box is from IoU 0.25 on), the slowest in {seconds:.1f} s"
    return told + (f"; with 2D boxes given {sum(one.right for one in given)} of {len(given)}." if given else ".")


def _show(out: Path, judged: Sequence[Judged], grounder: Grounder, start_ns: int | None) -> str:
    """Write what 3D viewers open, of the first answer that has a box, else of the first; says which files."""
    first = next((one for one in judged if one.answer.box_3d is not None), judged[0])
    showing = viewing.remembered(first.answer, grounder.memory, start_ns, first.question.text)
    write_glb(out / "demo.glb", showing)
    try:
        require_rerun()
    except MissingExtra as error:
        return f"{out / 'demo.glb'} (no demo.rrd: {error})"
    write_rrd(out / "demo.rrd", showing)
    return f"{out / 'demo.glb'} and {out / 'demo.rrd'} (keyframes and the answer to {first.question.text!r})"


def _as_json(
    walked: Walked, grounder: Grounder, judged: Sequence[Judged], given: Sequence[GivenBox]
) -> dict[str, object]:
    return {
        "seed": walked.seed,
        "split": walked.split,
        "recording": str(walked.path),
        "model": grounder.model,
        "questions": [one.to_json() for one in judged],
        "given_box": [one.to_json() for one in given],
    }

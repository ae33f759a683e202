"""`scene-r1 locate`: a 2D box in one frame becomes a metric 3D box in the world."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scene_r1.answer import Answer
from scene_r1.cli import viewing
from scene_r1.cli.progress import progress
from scene_r1.config import Config, load_config, save_config, with_options
from scene_r1.drawing import Exhibit, evidence_sheet, write_png
from scene_r1.files import check_output_folder, make_folder, write_text
from scene_r1.frame import RgbdFrame
from scene_r1.keyframes import KeyframeSelector
from scene_r1.lift import Lifter
from scene_r1.locate import check_box, locate
from scene_r1.memory import SceneMemory
from scene_r1.ply import write_ply
from scene_r1.sources import open_source
from scene_r1.stream import remember
from scene_r1.timings import Timings
from scene_r1.viewer import Showing
from scene_r1_engines.errors import BadInput

SEGMENTER_HELP = "engine that turns boxes into masks, or the folder of a SAM2 model (default depth_cut)"
BOX_COLOR = (255, 196, 0)
MOST_PICTURES = 9


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recording", metavar="RECORDING", help="a folder or file that `scene-r1 inspect` can read")
    parser.add_argument("--frame", type=int, required=True, help="zero-based index of the frame that the box is in")
    parser.add_argument(
        "--xyxy",
        type=float,
        nargs=4,
        required=True,
        metavar=("X0", "Y0", "X1", "Y1"),
        help="the 2D box, pixels of the colour image",
    )
    parser.add_argument("-k", type=int, help="keyframes to hold while reading (default 16)")
    parser.add_argument("--segmenter", metavar="NAME|DIR", help=SEGMENTER_HELP)
    parser.add_argument("--config", metavar="FILE", help="settings in TOML")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument(
        "--out", metavar="DIR", help="write answer.json, object.ply, evidence.png and config.toml there"
    )
    viewing.add_options(parser)


def run(args: argparse.Namespace) -> int:
    config = with_options(load_config(args.config), args.k, args.segmenter)
    if args.out is not None:
        check_output_folder(args.out)
    viewing.check(args)
    xyxy = (args.xyxy[0], args.xyxy[1], args.xyxy[2], args.xyxy[3])
    found = find(args.recording, args.frame, xyxy, config)
    answer = found.answer
    if args.out is not None:
        write(Path(args.out), answer, found.evidence, config)
    say(answer)
    if args.json:
        print(json.dumps(answer.to_json()), flush=True)
    if args.glb is not None or args.rrd is not None:  # last: a disk that is full must not cost the answer
        viewing.write(args, found.showing)
    return answer.status.exit_code


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """An answer, and by their index the frames that it was found in: the keyframes and the frame asked about.

    start_ns: timestamp_ns of the recording's first frame.
    """

    answer: Answer
    frames: dict[int, RgbdFrame]
    start_ns: int | None

    @property
    def evidence(self) -> list[RgbdFrame]:
        """The frames of the answer's evidence, in its order."""
        return [self.frames[view.frame] for view in self.answer.evidence]

    @property
    def showing(self) -> Showing:
        """All of it, for a 3D viewer; of many keyframes as many as `viewing.shown` takes."""
        wanted = viewing.shown(sorted(self.frames), (view.frame for view in self.answer.evidence))
        return Showing.of(self.answer, {index: self.frames[index] for index in wanted}, self.start_ns)


def find(recording: str, index: int, xyxy: tuple[float, float, float, float], config: Config) -> Found:
    """Stream a recording, then locate.

    Raises BadInput for a frame that the recording does not have, and what `open_source` and `locate` raise.
    """
    clock = Timings()
    selector = KeyframeSelector(config.keyframes.k, config.keyframes.selection, config.keyframes.observation)
    memory = SceneMemory(config.memory.max_bytes, config.memory.jpeg_quality)
    with ExitStack() as opened:
        with clock.stage("load"):  # before the reading: one that cannot be opened is known at once
            segmenter = opened.enter_context(config.segmenter.open())
        with open_source(recording) as source, clock.stage("stream"):
            total = source.info.frames
            if index < 0 or (total is not None and index >= total):
                raise BadInput(f"{recording} has no frame {index}: its frames are 0..{(total or 1) - 1}")
            check_box(source.info.color_intrinsics, xyxy, index)
            with progress("reading", total) as advance:
                asked = remember(source.frames(), selector, memory, {index, 0}, advance)
            if index not in asked:
                raise BadInput(f"{recording} has no frame {index}: it ended after {selector.counters.offered} frames")
        with clock.stage("decode_keyframes"):
            keyframes = {keyframe.index: keyframe.frame() for keyframe in memory}
        answer = locate(asked[index], xyxy, keyframes.values(), segmenter, Lifter(config.lift), clock)
    keyframes[index] = asked[index]
    return Found(answer, keyframes, asked[0].timestamp_ns if 0 in asked else None)


def say(answer: Answer) -> None:
    """The answer for people, on stdout."""
    say_box(answer)
    say_engines(answer)
    print(f"{'time':<9} " + ", ".join(f"{stage} {ms:.0f}" for stage, ms in answer.timings_ms.items()) + " ms")


def say_box(answer: Answer) -> None:
    """The status with the box, or with the reason why there is none."""
    box = answer.box_3d
    if box is None:
        print(f"{answer.status.value:<9} {answer.reason}")
        return
    size = " x ".join(f"{side:.3f}" for side in box.size)
    center = ", ".join(f"{side:.3f}" for side in box.center)
    where = f"m at ({center}) m in frame '{box.frame_id}'"
    print(f"{answer.status.value:<9} {size} {where}, each face +- {box.spread_m:.3f} m")
    supporting = ", ".join(str(view.frame) for view in answer.evidence if view.supports)
    print(f"{'views':<9} {box.supporting_views} of {len(answer.evidence)} agree: frames {supporting}")


def say_engines(answer: Answer) -> None:
    """Which engine did what."""
    for role, name in answer.engine.items():
        note = " (weight-free stand-in for a learned one)" if role in answer.degraded else ""
        print(f"{role:<9} {name}{note}")


def write(
    folder: Path,
    answer: Answer,
    frames: Sequence[RgbdFrame],
    config: Config,
    name: str = "evidence.png",
    sheet: Callable[[], NDArray[np.uint8]] | None = None,
) -> None:
    """The answer's files, each whole or absent. name: of the picture; sheet: draws it where there is no evidence,
    without one there is then no picture."""
    make_folder(folder)
    write_text(folder / "answer.json", json.dumps(answer.to_json(), indent=2) + "\n")
    save_config(config, folder / "config.toml")
    boxes = [] if answer.box_3d is None else [(answer.box_3d, BOX_COLOR)]
    write_ply(folder / "object.ply", answer.xyz, answer.rgb, boxes)
    if frames:
        write_png(folder / name, evidence_sheet(exhibits(answer, frames)))
    elif sheet is not None:
        write_png(folder / name, sheet())
    drawn = f"{name}, " if frames or sheet is not None else ""
    print(f"wrote answer.json, object.ply, {drawn}config.toml to {folder}", file=sys.stderr)


def exhibits(answer: Answer, frames: Sequence[RgbdFrame]) -> list[Exhibit]:
    """The views of an answer as pictures, the one that was followed first, those that support the box before the
    others; with the 2D box that was asked about, or those that a model gave."""
    given = {box.frame: box.xyxy for box in reversed(answer.boxes_2d)}  # of several in one frame the first, the surest
    if answer.evidence and not given:
        given = {answer.evidence[0].frame: answer.evidence[0].xyxy}
    pairs = list(zip(answer.evidence, frames, strict=True))
    ordered = pairs[:1] + sorted(pairs[1:], key=lambda pair: (not pair[0].supports, -pair[0].score))
    return [
        Exhibit(
            frame,
            xyxy=given.get(view.frame),
            mask=view.mask,
            box=answer.box_3d,
            caption=f"frame {view.frame}"
            + (", asked" if view.frame in given else "")
            + ("" if view.supports else ", does not agree"),
        )
        for view, frame in ordered[:MOST_PICTURES]
    ]

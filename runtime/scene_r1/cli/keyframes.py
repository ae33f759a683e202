"""`scene-r1 keyframes`: which frames an online selection of k keeps, and how much of the room they cover."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from scene_r1.cli import OK
from scene_r1.cli.progress import progress
from scene_r1.config import Config, load_config, save_config, with_options
from scene_r1.drawing import contact_sheet, write_png
from scene_r1.files import check_output_folder, make_folder, write_text
from scene_r1.frame import RgbdFrame
from scene_r1.keyframes import Decision, Evaluation, evaluate
from scene_r1.memory import SceneMemory
from scene_r1.sources import open_source
from scene_r1_engines.errors import BadInput


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recording", metavar="RECORDING", help="a folder or file that `scene-r1 inspect` can read")
    parser.add_argument("-k", type=int, help="keyframes to hold (default 16)")
    parser.add_argument("--config", metavar="FILE", help="settings in TOML")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument("--out", metavar="DIR", help="write keyframes.png, keyframes.json and config.toml there")


def run(args: argparse.Namespace) -> int:
    config = with_options(load_config(args.config), args.k)
    k = config.keyframes.k
    if args.out is not None:
        check_output_folder(args.out)
    memory = SceneMemory(config.memory.max_bytes, config.memory.jpeg_quality)

    def keep(decision: Decision) -> None:
        if decision.inserted is not None:
            memory.put(decision.inserted, in_place_of=decision.evicted)

    with open_source(args.recording) as source, progress("reading", source.info.frames) as advance:

        def frames() -> Iterator[RgbdFrame]:
            for frame in source.frames():
                yield frame
                advance()

        found = evaluate(frames(), k, config.keyframes.selection, config.keyframes.observation, keep)
    if found.frames == 0:
        raise BadInput(f"{args.recording} has no frame with a pose: there is nothing to select from")
    if not found.kept:
        seen = config.keyframes.observation
        raise BadInput(f"no frame of {args.recording} shows a surface {seen.near_m:g} to {seen.far_m:g} m away")
    if args.out is not None:
        _write(Path(args.out), found, memory, config)
    _say(found, k)
    if args.json:
        print(json.dumps({**_rounded(found), "k": k, "memory_bytes": memory.nbytes}))
    return OK


def _say(found: Evaluation, k: int) -> None:
    print(f"kept      {len(found.kept)} of {found.frames} frames: {', '.join(map(str, found.kept))}")
    print(f"inserted  {found.inserted} ({1000 * found.inserted / found.frames:.0f} per 1,000 frames)")
    print(f"{'coverage':<10}{'weighted':>9}{'raw':>8}    (of all that the recording shows, k = {k})")
    for name, weighted, raw in (
        ("online", found.coverage, found.coverage_raw),
        ("greedy", found.coverage_greedy, found.coverage_raw_greedy),
        ("uniform", found.coverage_uniform, found.coverage_raw_uniform),
    ):
        print(f"  {name:<8}{weighted:>9.3f}{raw:>8.3f}")
    print(f"prefixes  at least {found.min_prefix_ratio:.3f} of greedy at every tenth of the stream")
    print(f"time      {found.ms_per_frame:.2f} ms a frame (quality, voxels and selection, thread CPU)")


def _rounded(found: Evaluation) -> dict[str, object]:
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in asdict(found).items()}


def _write(folder: Path, found: Evaluation, memory: SceneMemory, config: Config) -> None:
    make_folder(folder)
    keyframes = list(memory)
    captions = [f"frame {keyframe.index}, {keyframe.timestamp_ns / 1e9:.1f} s" for keyframe in keyframes]
    write_png(folder / "keyframes.png", contact_sheet([keyframe.frame() for keyframe in keyframes], captions))
    write_text(folder / "keyframes.json", json.dumps(_rounded(found), indent=2) + "\n")
    save_config(config, folder / "config.toml")
    print(f"wrote keyframes.png, keyframes.json, config.toml to {folder}", file=sys.stderr)

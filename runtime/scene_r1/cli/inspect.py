"""`scene-r1 inspect`: what is in a recording, and whether its poses and depth make sense."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict

from scene_r1.cli import BAD_INPUT, OK
from scene_r1.cli.progress import progress
from scene_r1.inspection import Inspection, inspect
from scene_r1.reprojection import scale_name
from scene_r1.sources import open_source
from scene_r1_engines.intrinsics import Intrinsics

SHOWN = "rotation_rounding_ppm"
"""Not a count, and part of the line about poses."""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recording", metavar="RECORDING", help="a folder or a file; see `scene-r1 convert --help`")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")


def run(args: argparse.Namespace) -> int:
    with open_source(args.recording) as source, progress("reading", source.info.frames) as advance:
        found = inspect(source, lambda _: advance())
    if args.json:
        print(json.dumps(_as_json(found)))
    else:
        for label, text in _in_words(found):
            print(f"{label:<12} {text}")
    if found.fault is not None:
        print(f"scene-r1 inspect: {found.fault}", file=sys.stderr)
        return BAD_INPUT
    return OK


def _in_words(found: Inspection) -> Iterator[tuple[str, str]]:
    """(label, text) line by line."""
    info = found.info
    yield "recording", f"{info.path} ({info.format})"
    of = "" if info.frames in (None, found.frames) else f" of {info.frames}"
    yield "frames", f"{found.frames}{of}, nominal {info.rate_hz:.4g} Hz, times {info.timestamps}"
    if found.times is not None:
        t = found.times
        yield (
            "times",
            f"{t.duration_s:.2f} s; step {t.median_step_s * 1e3:.1f} ms, longest {t.longest_step_s * 1e3:.1f} ms, "
            f"jitter {t.jitter_s * 1e3:.2f} ms, {t.gaps} gaps, {t.backward} backward",
        )
    yield "colour", _camera_in_words(info.color_intrinsics)
    one = " (one camera with colour)" if info.color_intrinsics == info.depth_intrinsics else ""
    yield "depth", f"{_camera_in_words(info.depth_intrinsics)}, {info.depth_scale:.6g} m per count{one}"
    yield "intrinsics", f"from {info.intrinsics_from}"
    if found.depths is not None:
        d = found.depths
        spread = ", ".join(f"{percent} %: {z:.2f} m" for percent, z in d.percentiles_m.items()) or "no return at all"
        empty = f"; {d.frames_without} frames without any" if d.frames_without else ""
        yield "returns", f"{100 * d.valid_share:.1f} % of pixels; {spread}{empty}"
    if found.poses is None:
        yield "poses", "none"
    else:
        p = found.poses
        at = "" if p.largest_step_at is None else f" (to frame {p.largest_step_at})"
        rounding = "" if p.rotation_rounding is None else f"; rotations off by {p.rotation_rounding:.1e}"
        yield (
            "poses",
            f"{100 * p.share:.1f} % of frames; path {p.path_m:.2f} m, largest step "
            f"{p.largest_step_m * 1e3:.1f} mm{at}{rounding}",
        )
        if found.pairs:
            yield "agreement", f"depth seen from another frame, median |dz|/z over {found.pairs} near pairs; far pairs:"
        for one_reading in found.reprojection if found.pairs else ():
            near, far = (
                "no overlap" if error is None else f"{100 * error:.2f} %"
                for error in (one_reading.error, one_reading.far_error)
            )
            yield "", f"{one_reading.reading!s:<46} {near:>10} {far:>10}"
        yield "verdict", _verdict(found)
    counted = ", ".join(f"{name} {count}" for name, count in info.counters.items() if count and name != SHOWN)
    if counted:
        yield "counted", counted
    for note in info.notes:
        yield "note", note
    if found.fault is not None:
        yield "fault", f"{found.fault}; all above is of the {found.frames} frames before it"


def _verdict(found: Inspection) -> str:
    better = found.better_reading
    if better is None:
        if found.reprojection[0].error is None:
            return "not known: too few pairs of frames see the same place"
        return "poses and depth agree best as recorded"
    turn_axes = "multiply each on the right by diag(1, -1, -1, 1)"
    if better.inverse_poses and better.opengl_axes:
        return (
            "these poses look like world-to-camera of a camera with OpenGL's and ARKit's axes (y up, z backward): "
            f"invert them, then {turn_axes}"
        )
    if better.inverse_poses:
        return "these poses look like world-to-camera: invert them"
    if better.opengl_axes:
        return f"the camera axes of these poses look like OpenGL's and ARKit's (y up, z backward): {turn_axes}"
    recorded = found.info.depth_scale
    scale = recorded * better.depth_factor
    fits = f"{scale:.6g} m per count fits better"
    if better.scale is not None:
        fits = (
            f"it looks like {better.scale} ({scale:.6g} m per count), not {scale_name(recorded) or f'{recorded:.6g}'}"
        )
    return f"this depth scale looks wrong: {fits}; set depth_scale to it"


def _camera_in_words(one: Intrinsics) -> str:
    lens = "" if one.is_pinhole else f" {one.model} {' '.join(f'{c:g}' for c in one.coefficients)}"
    return f"{one.width}x{one.height} f {one.fx:.2f} {one.fy:.2f} c {one.cx:.2f} {one.cy:.2f}{lens}"


def _as_json(found: Inspection) -> dict[str, object]:
    info = found.info
    return {
        "path": info.path,
        "format": info.format,
        "frames": found.frames,
        "frames_listed": info.frames,
        "rate_hz": info.rate_hz,
        "timestamps": info.timestamps,
        "color_intrinsics": asdict(info.color_intrinsics),
        "depth_intrinsics": asdict(info.depth_intrinsics),
        "T_color_depth": info.T_color_depth.tolist(),
        "depth_scale": info.depth_scale,
        "intrinsics_from": info.intrinsics_from,
        "notes": list(info.notes),
        "counters": dict(info.counters),
        "times": None if found.times is None else asdict(found.times),
        "depths": None if found.depths is None else asdict(found.depths),
        "poses": None if found.poses is None else asdict(found.poses),
        "reprojection": [
            {
                "reading": str(one.reading),
                "error": one.error,
                "pairs": one.pairs,
                "far_error": one.far_error,
                "far_pairs": one.far_pairs,
            }
            for one in found.reprojection
        ],
        "pairs": found.pairs,
        "better_reading": None if found.better_reading is None else str(found.better_reading),
        "fault": found.fault,
    }

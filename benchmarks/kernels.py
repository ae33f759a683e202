"""Thread CPU time of the kernels, side by side with a memory copy and with numpy: `python -m benchmarks.kernels`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.arguments import NO_RECORDING, argument_parser, real_recording, run
from benchmarks.measure import Interleaved, interleaved
from benchmarks.numpy_backproject import Vectorised, naive
from benchmarks.recordings import add_cache, cache_folder, room_views, spread
from benchmarks.report import Report
from scene_r1.backproject import BackProjector, backproject_reference
from scene_r1.backproject.cuda import trouble
from scene_r1.frame import RgbdFrame
from scene_r1.keyframes import KeyframeSelector, Observer, QualityMeter
from scene_r1.keyframes.voxel_table import gains
from scene_r1.sources import open_source
from scene_r1_engines.errors import BadInput, SceneR1Error

FRAMES, QUICK_FRAMES = 12, 3
APART = 10
"""Of a recording at 30 Hz every tenth frame: twelve views over four seconds."""
ROUNDS, QUICK_ROUNDS = 200, 12
VOXEL_M = 0.02
MASK_SHARE = 0.13
BYTES_PER_PIXEL = 21
"""What back-projection must touch: 2 depth, 1 mask and 3 colour bytes in, 12 + 3 bytes of point and colour out."""
TARGETS = {
    "backproject_vs_memcpy": "<= 1.8",
    "backproject_vs_numpy": ">= 8",
    "fused_vs_memcpy": "<= 6",
    "max_error_m": "< 1e-5",
}
COPY, HALF_COPY = "np.copyto of 21 B a pixel", "np.copyto of 10.5 B a pixel"
MASKS = ("full", "13 %")

Candidates = dict[str, Callable[[], object]]


@dataclass(frozen=True, slots=True)
class Input:
    """Frames of one camera pair, and for each a mask of MASK_SHARE of the picture. name: for people."""

    name: str
    frames: tuple[RgbdFrame, ...]
    masks: tuple[NDArray[np.bool_], ...]

    @classmethod
    def of(cls, name: str, frames: Sequence[RgbdFrame]) -> Input:
        shape = frames[0].color.shape[:2]
        turns = np.linspace(0.0, 2.0 * np.pi, len(frames), endpoint=False)
        return cls(name, tuple(frames), tuple(blob(shape, float(turn)) for turn in turns))

    def pairs(self, mask: str) -> list[tuple[RgbdFrame, NDArray[np.bool_] | None]]:
        """Each frame with its mask; None for the whole picture."""
        return [(f, None if mask == "full" else m) for f, m in zip(self.frames, self.masks, strict=True)]

    def rotated(self, call: Callable[[RgbdFrame, Any], object], mask: str) -> Callable[[], object]:
        """A call on the next frame each time. All begin with the same one, so those of one call a sample share it."""
        turn = cycle(self.pairs(mask))
        return lambda: call(*next(turn))

    def rotated_numpy(self, call: Callable[..., object], mask: str, *more: object) -> Callable[[], object]:
        """As `rotated`, for those that always want a mask."""
        whole = np.ones(self.masks[0].shape, np.bool_)
        return self.rotated(lambda frame, m: call(frame, whole if m is None else m, *more), mask)


def blob(shape: tuple[int, ...], turn: float) -> NDArray[np.bool_]:
    """An upright ellipse over MASK_SHARE of the picture, as an object's mask is: off the middle, towards `turn`."""
    h, w = shape[:2]
    half = float(np.sqrt(MASK_SHARE / np.pi))  # pi (half w) (half h) = MASK_SHARE w h
    v, u = np.mgrid[:h, :w]
    x, y = u / w - 0.5 - 0.2 * np.cos(turn), v / h - 0.5 - 0.2 * np.sin(turn)
    return np.asarray((x / half) ** 2 + (y / half) ** 2 < 1.0)


def copies(pixels: int) -> Candidates:
    """The floor: memory moved by one call that does nothing else, between buffers allocated and touched before."""
    source = np.random.default_rng(0).integers(0, 256, BYTES_PER_PIXEL * pixels, dtype=np.uint8)
    target = np.zeros_like(source)
    half = len(source) // 2
    return {
        COPY: lambda: np.copyto(target, source),
        HALF_COPY: lambda: np.copyto(target[:half], source[:half]),
    }


def one_camera_candidates(given: Input) -> Candidates:
    """Kernels and numpy on depth registered to colour; each kernel has a projector, and so buffers, of its own."""
    out: Candidates = {}
    camera = given.frames[0].depth_intrinsics
    for mask in MASKS:
        fresh, kept = Vectorised(camera), Vectorised(camera, buffers=True)
        out |= {
            f"kernel, {mask}": given.rotated(BackProjector(edge_ratio=0.0), mask),
            f"kernel + edge filter, {mask}": given.rotated(BackProjector(), mask),
            f"kernel + edge filter + 2 cm voxels, {mask}": given.rotated(BackProjector(voxel_m=VOXEL_M), mask),
            f"numpy dense, {mask}": given.rotated_numpy(fresh.dense, mask),
            f"numpy gather, {mask}": given.rotated_numpy(fresh.gather, mask),
            f"numpy dense in kept buffers, {mask}": given.rotated_numpy(kept.dense, mask),
            f"numpy gather in kept buffers, {mask}": given.rotated_numpy(kept.gather, mask),
            f"numpy naive float64, {mask}": given.rotated_numpy(naive, mask),
            f"numpy + edge filter + np.unique, {mask}": given.rotated_numpy(fresh.voxels, mask, VOXEL_M),
        }
    return out


def two_camera_candidates(given: Input) -> Candidates:
    return {
        f"kernel, two cameras + edge filter{and_voxels}, {mask}": given.rotated(BackProjector(voxel_m=voxel_m), mask)
        for mask in MASKS
        for and_voxels, voxel_m in (("", None), (" + 2 cm voxels", VOXEL_M))
    }


def gpu_candidates(given: Input) -> Candidates:
    """The GPU's twin, copies to and from it included: what a caller waits for. Its wall clock counts, not its CPU."""
    return {
        f"GPU + edge filter{and_voxels}, {mask}": given.rotated(BackProjector(voxel_m=voxel_m, device="cuda"), mask)
        for mask in MASKS
        for and_voxels, voxel_m in (("", None), (" + 2 cm voxels", VOXEL_M))
    }


def keyframe_candidates(given: Input) -> Candidates:
    """Quality, voxels, and the look-up and gains of one frame against 16 kept ones."""
    observe, judge = Observer(), QualityMeter()
    observations = [observe(frame) for frame in given.frames]
    table = KeyframeSelector(k=16).table
    for column in range(table.k):
        table.set_column(column, *table.rows_of(observations[column % len(observations)]))
    loss, net = table.rank(), np.zeros(table.k, np.int64)
    found = [table.rows_of(seen) for seen in observations]
    seen_turn, found_turn = cycle(observations), cycle(found)

    def compare() -> int:
        rows, q = next(found_turn)
        return int(gains(rows, q, table.best, table.second, table.owner, loss, net))

    return {
        "keyframes: picture quality": given.rotated(lambda frame, _: judge(frame), "full"),
        "keyframes: voxels of a frame": given.rotated(lambda frame, _: observe(frame), "full"),
        "keyframes: look-up of its voxels": lambda: table.rows_of(next(seen_turn)),
        "keyframes: gains of 16 swaps": compare,
        "keyframes: rank after an insertion": table.rank,
    }


def max_error_m(given: Input) -> float:
    """The furthest that any kernel's point lies from its float64 twin's, over all frames, masks and edge settings."""
    worst = 0.0
    for edge_ratio in (0.0, 0.02):
        project = BackProjector(edge_ratio=edge_ratio)
        for mask in MASKS:
            for frame, chosen in given.pairs(mask):
                ours = project(frame, chosen)
                points, colors = backproject_reference(frame, chosen, edge_ratio=edge_ratio)
                if len(ours) != len(points) or not np.array_equal(ours.rgb, colors):
                    raise SceneR1Error(
                        f"frame {frame.index}: the kernel keeps {len(ours)} points and its twin {len(points)}, or "
                        "others: the kernels are broken and their times mean nothing; run the tests"
                    )
                worst = max(worst, float(np.abs(ours.xyz - points).max(initial=0.0)))
    return worst


def counts(given: Input) -> dict[str, float]:
    """Points of the average frame, by what is done to them: a time means little without them."""
    out = {}
    for mask in MASKS:
        for name, project in (
            ("valid", BackProjector(edge_ratio=0.0)),
            ("after_edge_filter", BackProjector()),
            ("after_voxels", BackProjector(voxel_m=VOXEL_M)),
        ):
            out[f"{name}, {mask}"] = float(np.mean([len(project(*pair)) for pair in given.pairs(mask)]))
    out["mask_share"] = float(np.mean([m.mean() for m in given.masks]))
    return out


def headline(timed: Interleaved) -> dict[str, Any]:
    """The ratios that have targets, and their neighbours. Against numpy: the fastest way of writing it counts."""

    def ratio(of: str, to: str) -> float:
        return timed.ratio(of, to, "cpu").median

    def fastest(mask: str, where: str = "") -> float:
        return min(ratio(f"numpy {way}{where}, {mask}", f"kernel, {mask}") for way in ("dense", "gather"))

    return {
        "backproject_vs_memcpy": ratio("kernel, full", COPY),
        "backproject_vs_numpy": fastest("full"),
        "fused_vs_memcpy": ratio("kernel + edge filter + 2 cm voxels, full", COPY),
        "edge_vs_memcpy": ratio("kernel + edge filter, full", COPY),
        "backproject_vs_half_memcpy": ratio("kernel, full", HALF_COPY),
        "backproject_vs_numpy_in_kept_buffers": fastest("full", " in kept buffers"),
        "backproject_vs_numpy_naive": ratio("numpy naive float64, full", "kernel, full"),
        "backproject_vs_numpy_13_percent": fastest("13 %"),
        "fused_vs_numpy_unique": ratio(
            "numpy + edge filter + np.unique, full", "kernel + edge filter + 2 cm voxels, full"
        ),
    }


def registered_input(data: Path | None, cache: Path, seed: int, count: int) -> Input:
    """The real recording's frames, or those of a synthetic room. Raises BadInput for depth that is not registered."""
    if data is None:
        with room_views(seed, cache, count, one_camera=True) as room:
            return Input.of(f"synthetic room {seed}", list(room.frames()))
    with open_source(data) as source:
        frames = spread(source.frames(), count, APART)
    if not frames[0].one_camera:
        raise BadInput(f"{data}: depth and colour are two cameras; numpy is compared on registered depth: use another")
    return Input.of(Path(source.info.path).name, frames)


def measure(args: argparse.Namespace) -> int:
    data, cache = real_recording(args), cache_folder(args)
    count = QUICK_FRAMES if args.quick else FRAMES
    rounds = args.rounds or (QUICK_ROUNDS if args.quick else ROUNDS)
    report = Report("kernels", args.out, {"frames": count, "rounds": rounds, "seed": args.seed, "quick": args.quick})
    report.card()
    given = registered_input(data, cache, args.seed, count)
    with room_views(args.seed, cache, count, one_camera=False) as room:
        pair = Input.of(f"synthetic room {args.seed}, two cameras", list(room.frames()))
    candidates = (
        copies(given.frames[0].depth_raw.size)
        | one_camera_candidates(given)
        | two_camera_candidates(pair)
        | keyframe_candidates(given)
    )
    no_gpu = trouble()
    if not no_gpu:
        candidates |= gpu_candidates(given)
    timed = interleaved(candidates, rounds, seed=args.seed)
    ratios = headline(timed) | {"max_error_m": max_error_m(given)}
    height, width = given.frames[0].depth_raw.shape
    report.add("input", {"one_camera": given.name, "two_cameras": pair.name, "width_px": width, "height_px": height})
    for key, value in ratios.items():
        report.add(key, value)
    report.add("points_per_frame", {"one_camera": counts(given), "two_cameras": counts(pair)})
    report.add("timing", timed.as_dict())
    report.add("ratios_to_copy", {name: asdict(timed.ratio(name, COPY, "cpu")) for name in timed.timings})
    if data is None:
        report.not_measured("real_recording", NO_RECORDING)
    if no_gpu:
        report.not_measured("gpu", no_gpu)
    rows = []
    for name, timing in timed.timings.items():
        by_cpu = timing.summary("cpu")
        rows.append((name, by_cpu.cell(50), by_cpu.cell(95), f"{by_cpu.min_ms:.3g} ms", timed.ratio(name, COPY, "cpu")))
    title = f"Thread CPU time, {given.name}, {width}x{height}, {count} frames in turn, {timed.rounds} rounds"
    report.table(title, ("candidate", "p50", "p95", "least", "times the copy"), rows)
    report.table(
        "Ratios (medians over rounds) and error",
        ("what", "measured", "target"),
        [(key, f"{value:.3g}", TARGETS.get(key, "-")) for key, value in ratios.items()],
    )
    report.finish()
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = argument_parser("kernels", "Back-projection and keyframe kernels against a memory copy and numpy.")
    parser.add_argument("--rounds", type=int, metavar="N", help=f"rounds to time (default {ROUNDS})")
    add_cache(parser)
    return run(measure, parser, argv)


if __name__ == "__main__":
    sys.exit(main())

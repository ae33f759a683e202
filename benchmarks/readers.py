"""What reading a ScanNet `.sens` costs without its images being decoded, against plain reads of the same bytes:
`python -m benchmarks.readers`."""

from __future__ import annotations

import argparse
import sys
import tempfile
import tracemalloc
import zlib
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.arguments import NO_RECORDING, argument_parser, real_recording, run
from benchmarks.measure import Clock, Interleaved, interleaved
from benchmarks.recordings import add_cache, cache_folder, room_views
from benchmarks.report import Report
from benchmarks.sens_writer import SensWriter, pack
from scene_r1.frame import RgbdFrame
from scene_r1.sources.scannet.matrix import recorded_pose
from scene_r1.sources.scannet.sens import SensSource
from scene_r1.sources.scannet.sens_file import FRAME, SensFile
from scene_r1_engines.errors import BadInput

COLOR_SIZE = (1296, 968)
VIEWS, QUICK_VIEWS = 12, 2
FRAMES, QUICK_FRAMES = 500, 24
PASS, QUICK_PASS = 32, 8
ROUNDS, QUICK_ROUNDS = 60, 12
SETTLED = 0.2
"""The share of the frames after which memory must not grow any more."""
TARGETS = {"frames_per_cpu_s": ">= 100", "memory_growth_bytes": "< 1 frame"}
READ, PLAIN, INFLATED, DECODED, OPENED = (
    "records: header, pose, depth inflated",
    "the same bytes by file.read",
    "the same bytes by file.read, depth by zlib.decompress",
    "whole frames, JPEG decoded too",
    "opening: the headers of all frames",
)


def written_scan(path: Path, cache: Path, seed: int, views: int, frames: int) -> Path:
    """A scan as ScanNet has them: 1296x968 JPEG, 640x480 deflated depth. So many views of a room, over and over."""
    with room_views(seed, cache, views, one_camera=True) as room:
        given = list(room.frames())
    color = given[0].color_intrinsics.scaled(*COLOR_SIZE)
    depth = given[0].depth_intrinsics
    images = []
    for frame in given:
        large = cv2.resize(frame.color, COLOR_SIZE, interpolation=cv2.INTER_CUBIC)
        images.append(
            pack(
                RgbdFrame(
                    index=frame.index,
                    timestamp_ns=frame.timestamp_ns,
                    color=large.astype(frame.color.dtype, copy=False),
                    color_intrinsics=color,
                    depth_raw=frame.depth_raw,
                    depth_scale=frame.depth_scale,
                    depth_intrinsics=depth,
                )
            )
        )
    with SensWriter(path, color, depth, frames, depth_shift=1.0 / given[0].depth_scale) as writer:
        for index in range(frames):
            T_world_camera = given[index % views].T_world_camera
            if T_world_camera is None:
                raise BadInput(f"view {index % views} of room {seed} has no pose: give another --seed")
            writer.append(T_world_camera, index * 33_333, *images[index % views])
        writer.add_imu(0)
    return path


def read_records(file: SensFile, frames: int) -> int:
    """Everything of a frame but its colour's decoding, on this thread. Returns the bytes of images that were read."""
    read = 0
    for index in range(frames):
        record = file.record(index)
        recorded_pose(record.matrix, file.path, index)
        read += len(record.color) + record.depth_raw.nbytes
    return read


def plain_reads(path: Path, file: SensFile, frames: int, inflate: bool = False) -> int:
    """The floor: the same bytes in the same pieces, by the built-in file. file: tells the sizes, and is not read."""
    read = 0
    with path.open("rb") as plain:
        plain.seek(file.starts[0])
        for _ in range(frames):
            color_bytes, depth_bytes = FRAME.unpack(plain.read(FRAME.size))[18:]
            color, depth = plain.read(color_bytes), plain.read(depth_bytes)
            read += len(color) + len(zlib.decompress(depth) if inflate else depth)
    return read


def decode_frames(source: SensSource, frames: int) -> int:
    """Whole frames, as a user gets them; the decoding is on a thread of its own, so only wall time tells."""
    reader = source.frames()
    return sum(frame.color.nbytes for frame in islice(reader, frames))


def memory_growth(file: SensFile, frames: int) -> dict[str, int]:
    """Traced bytes while records are read and dropped: held after SETTLED of them, at the end, and the most between."""
    settled = round(SETTLED * frames)
    tracemalloc.start()
    try:
        read_records(file, settled)
        begun = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        for index in range(settled, frames):
            file.record(index)
        ended, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return {"frames": frames, "settled_bytes": begun, "growth_bytes": ended - begun, "peak_over_bytes": peak - begun}


def median_ms(timed: Interleaved, name: str, clock: Clock = "wall") -> float:
    timing = timed.timings[name]
    return float(np.median(timing.wall_ms if clock == "wall" else timing.cpu_ms))


def measure(args: argparse.Namespace) -> int:
    data, cache = real_recording(args), cache_folder(args)
    frames = QUICK_FRAMES if args.quick else FRAMES
    each = QUICK_PASS if args.quick else PASS
    rounds = args.rounds or (QUICK_ROUNDS if args.quick else ROUNDS)
    config = {"frames": frames, "frames_a_pass": each, "rounds": rounds, "seed": args.seed, "quick": args.quick}
    report = Report("readers", args.out, config)
    report.card()
    with ExitStack() as stack:
        if data is not None and data.suffix.lower() == ".sens":
            path = data
        else:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="scene-r1-"))
            views = QUICK_VIEWS if args.quick else VIEWS
            path = written_scan(Path(folder) / "room.sens", cache, args.seed, views, frames)
            why = NO_RECORDING if data is None else f"{data.name} is no .sens file"
            report.not_measured("real_recording", why)
        file = stack.enter_context(SensFile(path))
        source = stack.enter_context(SensSource(path))
        each, frames = min(each, file.whole), min(frames, file.whole)
        candidates: dict[str, Callable[[], object]] = {
            READ: lambda: read_records(file, each),
            PLAIN: lambda: plain_reads(path, file, each),
            DECODED: lambda: decode_frames(source, each),
            OPENED: lambda: SensFile(path).close(),
        }
        if file.header.depth_packing == "zlib_ushort":
            candidates[INFLATED] = lambda: plain_reads(path, file, each, inflate=True)
        timed = interleaved(candidates, rounds, seed=args.seed)
        memory = memory_growth(file, frames)
        header = file.header
        size = file.starts[each] - file.starts[0] if each < file.whole else path.stat().st_size - file.starts[0]
        report.add(
            "input",
            {
                "name": path.name,
                "frames": file.whole,
                "color": f"{header.color.width}x{header.color.height} {header.color_packing}",
                "depth": f"{header.depth.width}x{header.depth.height} {header.depth_packing}",
                "bytes_per_frame": size / each,
            },
        )
        passes = {OPENED: file.whole}
    figures: dict[str, Any] = {
        "frames_per_cpu_s": 1e3 * each / median_ms(timed, READ, "cpu"),
        "frames_per_s": 1e3 * each / median_ms(timed, READ),
        "frames_per_s_decoded": 1e3 * each / median_ms(timed, DECODED),
        "times_plain_reads": timed.ratio(READ, PLAIN, "cpu").median,
        "opening_us_per_frame": 1e3 * median_ms(timed, OPENED) / passes[OPENED],
        "memory_growth_bytes": memory["growth_bytes"],
        "memory_peak_over_bytes": memory["peak_over_bytes"],
    }
    if INFLATED in candidates:
        figures["times_plain_reads_and_inflate"] = timed.ratio(READ, INFLATED, "cpu").median
    for key, value in figures.items():
        report.add(key, value)
    report.add("memory", memory)
    report.add("timing", timed.as_dict())
    rows = []
    for name in candidates:
        wall, cpu = timed.timings[name].summary("wall"), timed.timings[name].summary("cpu")
        own: tuple[object, object] = (cpu.cell(50), timed.ratio(name, PLAIN, "cpu"))
        # Its work is on another thread, whose time this clock does not see.
        rows.append((name, passes.get(name, each), wall.cell(50), *(("-", "-") if name == DECODED else own)))
    title = f"A pass of {path.name}, in the page cache, {timed.rounds} rounds"
    report.table(title, ("candidate", "frames", "wall, p50", "thread CPU, p50", "CPU of plain reads"), rows)
    cells = [(key, f"{value:.4g}", TARGETS.get(key, "-")) for key, value in figures.items()]
    report.table("Figures", ("what", "measured", "target"), cells)
    report.finish()
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = argument_parser("readers", "Reading ScanNet's .sens without decoding images, against plain file reads.")
    parser.add_argument("--rounds", type=int, metavar="N", help=f"rounds to time (default {ROUNDS})")
    add_cache(parser)
    return run(measure, parser, argv)


if __name__ == "__main__":
    sys.exit(main())

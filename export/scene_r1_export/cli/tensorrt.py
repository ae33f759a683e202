"""`scene-r1-export tensorrt`: the graphs of a model folder become engines, on the machine that will run them."""

from __future__ import annotations

import argparse
import json
import re
import sys
from dataclasses import asdict
from pathlib import Path

from tqdm import tqdm

from scene_r1.program import OK
from scene_r1_export.tensorrt.build import Built, build_folder
from scene_r1_export.tensorrt.network import BuildOptions

UNITS = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="that `scene-r1-export sam2` has made")
    parser.add_argument(
        "--workspace",
        type=size,
        metavar="SIZE",
        help="working memory that one kernel may ask for, e.g. 2GiB (default: all of the GPU's); less for small boards",
    )
    parser.add_argument(
        "--timing-cache",
        type=Path,
        metavar="DIR",
        help="where measured kernels are kept, a file for each TensorRT and GPU (default: the user's cache)",
    )
    parser.add_argument(
        "--version-compatible", action="store_true", help="later TensorRT runs them too; slower, needs libnvinfer_lean"
    )
    parser.add_argument(
        "--hardware-compatible",
        choices=("ampere_plus", "same_compute_capability"),
        help="other GPUs run them too; slower, and NVIDIA supports ampere_plus on no Jetson",
    )
    parser.add_argument("--again", action="store_true", help="build also what is there and right")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")


def run(args: argparse.Namespace) -> int:
    options = BuildOptions(args.workspace, args.version_compatible, args.hardware_compatible or "exact")
    with tqdm(unit="step", file=sys.stderr, disable=not sys.stderr.isatty()) as bar:

        def told(part: str, done: int, total: int) -> None:
            bar.set_description(part, refresh=False)
            bar.total, bar.n = total, done
            bar.refresh()

        built = build_folder(args.folder, options, args.timing_cache, told, args.again)
    if args.json:
        rows = {one.part: {**asdict(one.sidecar), "kept": one.kept} for one in built}
        print(json.dumps({"folder": str(args.folder), "engines": rows}))
    else:
        for one in built:
            print(_in_words(one))
    return OK


def size(text: str) -> int:
    """Bytes of `2GiB`, `512MiB` or a plain number. Raises argparse.ArgumentTypeError."""
    found = re.fullmatch(r"(\d{1,13})(|KiB|MiB|GiB)", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"must be a size such as 2GiB or 512MiB, got {text[:40]!r}")
    return int(found[1]) * UNITS[found[2]]


def _in_words(one: Built) -> str:
    said = one.sidecar
    how = "was there" if one.kept else "built"
    return (
        f"{one.part:<17} {how}: {said.file}, {said.bytes / 1e6:.1f} MB, TensorRT {said.machine.tensorrt}, "
        f"{said.machine.gpu} ({said.machine.compute_capability})"
    )

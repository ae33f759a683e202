"""What is measured: a checkpoint that was named or made with random weights, and the folders exported from it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from scene_r1.files import whole_file
from scene_r1_engines.errors import BadModelFile
from scene_r1_engines.sam2.manifest import read_sam2_manifest
from scene_r1_export.checkpoint import sha256_of
from scene_r1_export.sam2.config import config_file
from scene_r1_export.sam2.export import Sam2Export, export_sam2

CONFIG = "sam2.1_hiera_t"
RANDOM = "the weights are random: masks say whether both sides compute the same, not whether a thing was found"


@dataclass(frozen=True, slots=True)
class Models:
    """Exports of one checkpoint, made when they are first asked for. folder: where they are. calibrate: the recording
    that int8 is calibrated on. random: the checkpoint was made for this run."""

    checkpoint: Path
    config: str
    random: bool
    folder: Path
    calibrate: Path

    def exported(self, precision: str, input_px: int) -> Path:
        """The model folder of that precision and size. Raises BadModelFile where another checkpoint's lies there."""
        out = self.folder / f"{self.config}-{input_px}-{precision}"
        if not out.exists():
            print(f"exporting {out.name}", file=sys.stderr)
            calibrate = self.calibrate if precision == "int8" else None
            with redirect_stdout(sys.stderr):
                export_sam2(Sam2Export(self.checkpoint, out, self.config, precision, input_px, calibrate))
        if read_sam2_manifest(out).source_sha256 != sha256_of(self.checkpoint):
            raise BadModelFile(out, f"is not of the checkpoint {self.checkpoint.name}: give other --models")
        return out

    def as_dict(self) -> dict[str, object]:
        """For result.json: what was measured."""
        said = {"config": self.config, "sha256": sha256_of(self.checkpoint), "made_for_this_run": self.random}
        return said | ({"note": RANDOM} if self.random else {})


def add_models(parser: argparse.ArgumentParser) -> None:
    """The arguments --checkpoint, --config and --models."""
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help="of SAM2 (default: one with random weights)")
    parser.add_argument("--config", default=CONFIG, metavar="NAME", help="which model it is (default %(default)s)")
    parser.add_argument(
        "--models", type=Path, metavar="DIR", help="keep exports there and use those that are there (default: neither)"
    )


@contextmanager
def tried_models(args: argparse.Namespace, recording: Path) -> Iterator[Models]:
    """The models of a run; without --models they are deleted afterwards. Raises BadConfig, BadModelFile."""
    config_file(args.config)
    with TemporaryDirectory(prefix="scene-r1-") as temporary:
        folder = Path(args.models or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        checkpoint = args.checkpoint or _random(folder, args.config, args.seed)
        if not checkpoint.is_file():
            raise BadModelFile(checkpoint, "is no file: correct --checkpoint")
        yield Models(checkpoint, args.config, args.checkpoint is None, folder, recording)


def _random(folder: Path, config: str, seed: int) -> Path:
    path = folder / f"random-{config}-{seed}.pt"
    if not path.exists():
        from scene_r1_export.fixtures.sam2 import write_sam2  # it brings torch

        print(f"making {path.name}", file=sys.stderr)
        with whole_file(path) as temporary:
            write_sam2(temporary, config, seed)
    return path

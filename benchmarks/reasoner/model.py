"""The model that the reasoner's benchmarks run on: one that was named, or one made with random weights."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.environment import REPOSITORY
from benchmarks.reasoner.random_model import write_random_model
from benchmarks.reasoner.random_shapes import SHAPES
from scene_r1_engines.errors import BadInput
from scene_r1_engines.manifest import Manifest, read_manifest

NONSENSE = "the weights are random: what the model says is nonsense, what is measured is the path"


@dataclass(frozen=True, slots=True)
class Tried:
    """The model of a run. folder: with its manifest. random: it was made for this run; whether the weights of one that
    was named were ever trained is not known here."""

    folder: Path
    manifest: Manifest
    random: bool

    def as_dict(self) -> dict[str, object]:
        """For result.json: which files were measured."""
        files = {
            part: {"file": file.file, "sha256": file.sha256, "bytes": file.bytes, "quantization": file.quantization}
            for part, file in (("text", self.manifest.text), ("mmproj", self.manifest.mmproj))
        }
        said = {"name": self.manifest.name, "family": self.manifest.family, "made_for_this_run": self.random, **files}
        return said | ({"note": NONSENSE} if self.random else {})


def add_model(parser: argparse.ArgumentParser) -> None:
    """The argument --model."""
    parser.add_argument(
        "--model",
        type=Path,
        metavar="DIR",
        help="a model folder of scene-r1-export (default: a tiny one with random weights is made and exported)",
    )


@contextmanager
def tried_model(named: Path | None, real_size: str | None = None, seed: int = 0) -> Iterator[Tried]:
    """The model that was named, or one made in a temporary folder and deleted afterwards.

    real_size: one of SHAPES. Raises BadModelFile, and BadInput where the tiny one cannot be made.
    """
    if named is not None:
        manifest = read_manifest(named)
        yield Tried(named, manifest, random=False)
        return
    with tempfile.TemporaryDirectory(prefix="scene-r1-") as temporary:
        out = Path(temporary) / "model"
        if real_size is not None:
            manifest = write_random_model(out, SHAPES[real_size], f"random Qwen2.5-VL {real_size}", seed)
        else:
            checkpoint = Path(temporary) / "tiny"
            _python("scene_r1_export.fixtures", "qwen2_5_vl", str(checkpoint), "--seed", str(seed))
            _python("scene_r1_export.cli", "vlm", str(checkpoint), "--out", str(out))
            manifest = read_manifest(out)
        yield Tried(out, manifest, random=True)


def _python(module: str, *arguments: str) -> None:
    """Run a module of the export in a process of its own: torch would stand in the memory that is measured."""
    rooms = [str(REPOSITORY / room) for room in ("runtime", "engines", "export")]
    path = os.pathsep.join([*rooms, os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = " / ".join(line for line in done.stderr.splitlines()[-3:] if line.strip())
        raise BadInput(f"{module} could not make the tiny model ({last[:400]}): give --model DIR")

"""Are a folder's graphs what NVIDIA's parser and builder take? Asked without a GPU, each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from scene_r1_engines.sam2.folder import vouch_sam2
from scene_r1_export.tensorrt.rtx import check_installed

MOST_SECONDS: Final = 1800.0
"""A graph takes seconds to a minute; one that takes so long hangs."""
MOST_MESSAGES: Final = 16
SAID_BYTES: Final = 4096
CHILD: Final = "scene_r1_export.tensorrt.check_process"


@dataclass(frozen=True, slots=True)
class GraphChecked:
    """What became of one graph. plan_bytes: of the built plan, which holds the weights; 0 where it was not built.
    parse_s, build_s: wall-clock seconds. layers: of the network. messages: errors first, then warnings, of NVIDIA's."""

    part: str
    precision: str
    parsed: bool
    built: bool
    plan_bytes: int = 0
    parse_s: float = 0.0
    build_s: float = 0.0
    layers: int = 0
    messages: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return self.parsed and self.built


@dataclass(frozen=True, slots=True)
class Report:
    """All graphs of a folder. tensorrt_rtx: the version that was asked; "" where no process lived to tell."""

    folder: str
    tensorrt_rtx: str
    graphs: tuple[GraphChecked, ...]

    @property
    def ok(self) -> bool:
        return all(one.ok for one in self.graphs)

    def to_json(self) -> dict[str, Any]:
        rows = {one.part: {key: value for key, value in asdict(one).items() if key != "part"} for one in self.graphs}
        return {"folder": self.folder, "tensorrt_rtx": self.tensorrt_rtx, "ok": self.ok, "graphs": rows}


def check_folder(
    folder: str | os.PathLike[str], begun: Callable[[str], None] | None = None, most_s: float = MOST_SECONDS
) -> Report:
    """Parse and build each graph of a SAM2 folder.

    begun: called with each part's name. most_s: for one graph, after which it is given up. A graph that kills its
    process is one that was refused. Raises BadModelFile for a folder that is not vouched for, MissingExtra.
    """
    check_installed()
    found = vouch_sam2(folder)
    versions, rows = set(), []
    for part, path in found.paths.items():
        if begun is not None:
            begun(part)
        said = _in_child(Path(os.path.realpath(folder)), part, path, most_s)
        versions.add(str(said.pop("version", "")))
        rows.append(_row(part, found.manifest.graphs[part].precision, said))
    return Report(os.fspath(folder), max(versions, default=""), tuple(rows))


def _row(part: str, precision: str, said: dict[str, Any]) -> GraphChecked:
    messages = tuple(str(one)[:600] for one in said.pop("messages", ()))[:MOST_MESSAGES]
    return GraphChecked(part, precision, messages=messages, **{"parsed": False, "built": False, **said})


def _in_child(folder: Path, part: str, path: Path, most_s: float) -> dict[str, Any]:
    """What the child says of a graph: the fields of GraphChecked, and `version`."""
    with tempfile.TemporaryFile() as heard:
        child = subprocess.Popen(
            [sys.executable, "-m", CHILD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=heard,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(one for one in sys.path if one)},
        )
        try:
            job = json.dumps({"folder": str(folder), "part": part, "path": str(path)}).encode()
            answer, _ = child.communicate(job, timeout=most_s)
        except subprocess.TimeoutExpired:
            return {"messages": [f"given up after {most_s:.0f} s"]}
        finally:
            if child.poll() is None:
                child.kill()
                child.communicate()
        try:
            said = json.loads(answer.splitlines()[-1])
        except (ValueError, IndexError):
            heard.seek(max(0, heard.tell() - SAID_BYTES))
            words = " | ".join(heard.read().decode("utf-8", "replace").split("\n"))[-500:].strip(" |")
            code = child.returncode
            how = f"signal {-code} killed" if code < 0 else f"exit code {code} ended"
            return {"messages": [f"{how} its process: {words or 'it said nothing'}"]}
    return said if isinstance(said, dict) else {"messages": ["its process answered something else"]}

"""One graph given to TensorRT-RTX, in a process of its own: native code that dies takes nothing with it.

Reads a job from stdin, one JSON object (folder, part, path), and writes what became of it to stdout, another.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from scene_r1_engines.errors import BadModelFile, SceneR1Error
from scene_r1_engines.sam2.extents import extents_of, profile_of
from scene_r1_engines.sam2.manifest import read_sam2_manifest
from scene_r1_engines.tensorrt_module.library import make_log
from scene_r1_export.tensorrt.network import BuildOptions, build, configure, make_builder, parse
from scene_r1_export.tensorrt.rtx import load_rtx


def checked(folder: Path, part: str, path: Path) -> dict[str, Any]:
    """What becomes of a graph: the fields of `GraphChecked` but its part. Raises EngineFailed where RTX is broken."""
    manifest, trt = read_sam2_manifest(folder), load_rtx()
    graph, log = manifest.graphs[part], make_log(trt)
    said: dict[str, Any] = {"version": str(trt.__version__), "parsed": False, "built": False}
    errors: list[str] = []
    builder = make_builder(trt, log)
    try:
        begun = time.perf_counter()
        network, parser = parse(trt, log, builder, path.read_bytes(), graph, path)
        said |= {"parsed": True, "parse_s": time.perf_counter() - begun, "layers": int(network.num_layers)}
        begun = time.perf_counter()
        profile = profile_of(graph.takes, extents_of(manifest, part))
        config, _ = configure(trt, log, builder, profile, BuildOptions())
        plan = build(log, builder, network, config, path)
        said |= {"built": True, "build_s": time.perf_counter() - begun, "plan_bytes": len(plan)}
        del config, network, parser
    except BadModelFile as error:
        errors = [error.reason]
    except SceneR1Error as error:
        errors = [str(error)]
    return {**said, "messages": errors + list(log.warnings)}


def main() -> int:
    job = json.load(sys.stdin)
    answers = os.dup(1)
    os.dup2(2, 1)  # native code that prints must not end up in the answer
    said = checked(Path(job["folder"]), job["part"], Path(job["path"]))
    with os.fdopen(answers, "w", encoding="utf-8") as out:
        out.write(json.dumps(said) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

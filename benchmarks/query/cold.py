"""From nothing to the first answer: a fresh process that is started, imports, loads, watches and is asked."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from scene_r1_engines.errors import EngineFailed

BEGUN_NS = time.monotonic_ns()
"""When this module was run; the interpreter had started, and what `python -m` imports on its way was there."""
PARTS = ("start_ms", "import_ms", "open_ms", "watch_ms", "first_answer_ms")


def cold_start(model: Path, data: Path | None, options: dict[str, Any]) -> dict[str, Any]:
    """The parts of a cold start in a process of its own, and their sum. Raises EngineFailed when it breaks.

    start_ms: of interpreter and parser. open_ms: worker process, checksums of the files and loading them. The page
    cache is warm after the first time, and so are numba's kernels: neither is emptied here.
    """
    said = json.dumps({"model": str(model), "data": None if data is None else str(data), **options})
    spawned_ns = time.monotonic_ns()
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.query.cold", said, str(spawned_ns)],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise EngineFailed(f"the fresh process failed: {' / '.join(done.stderr.splitlines()[-3:])[:600]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.query.cold", description=__doc__)
    parser.add_argument("options", help="as cold_start says them, JSON")
    parser.add_argument("spawned_ns", type=int, help="time.monotonic_ns() of whoever started this process")
    args = parser.parse_args()
    options = json.loads(args.options)
    marks = [args.spawned_ns, BEGUN_NS]
    from benchmarks.query.path import ask, config_of, questions, recording, watched  # timed: it brings everything
    from scene_r1.grounder import open_grounder

    marks.append(time.monotonic_ns())
    config = config_of(options["think"], options["threads"], options["gpu_layers"])
    data = None if options["data"] is None else Path(options["data"])
    with open_grounder(config, options["model"]) as grounder:
        marks.append(time.monotonic_ns())
        with recording(data, options["seed"], Path(options["cache"]), options["room_frames"]) as source:
            watched(grounder, source, options["frames"])
        marks.append(time.monotonic_ns())
        answer = ask(grounder, questions(1, options["seed"])[0])
        marks.append(time.monotonic_ns())
    spent = {name: (b - a) / 1e6 for name, a, b in zip(PARTS, marks, marks[1:], strict=False)}
    found = {**spent, "total_ms": (marks[-1] - marks[0]) / 1e6, "status": answer.status}
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())

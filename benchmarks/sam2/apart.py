"""What the tracker takes of memory, in a process of its own into which torch never comes."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.environment import REPOSITORY
from benchmarks.memory import flatness, rss_now_bytes, rss_peak_bytes
from benchmarks.sam2.film import Film, read_film
from benchmarks.sam2.ours import opened, tracked
from scene_r1_engines.errors import EngineFailed
from scene_r1_engines.sam2.engine import Sam2
from scene_r1_engines.view import Prompt, View

FEATURE_MB = 256.0
"""As the engine has it by itself."""
SOAK_FEATURE_MB = 8.0
"""Little, so that features come and go from early in the stream on."""


def apart(what: str, **options: Any) -> dict[str, Any]:
    """Run one of WORK in a fresh process and return what it found. Raises EngineFailed when it breaks."""
    said = json.dumps({name: str(one) if isinstance(one, Path) else one for name, one in options.items()})
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.sam2.apart", what, said],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=None if sys.stderr.isatty() else subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        why = " / ".join((done.stderr or "").splitlines()[-3:])[:600]
        raise EngineFailed(f"the process that measures memory failed: {why}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def one_video(folder: str, film: str, threads: int, questions: int) -> dict[str, Any]:
    """The film once, then several questions about its views.

    peak_rss_bytes: the most that was ever resident, with loading. bytes_per_*: of the host's memory, for each frame of
    an object. feature_misses: pictures that were encoded for all the questions together.
    """
    shown = read_film(Path(film))
    before = rss_now_bytes()
    with opened(Path(folder), threads, FEATURE_MB) as engine:
        loaded = rss_now_bytes()
        for _ in tracked(engine, shown):
            pass
        peak = rss_peak_bytes()
        video = engine.video()
        video.prompt(0, shown.views[0], 0, Prompt(xyxy=shown.box))
        one = video.track(0, shown.views[0])[0]
        slot = _slot(video.banks[0].nbytes, one.low.nbytes)
        engine.features.clear()
        hits, misses = engine.features.hits, engine.features.misses
        seconds = [_asked(engine, shown, question) for question in range(questions)]
        hits, misses = engine.features.hits - hits, engine.features.misses - misses
        return {
            "rss_before_bytes": before,
            "rss_loaded_bytes": loaded,
            "peak_rss_bytes": peak,
            **slot,
            "feature_bytes_per_view": engine.features.nbytes // len(engine.features),
            "questions": questions,
            "views": len(shown.views),
            "feature_hits": hits,
            "feature_misses": misses,
            "question_s": seconds,
        }


def _slot(bank_bytes: int, low_bytes: int) -> dict[str, int]:
    """Of a bank that remembers one prompted frame: its mask is kept too, for corrections."""
    return {"bytes_per_remembered_frame": bank_bytes, "bytes_per_memory_slot": bank_bytes - low_bytes}


def _asked(engine: Sam2, film: Film, question: int) -> float:
    """A question about another thing in the same views, as the runtime asks: a box in one view, masks in all."""
    x0, y0, x1, y1 = film.box
    width = (x1 - x0) / (2 + question)
    start = time.perf_counter()
    for _ in engine.track(film.views, {0: Prompt(xyxy=(x0, y0, x0 + width, y1))}):
        pass
    return time.perf_counter() - start


def soak(folder: str, film: str, threads: int, frames: int) -> dict[str, Any]:
    """Resident memory over a stream that begins anew and anew under new ids, so that every picture is encoded."""
    shown = read_film(Path(film))
    series: list[tuple[float, float]] = []
    with opened(Path(folder), threads, SOAK_FEATURE_MB) as engine:
        stream = engine.track(_endless(shown, frames), {0: Prompt(xyxy=shown.box)})
        for _ in tqdm(stream, total=frames, desc="soak", unit="frame", disable=None, leave=False):
            series.append((time.monotonic(), float(rss_now_bytes())))
        misses, held = engine.features.misses, len(engine.features)
    flat = flatness(series)
    last = np.array([rss for _, rss in series[len(series) // 3 :]])
    return {
        "frames": len(series),
        "encodes": misses,
        "pictures_held": held,
        "rss_growth_percent": 100.0 * flat.growth,
        "rss_spread_bytes": float(np.ptp(last)),
        "rss_spread_percent": 100.0 * float(np.ptp(last) / np.median(last)),
        "rss_median_bytes": float(np.median(last)),
        "flatness": asdict(flat),
        "wall_s_per_frame": (series[-1][0] - series[0][0]) / (len(series) - 1),
    }


def _endless(film: Film, frames: int) -> Iterator[View]:
    for number in range(frames):
        yield replace(film.views[number % len(film.views)], id=number)


WORK: dict[str, Callable[..., dict[str, Any]]] = {"video": one_video, "soak": soak}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sam2.apart", description=__doc__)
    parser.add_argument("what", choices=sorted(WORK))
    parser.add_argument("options", help="as `apart` says them, JSON")
    args = parser.parse_args()
    found = WORK[args.what](**json.loads(args.options))
    if "torch" in sys.modules:
        raise EngineFailed("torch was imported by the runtime: what was measured is not what a device would need")
    print(json.dumps(found | {"torch_imported": False}))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Memory of a whole process tree, sampled ten times a second beside the work."""

from __future__ import annotations

import csv
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import numpy as np

from benchmarks.process_tree import Usage, high_water_bytes, process_tree, rss_bytes, usage
from scene_r1.machine import available_memory_bytes
from scene_r1_engines.errors import BadInput

MAX_SAMPLES = 864_000
"""One day at 10 Hz; later samples go to the CSV only, and `samples_not_held` counts them."""


@dataclass(frozen=True, slots=True)
class MemorySample:
    """One moment. time_s: since the sampler began. None: not readable, for the reason in the summary.

    rss_bytes counts a page shared by two processes twice; pss_bytes splits it between them; uss_bytes leaves it out.
    gpu_bytes is by the sampler's `gpu` source, never added to the others: on unified memory it is the same memory.
    """

    time_s: float
    processes: int
    rss_bytes: int
    pss_bytes: int | None
    uss_bytes: int | None
    high_water_bytes: int
    available_bytes: int | None
    gpu_bytes: int | None


@dataclass(frozen=True, slots=True)
class Flatness:
    """Whether memory stays flat once warm: the first third of the samples is warm-up and counts for nothing.

    spread_middle_third, spread_last_third: (max - min) / median within the third. growth: median of the last third over
    that of the middle third, minus 1. slope_mb_per_h: of the line fitted to both thirds, in 1e6 bytes an hour.
    """

    spread_middle_third: float
    spread_last_third: float
    growth: float
    slope_mb_per_h: float


class MemorySampler:
    """Samples the memory of this process and its children on a thread of its own.

        with MemorySampler("telemetry.csv") as memory:
            work()
        print(memory.summary()["rss_peak_bytes"])

    csv_path: each sample is appended and flushed at once, so that what was seen survives a kill. gpu: the name of a
    source of GPU memory (such as "nvml_process") and a function that reads it in bytes.
    """

    def __init__(
        self,
        csv_path: str | os.PathLike[str] | None = None,
        *,
        rate_hz: float = 10.0,
        pid: int | None = None,
        gpu: tuple[str, Callable[[], int]] | None = None,
    ) -> None:
        if not 0.1 <= rate_hz <= 100.0:
            raise BadInput(f"rate_hz must lie in 0.1..100, got {rate_hz!r}")
        self.samples: list[MemorySample] = []
        self._csv_path = None if csv_path is None else Path(csv_path)
        self._period_s = 1.0 / rate_hz
        self._pid = os.getpid() if pid is None else pid
        self._gpu = gpu
        self._reason = ""
        self._fault: Exception | None = None
        self._cpu_ns = 0
        self._not_held = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> MemorySampler:
        if self._thread is not None:
            raise BadInput("this sampler has run already: make another one")
        csv_file: TextIO | None = None
        if self._csv_path is not None:
            self._csv_path.parent.mkdir(parents=True, exist_ok=True)
            csv_file = self._csv_path.open("w", newline="", encoding="utf-8")
        self._thread = threading.Thread(target=self._run, args=(csv_file,), name="memory-sampler", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        if self._fault is not None and error is None:
            raise self._fault

    def series(self, what: str = "rss_bytes") -> list[tuple[float, float]]:
        """(time_s, bytes) of one column of the samples, without those that were not readable; for `flatness`."""
        return [(s.time_s, float(getattr(s, what))) for s in self.samples if getattr(s, what) is not None]

    def summary(self) -> dict[str, Any]:
        """Peaks for result.json. CPU and GPU peaks stand apart; a figure that nobody could read is None."""
        steps = np.diff([s.time_s for s in self.samples])
        return {
            "samples": len(self.samples),
            "samples_not_held": self._not_held,
            "period_s": self._period_s,
            "period_max_s": float(steps.max()) if len(steps) else None,
            "sampler_cpu_s": self._cpu_ns / 1e9,
            "processes_max": self._most("processes"),
            "rss_peak_bytes": self._most("rss_bytes"),
            "pss_peak_bytes": self._most("pss_bytes"),
            "uss_peak_bytes": self._most("uss_bytes"),
            "pss_uss_missing_because": self._reason or None,
            "vmhwm_peak_bytes": self._most("high_water_bytes"),
            "mem_available_min_bytes": min((int(b) for _, b in self.series("available_bytes")), default=None),
            "gpu_peak_bytes": self._most("gpu_bytes"),
            "gpu_source": self._gpu[0] if self._gpu else "none",
        }

    def _most(self, what: str) -> int | None:
        return max((int(b) for _, b in self.series(what)), default=None)

    def _run(self, csv_file: TextIO | None) -> None:
        begun_s = time.monotonic()
        writer = None if csv_file is None else csv.writer(csv_file)
        try:
            if writer is not None and csv_file is not None:
                writer.writerow([f.name for f in fields(MemorySample)])
            while True:
                sample = self._take(begun_s)
                if sample is not None:
                    self._hold(sample)
                    if writer is not None and csv_file is not None:
                        writer.writerow([getattr(sample, f.name) for f in fields(MemorySample)])
                        csv_file.flush()
                self._cpu_ns = time.thread_time_ns()
                # To the next tick; ticks missed under load are left out, not made up for in a burst.
                if self._stop.wait(self._period_s - (time.monotonic() - begun_s) % self._period_s):
                    return
        except Exception as error:  # noqa: BLE001 - raised again in the caller's thread, by __exit__
            self._fault = error
        finally:
            if csv_file is not None:
                csv_file.close()

    def _hold(self, sample: MemorySample) -> None:
        if len(self.samples) < MAX_SAMPLES:
            self.samples.append(sample)
        else:
            self._not_held += 1

    def _take(self, begun_s: float) -> MemorySample | None:
        used = [u for u in map(usage, process_tree(self._pid)) if u is not None]
        if not used:
            return None  # the watched process has ended
        self._reason = next((u.reason for u in used if u.reason), self._reason)
        return MemorySample(
            time_s=time.monotonic() - begun_s,
            processes=len(used),
            rss_bytes=sum(u.rss_bytes for u in used),
            pss_bytes=_sum(used, "pss_bytes"),
            uss_bytes=_sum(used, "uss_bytes"),
            high_water_bytes=max(u.high_water_bytes for u in used),
            available_bytes=available_memory_bytes(),
            gpu_bytes=self._gpu[1]() if self._gpu else None,
        )


def rss_now_bytes() -> int:
    """Resident memory of this process alone, now."""
    return rss_bytes(os.getpid())


def rss_peak_bytes() -> int:
    """VmHWM of this process: the most that was ever resident since it began, sampled or not."""
    return high_water_bytes(os.getpid())


def flatness(samples: Sequence[tuple[float, float]]) -> Flatness:
    """Flatness of a series of (time_s, bytes) in order of time. Raises BadInput for fewer than nine."""
    series = np.asarray(samples, dtype=np.float64)
    n = len(series)
    if n < 9 or series.shape != (n, 2) or not np.all(np.diff(series[:, 0]) > 0.0) or not np.all(series[:, 1] > 0.0):
        raise BadInput(f"flatness needs nine or more (time_s, bytes) with growing times and positive bytes, got {n}")
    middle, last = series[n // 3 : 2 * n // 3, 1], series[2 * n // 3 :, 1]
    time_h = (series[n // 3 :, 0] - series[n // 3 :, 0].mean()) / 3600.0
    slope = float(time_h @ series[n // 3 :, 1] / (time_h @ time_h))
    return Flatness(
        spread_middle_third=float(np.ptp(middle) / np.median(middle)),
        spread_last_third=float(np.ptp(last) / np.median(last)),
        growth=float(np.median(last) / np.median(middle) - 1.0),
        slope_mb_per_h=slope / 1e6,
    )


def _sum(used: Sequence[Usage], what: str) -> int | None:
    values = [getattr(u, what) for u in used]
    return None if any(v is None for v in values) else sum(values)

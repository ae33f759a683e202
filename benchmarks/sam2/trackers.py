"""Who tracks through the film: the original, and ours by precision, by memory slots and by size."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from benchmarks.sam2.film import Film
from benchmarks.sam2.models import Models
from benchmarks.sam2.original import Original
from benchmarks.sam2.ours import opened, tracked
from benchmarks.sam2.plan import Plan
from benchmarks.sam2.video import Tracked, side_by_side

REFERENCE = "original"
Raced = dict[str, tuple[Tracked, Tracked]]
"""By name: what it found and took, and the original at full setting in the same race."""


def raced(
    models: Models, original: Original, folders: Mapping[tuple[str, int], Path], film: Film, plan: Plan, threads: int,
    seed: int,
) -> Raced:  # fmt: skip
    """Two races, so that never more than four models of full size are held: by precision and slots, then by size."""
    found = _by_setting(original, folders, film, plan, threads, seed)
    if plan.sizes:
        found |= _by_size(models, original, folders, film, plan, threads, seed)
    return found


def _by_setting(
    original: Original, folders: Mapping[tuple[str, int], Path], film: Film, plan: Plan, threads: int, seed: int
) -> Raced:
    print(f"tracking by precision and slots at {plan.input_px} px", file=sys.stderr)
    with ExitStack() as stack:
        engines = {
            one: stack.enter_context(opened(folders[one, plan.input_px], threads, 0.0)) for one in plan.precisions
        }  # without room for features: each candidate has to encode for itself
        candidates = {REFERENCE: original.track(film)}
        candidates |= {one: tracked(engine, film) for one, engine in engines.items()}
        candidates |= {f"fp32, slots {slots}": tracked(engines["fp32"], film, slots) for slots in plan.slots}
        found = side_by_side(candidates, seed)
    return {name: (one, found[REFERENCE]) for name, one in found.items()}


def _by_size(
    models: Models, original: Original, folders: Mapping[tuple[str, int], Path], film: Film, plan: Plan, threads: int,
    seed: int,
) -> Raced:  # fmt: skip
    print(f"tracking at {', '.join(map(str, plan.sizes))} px", file=sys.stderr)
    with ExitStack() as stack:
        candidates = {REFERENCE: original.track(film)}
        for size in plan.sizes:
            smaller = Original(models.checkpoint, models.config, size, threads)
            engine = stack.enter_context(opened(folders["fp32", size], threads, 0.0))
            candidates |= {f"{REFERENCE}, {size} px": smaller.track(film), f"fp32, {size} px": tracked(engine, film)}
        found = side_by_side(candidates, seed)
    return {name: (one, found[REFERENCE]) for name, one in found.items() if name != REFERENCE}

"""Comparing an exported model with the checkpoint it was made from."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from scene_r1_engines.llama.reasoner import to_original
from scene_r1_export.verify.cases import Case, built_in_cases, cases_from
from scene_r1_export.verify.exported import Exported, Run
from scene_r1_export.verify.reference import Reference
from scene_r1_export.verify.report import CaseReport, Report

GREEDY = 8
BOXES = ((0.0, 0.0, 1.0, 1.0), (0.1, 0.2, 0.55, 0.9), (0.7, 0.05, 0.95, 0.3))
"""Shares of a picture's width and height."""


def verify(
    folder: str | os.PathLike[str],
    checkpoint: str | os.PathLike[str] | None = None,
    pictures: Sequence[Path] = (),
    adapter: str | None = None,
    advance: Callable[[], None] = lambda: None,
) -> Report:
    """Compare on the given pictures, or on built-in ones. checkpoint: what it was made from; None: only that the files
    are what the manifest says, load, and answer alike streamed and at once. adapter: a LoRA that was merged at export.

    advance is called after each case. Raises BadModelFile, BadInput, MissingExtra.
    """
    with Exported(folder) as exported:
        manifest = exported.manifest
        cases = cases_from(pictures) if pictures else built_in_cases(manifest.family == "qwen2_5_vl")
        reference = None if checkpoint is None else Reference(checkpoint, manifest, adapter)
        reports: list[CaseReport] = []
        streamed: float | None = None
        for case in cases:
            run = exported.run(case, GREEDY)
            if case.seconds:
                again = exported.streamed(case, GREEDY)
                streamed = float(np.maximum(streamed or 0.0, np.abs(again.logits - run.logits).max()))  # keeps a NaN
            if reference is not None:
                reports.append(_compared(case, run, reference, manifest.image.box_space))
            advance()
    return Report(
        manifest.name,
        manifest.text.quantization,
        manifest.mmproj.quantization,
        reference is not None,
        tuple(reports),
        streamed,
    )


def _compared(case: Case, run: Run, reference: Reference, box_space: str) -> CaseReport:
    ids, _, sizes = reference.prompt(case)
    logits = reference.logits(case, run.greedy)
    width = min(logits.shape[1], run.logits.shape[1])  # either side may pad its vocabulary
    likeliest = logits[:-1].argmax(axis=1)
    different = np.flatnonzero(likeliest != np.array(run.greedy))
    return CaseReport(
        name=case.name,
        video=case.video,
        max_logit_diff=float(np.abs(logits[:, :width] - run.logits[:, :width]).max()),
        same_tokens=reference.tokens(ids.tolist()) == run.tokens,
        first_difference=int(different[0]) if len(different) else None,
        max_box_error_px=max(
            (
                _box_error((picture.shape[0], picture.shape[1]), ours, theirs, box_space)
                for picture, ours, theirs in zip(case.pictures, run.sizes, sizes, strict=True)
            ),
            default=0.0,
        ),
    )


def _box_error(original: tuple[int, int], ours: tuple[int, int], theirs: tuple[int, int], box_space: str) -> float:
    """Pixels of the original that a box goes astray which the checkpoint would mean in *its* resized picture, and the
    runtime reads in its own. Sizes are (height, width)."""
    worst = 0.0
    if box_space == "rel_1000":
        ours = theirs = (1000, 1000)
    for share in BOXES:
        true = [share[i] * original[1 - i % 2] for i in range(4)]
        meant = tuple(share[i] * theirs[1 - i % 2] for i in range(4))
        read = to_original(meant, ours, original)  # type: ignore[arg-type]
        worst = max(worst, float(np.abs(np.array(read) - true).max()))
    return worst

"""A page of pictures: what each answer rests on, its 3D box against the true one."""

from __future__ import annotations

from html import escape
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.grounding.run import Shown
from benchmarks.grounding.scored import Scored, rests_on, true_box
from scene_r1.drawing import Exhibit, evidence_sheet, write_png
from scene_r1.files import write_text

WIDTH_PX = 560
ON_SHEET = 3
"""Good and bad cases on the sheet, each."""
STYLE = (
    "body{background:#181a1f;color:#eceef2;font:15px/1.45 sans-serif;margin:2em}"
    "main{display:grid;grid-template-columns:repeat(auto-fill,minmax(420px,1fr));gap:1.4em}"
    "figure{margin:0;background:#22252c;padding:.7em}img{width:100%}figcaption b{color:#f0e442}"
    ".good{border-top:4px solid #46d696}.bad{border-top:4px solid #ff7038}"
)


class Page:
    """Pictures of answers, written as they come; `finish` writes page and sheet. At most `most` of them.

    folder: gets index.html, the pictures beside it, and sheet.png with the best and the worst that were seen.
    """

    def __init__(self, folder: Path, most: int) -> None:
        self._folder, self._most = folder, most
        self._entries: list[str] = []
        self._best: list[tuple[float, int, Exhibit]] = []
        self._worst: list[tuple[float, int, Exhibit]] = []

    def add(self, shown: Shown) -> None:
        """One find question. Nothing happens where no frame shows it, or when the page is full."""
        if shown.frame is None or shown.question.task != "find" or len(self._entries) >= self._most:
            return
        exhibit = _exhibit(shown)
        name = f"{len(self._entries):04d}.jpg"
        self._folder.mkdir(parents=True, exist_ok=True)
        done, data = cv2.imencode(".jpg", _bgr(exhibit.drawn(WIDTH_PX)), [cv2.IMWRITE_JPEG_QUALITY, 85])
        assert done
        (self._folder / name).write_bytes(data.tobytes())
        self._entries.append(_figure(name, shown.scored))
        if shown.scored.iou_3d is not None:
            case = (shown.scored.iou_3d, len(self._entries), exhibit)
            self._best = sorted([*self._best, case], key=lambda one: (-one[0], one[1]))[:ON_SHEET]
            self._worst = sorted([*self._worst, case], key=lambda one: one[:2])[:ON_SHEET]

    def finish(self, title: str) -> Path | None:
        """Write the page; its path, or None where no picture was added."""
        if not self._entries:
            return None
        head = f"<!doctype html><meta charset=utf-8><title>{escape(title)}</title><style>{STYLE}</style>"
        body = f"<h1>{escape(title)}</h1><p>Orange: the answer. Green: the truth. Yellow: the 2D box it rests on.</p>"
        page = self._folder / "index.html"
        write_text(page, f"{head}{body}<main>{''.join(self._entries)}</main>\n")
        cases = [*self._best, *(one for one in self._worst if one[1] not in {other[1] for other in self._best})]
        if cases:
            write_png(
                self._folder / "sheet.png", evidence_sheet([exhibit for *_, exhibit in cases], min(3, len(cases)))
            )
        return page


def _exhibit(shown: Shown) -> Exhibit:
    assert shown.frame is not None
    row, pointed = shown.scored, rests_on(shown.answer)
    at_frame = pointed is not None and pointed.frame == shown.frame.index
    first = next((one for one in shown.answer.evidence if one.frame == shown.frame.index), None)
    said = "not there" if not row.there else f"IoU {row.iou_3d:.2f}"
    return Exhibit(
        shown.frame,
        pointed.xyxy if pointed is not None and at_frame else None,
        None if first is None else first.mask,
        shown.answer.box_3d,
        f"{row.text}  {row.status}, {said}",
        true_box(shown.question),
    )


def _figure(name: str, row: Scored) -> str:
    right = row.iou_3d >= 0.5 if row.iou_3d is not None else row.status == "not_found"
    facts = [row.status]
    if row.there:
        facts.append(f"3D IoU {_box(row)}, 2D IoU {row.box_iou or 0.0:.2f}, temporal IoU {row.temporal_iou or 0.0:.2f}")
    if row.window_s is not None:
        facts.append(f"window {row.window_s[0]:.1f} s to {row.window_s[1]:.1f} s")
    if row.reason:
        facts.append(row.reason)
    said = f"<br><i>{escape(row.rationale)}</i>" if row.rationale else ""
    head = f"<b>{escape(row.text)}</b> {escape(row.family)}, {escape(row.form)}, {escape(row.id)}"
    return (
        f'<figure class="{"good" if right else "bad"}"><img src="{name}" loading=lazy alt="">'
        f"<figcaption>{head}<br>{escape('; '.join(facts))}{said}</figcaption></figure>"
    )


def _box(row: Scored) -> str:
    if row.box_3d is None:
        return "none"
    return f"{row.iou_3d:.2f} ({' x '.join(f'{side:.2f}' for side in row.box_3d['size'])} m)"


def _bgr(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(image[:, :, ::-1])

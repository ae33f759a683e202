"""The answer as a page of Markdown: what was asked, what was found, why, and in which views."""

from __future__ import annotations

import re

from scene_r1.viewer.showing import Showing, text

SPECIAL = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~&])")


def report(showing: Showing) -> str:
    """Markdown. What a model or a person wrote is escaped: it is shown, never obeyed."""
    answer, box = showing.answer, showing.answer.box_3d
    lines = [f"# {_shown(showing.question) or 'Answer'}", "", f"**{answer.status.value}** {_shown(answer.reason)}"]
    if answer.answer:
        lines += ["", _shown(answer.answer)]
    if box is not None:
        size, center = " x ".join(f"{v:.3f}" for v in box.size), ", ".join(f"{v:.3f}" for v in box.center)
        lines += ["", f"{size} m at ({center}) m in frame `{_shown(box.frame_id)}`, each face +- {box.spread_m:.3f} m"]
    if answer.confidence is not None:
        lines += ["", f"Confidence {answer.confidence:.2f}"]
    if answer.window_s is not None:
        lines += ["", f"Seen from {answer.window_s[0]:g} s to {answer.window_s[1]:g} s"]
    if answer.rationale:
        lines += ["", "## Thought", "", _shown(answer.rationale)]
    if answer.evidence:
        lines += ["", "## Views, in the order that they were looked at", ""]
        lines += ["| frame | seconds | score | agrees |", "|---|---|---|---|"]
        times = {frame.index: f"{showing.seconds(frame):.2f}" for frame in showing.keyframes}
        lines += [
            f"| {view.frame} | {times.get(view.frame, '')} | {view.score:.2f} | {'yes' if view.supports else 'no'} |"
            for view in answer.evidence
        ]
    kept = ", ".join(str(frame.index) for frame in showing.keyframes)
    lines += ["", "## Keyframes, in the order of their selection", "", kept or "none"]
    lines += ["", "## Engines", "", ", ".join(f"{_shown(k)}: {_shown(v)}" for k, v in answer.engine.items())]
    return "\n".join(lines) + "\n"


def _shown(words: str) -> str:
    """Words as themselves, on one line."""
    return SPECIAL.sub(r"\\\1", " ".join(text(words).split()))

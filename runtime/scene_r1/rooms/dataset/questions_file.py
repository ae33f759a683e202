"""Questions on disk: one JSON object a line."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import get_args

from scene_r1.files import write_text
from scene_r1.rooms.dataset.fields import FAR, Fields, parse_json
from scene_r1.rooms.model.room import Box
from scene_r1.rooms.model.splits import SPLITS
from scene_r1.rooms.questions.question import (
    FIND_FAMILIES,
    VQA_FAMILIES,
    AnswerKind,
    FindFamily,
    Question,
    Task,
    VqaFamily,
    Xyxy,
)
from scene_r1_engines.errors import BadRecording

MAX_LINE_BYTES = 16 << 20
"""A walk of 100,000 frames that all see the object takes 5 MB."""
FRAME = re.compile(r"0|[1-9][0-9]{0,8}")
TASKS: tuple[Task, ...] = get_args(Task)
ANSWER_KINDS: tuple[AnswerKind, ...] = get_args(AnswerKind)


def write_questions(path: str | os.PathLike[str], questions: Iterable[Question]) -> None:
    """Write questions in place of whatever file was there, whole or absent.

    Raises SceneR1Error when the disk refuses.
    """
    write_text(path, "".join(f"{question_line(question)}\n" for question in questions))


def read_questions(path: str | os.PathLike[str]) -> Iterator[tuple[int, Question]]:
    """Each question with the number of its line, from 1.

    What a question says is checked for itself: types, known words, and that it has the truth its family needs.
    Whether its scene, its frames and its object exist is for who knows the rooms. Raises BadRecording naming file
    and line: no JSON, a key that is missing, unknown or of another type, two questions with one id, an end before its
    start, ...
    """
    file_path = Path(path)
    seen: dict[str, int] = {}
    for number, line in _lines(file_path):
        where = f"line {number}: "
        question = question_of(Fields(parse_json(line, file_path, where), file_path, where))
        if question.id in seen:
            raise BadRecording(file_path, f"{where}the id {question.id!r} is that of line {seen[question.id]} as well")
        seen[question.id] = number
        yield number, question


def question_line(question: Question) -> str:
    """One question as JSON in one line. Numbers read back to the last bit."""
    box = question.box_3d
    return json.dumps(
        {
            "id": question.id,
            "scene": question.scene,
            "split": question.split,
            "text": question.text,
            "task": question.task,
            "family": question.family,
            "form": question.form,
            "rationale": question.rationale,
            "target": None if question.target is None else int(question.target),
            "name": question.name,
            "windows_s": [[float(t) for t in window] for window in question.windows_s],
            "boxes_2d": {str(int(frame)): [float(v) for v in xyxy] for frame, xyxy in question.boxes_2d.items()},
            "box_3d": None if box is None else {"low": [*map(float, box.low)], "high": [*map(float, box.high)]},
            "held_out": bool(question.held_out),
            "answer": question.answer,
            "answer_kind": question.answer_kind,
            "choices": list(question.choices),
        },
        allow_nan=False,
    )


def question_of(fields: Fields) -> Question:
    """The question that a line says. Raises BadRecording."""
    task = fields.word("task", TASKS)
    families: tuple[FindFamily | VqaFamily, ...] = FIND_FAMILIES if task == "find" else VQA_FAMILIES
    question = Question(
        id=fields.text("id"),
        scene=fields.text("scene"),
        split=fields.word("split", SPLITS),
        text=fields.text("text"),
        task=task,
        family=fields.word("family", families),
        form=fields.text("form"),
        rationale=fields.text("rationale", empty=True),
        target=fields.whole("target", 0, 32767) if fields.has("target") else None,
        name=fields.text("name", empty=True),
        windows_s=tuple((start, end) for start, end in fields.rows("windows_s", 2, 0.0)),
        boxes_2d=_boxes(fields.table("boxes_2d")),
        box_3d=_box_3d(fields),
        held_out=fields.flag("held_out"),
        answer=fields.text("answer", empty=True),
        answer_kind=fields.word("answer_kind", ANSWER_KINDS),
        choices=fields.texts("choices"),
    )
    fields.end()
    _check(question, fields)
    return question


def _boxes(fields: Fields) -> dict[int, Xyxy]:
    out: dict[int, Xyxy] = {}
    for key in fields.keys():  # noqa: SIM118
        if not FRAME.fullmatch(key):
            raise fields.fault(f"{key[:40]!r} is no frame: a whole number from 0 on")
        x0, y0, x1, y1 = fields.numbers(key, 4, 0.0, FAR)
        if not (x0 < x1 and y0 < y1):
            raise fields.fault(f"the box {[x0, y0, x1, y1]} of frame {key} is empty: xyxy needs x0 < x1 and y0 < y1")
        out[int(key)] = (x0, y0, x1, y1)
    return out


def _box_3d(fields: Fields) -> Box | None:
    if not fields.has("box_3d"):
        return None
    table = fields.table("box_3d")
    box = table.box()
    table.end()
    return box


def _check(question: Question, fields: Fields) -> None:
    """What the parts of a question say of each other."""
    for start, end in question.windows_s:
        if not start < end:
            raise fields.fault(f"windows_s: {[start, end]} ends before it starts")
    there = {
        "target": question.target is not None,
        "name": bool(question.name.strip()),
        "windows_s": bool(question.windows_s),
        "boxes_2d": bool(question.boxes_2d),
        "box_3d": question.box_3d is not None,
    }
    if question.task == "find" and question.family != "absent":
        missing = [key for key, is_there in there.items() if not is_there]
        if missing:
            raise fields.fault(f"a find question of something that is there needs {' and '.join(missing)}")
    else:
        extra = [key for key, is_there in there.items() if is_there and key != "name"]
        if extra:
            what = "an absent thing" if question.task == "find" else "a question to be answered in words"
            raise fields.fault(f"{what} has no {' and no '.join(extra)}")
    if question.task == "vqa" and not question.answer.strip():
        raise fields.fault("answer is empty: a question to be answered in words has one")
    if question.choices and question.answer not in question.choices:
        raise fields.fault(
            f"answer {question.answer[:40]!r} is none of its choices: {', '.join(question.choices)[:200]}"
        )


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # opening a pipe may wait for ever
            raise BadRecording(path, "is not a regular file: put the file of questions here")
        with path.open("rb") as file:
            number = 0
            while line := file.readline(MAX_LINE_BYTES + 1):
                number += 1
                if len(line) > MAX_LINE_BYTES:
                    raise BadRecording(path, f"line {number}: has more than {MAX_LINE_BYTES} bytes")
                if not line.endswith(b"\n"):
                    raise BadRecording(path, f"line {number}: is cut short (no line end): make the rooms again")
                if not line.strip():
                    raise BadRecording(path, f"line {number}: is empty: one question a line")
                yield number, line.decode("utf-8")
    except FileNotFoundError:
        raise BadRecording(path, "is missing: make the rooms again") from None
    except UnicodeDecodeError as error:
        raise BadRecording(path, f"line {number}: is not UTF-8 text (byte {error.start})") from None
    except (OSError, ValueError) as error:
        if isinstance(error, BadRecording):
            raise
        raise BadRecording(path, f"cannot be read ({getattr(error, 'strerror', None) or error})") from error

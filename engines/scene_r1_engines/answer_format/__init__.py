"""The form of an answer: how it is asked for, written under constraint, and read where nothing could be constrained.

<think>what the model considered</think><answer>5s to 10s</answer>                                      when
<think>…</think><answer>{"bbox_2d": [x1, y1, x2, y2], "label": "what it is"}</answer>                   where
<think>…</think><answer>a few words</answer>         and for when and where also <answer>not found</answer>
"""

from scene_r1_engines.answer_format.bounds import Boxes, Window
from scene_r1_engines.answer_format.parse import parse_answer, parse_when, parse_where
from scene_r1_engines.answer_format.prompts import Prompts
from scene_r1_engines.answer_format.question import check_question, neutralised
from scene_r1_engines.answer_format.scripts import answer_script, when_script, where_script
from scene_r1_engines.answer_format.steps import Let, Script, Verdict, Write, Written

__all__ = [
    "Boxes",
    "Let",
    "Prompts",
    "Script",
    "Verdict",
    "Window",
    "Write",
    "Written",
    "answer_script",
    "check_question",
    "neutralised",
    "parse_answer",
    "parse_when",
    "parse_where",
    "when_script",
    "where_script",
]

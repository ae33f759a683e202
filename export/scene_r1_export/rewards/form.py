"""Whether a text has the form of an answer: one thought, then one answer, and nothing else."""

from __future__ import annotations

import re

TAG = re.compile("</?(?:think|answer)>", re.IGNORECASE | re.ASCII)
TAGS = ["<think>", "</think>", "<answer>", "</answer>"]


def in_form(text: str) -> bool:
    """Whether the whole text, but for space around it, is `<think>…</think><answer>…</answer>`.

    Each tag stands there once and in lower case, with nothing but space between thought and answer. The thought may be
    empty, as the runtime can switch thinking off; the answer may not. Takes time in proportion to the text.
    """
    text = text.strip()
    tags = []
    for tag in TAG.finditer(text):
        tags.append(tag)
        if len(tags) > len(TAGS):
            return False
    if [tag[0] for tag in tags] != TAGS or tags[0].start() != 0 or tags[3].end() != len(text):
        return False
    between, answer = text[tags[1].end() : tags[2].start()], text[tags[2].end() : tags[3].start()]
    return not between.strip() and bool(answer.strip())

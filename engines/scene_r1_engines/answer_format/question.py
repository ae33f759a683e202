"""What may be asked: text of a bounded length, without anything that could be taken for the prompt's own marks."""

from __future__ import annotations

import re
import unicodedata

from scene_r1_engines.errors import BadQuestion

MOST_CHARACTERS = 2000


def check_question(text: str) -> str:
    """The question as it is put to a model: stripped, with control characters and line breaks as spaces.

    Raises BadQuestion when it is no text, has more than MOST_CHARACTERS, a NUL or half a surrogate pair, or nothing
    that can be seen. What looks like a special token is left as it is: an engine that tokenises the question itself
    does so without parsing them, and any other takes `neutralised`.
    """
    if not isinstance(text, str):
        raise BadQuestion(f"a question must be text, got {type(text).__name__}: ask in words")
    asked = text.strip()
    if len(asked) > MOST_CHARACTERS:
        raise BadQuestion(f"a question may have {MOST_CHARACTERS} characters, got {len(asked)}: shorten it")
    for at, character in enumerate(asked):
        if character == "\0" or unicodedata.category(character) == "Cs":
            raise BadQuestion(f"a question must be plain text, got U+{ord(character):04X} at character {at}: remove it")
    asked = "".join(" " if unicodedata.category(c) in ("Cc", "Zl", "Zp") else c for c in asked).strip()
    if all(unicodedata.category(c)[0] in "CZ" for c in asked):  # also only zero-width characters
        raise BadQuestion("a question must not be empty: say what to look for")
    return asked


def neutralised(text: str) -> str:
    """The text with a space after every < that something follows, so that no special token (`<|im_end|>`,
    `<tool_call>`), mark of the answer (`<think>`, `</answer>`) or media marker is left in it.

    For engines that hand text to another program, which may parse such marks wherever they stand. The wide forms of <
    count too: some tokenizers fold them into it. Doing it twice changes nothing.
    """
    return re.sub(r"([<＜﹤])(?=\S)", r"\1 ", text)

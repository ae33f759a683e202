"""A form of text in two notations at once: GBNF, to hold the model to it, and a regex, to know when it is whole."""

from __future__ import annotations

import re
from dataclasses import dataclass

from scene_r1_engines.answer_format.steps import Let

NOT_UTF8 = "\ufffd"
"""What bytes that are no UTF-8 are decoded to. A byte-level model may write such bytes, and the decoder in llama.cpp's
grammars lets overlong ones and those beyond Unicode through."""


@dataclass(frozen=True, slots=True)
class Form:
    """What may be written. gbnf: the body of a rule of llama.cpp's grammars. regex: the same for `re`, only that it
    lets bytes which are no UTF-8 pass, decoded to U+FFFD or dropped: it takes all that the grammar takes, and some
    free words beyond.

    A form is made by the functions below, so that the two notations cannot drift apart.
    """

    gbnf: str
    regex: str

    def let(self, tokens: int | None = None, seconds: float | None = None, counts: bool = True) -> Let:
        """The step in which the model writes this form. The rest as in Let."""
        return Let(f"root ::= {self.gbnf}\n", re.compile(self.regex), tokens, seconds, counts)


def literal(text: str) -> Form:
    """Exactly these ASCII words; not empty."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return Form(f'"{escaped}"', re.escape(text))


def one_of(*ranges: str) -> Form:
    """One character of these: "x", or "a-z" for all from a to z."""
    said = "".join(_range(one) for one in ranges)
    beyond_ascii = any(not one.isascii() for one in ranges)
    return Form(f"[{said}]", f"[{said}{_point(NOT_UTF8) if beyond_ascii else ''}]")


def none_of(*ranges: str) -> Form:
    """One character that is none of these, which must be ASCII: llama.cpp judges a token that ends inside a character
    by all that could come of it, and would refuse every character that shares a byte with an excluded one."""
    said = "".join(_range(one) for one in ranges)
    return Form(f"[^{said}]", f"[^{said}]")


def then(*forms: Form) -> Form:
    """One after the other."""
    return Form(" ".join(form.gbnf for form in forms), "".join(form.regex for form in forms))


def either(*forms: Form) -> Form:
    """One of them."""
    if len(forms) == 1:
        return forms[0]
    return Form(f"({' | '.join(form.gbnf for form in forms)})", f"(?:{'|'.join(form.regex for form in forms)})")


def times(form: Form, count: int) -> Form:
    """The class of characters `form` so many times."""
    return Form(f"{form.gbnf}{{{count}}}", f"{form.regex}{{{count}}}")


def any_number(form: Form) -> Form:
    """The class of characters `form` any number of times, also none."""
    return Form(f"{form.gbnf}*", f"{form.regex}*")


def words(first: Form, other: Form, most: int) -> Form:
    """1 to `most` characters of the class `other`, of which `first`, a part of it, says what may stand at the start.
    most: below 1500, where llama.cpp refuses a repetition.

    The regex has neither the start nor the number: a character of the grammar's that is no UTF-8 comes back as several
    U+FFFD, or as nothing.
    """
    return Form(f"{first.gbnf} {other.gbnf}{{0,{most - 1}}}", f"{other.regex}*")


def _range(one: str) -> str:
    return f"{_point(one[0])}-{_point(one[2])}" if len(one) == 3 else _point(one)


def _point(character: str) -> str:
    """A character inside [...], written the same in both notations; letters and digits stand for themselves."""
    code = ord(character)
    if code < 0x80:
        return character if character.isalnum() else f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"

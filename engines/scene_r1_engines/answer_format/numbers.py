"""Whole numbers between two bounds, as a form that allows no other."""

from __future__ import annotations

from scene_r1_engines.answer_format.notation import Form, either, literal, one_of, then, times
from scene_r1_engines.errors import BadInput

BOUND = 10**7
"""Numbers are below it: 115 days in seconds, and far beyond the side of any picture."""


def integer_between(lo: int, hi: int) -> Form:
    """All whole numbers from lo to hi, both included, in decimal digits without sign or leading zeros.

    The digits are followed one by one, so the form grows with the number of digits and not with that of numbers.
    Raises BadInput unless 0 <= lo <= hi < BOUND.
    """
    if not 0 <= lo <= hi < BOUND:
        raise BadInput(f"a range of numbers must have 0 <= lo <= hi < {BOUND}, got {lo} and {hi}")
    forms: list[Form] = []
    for digits in range(len(str(lo)), len(str(hi)) + 1):
        least = 0 if digits == 1 else 10 ** (digits - 1)
        forms += _alike(str(max(lo, least)), str(min(hi, 10**digits - 1)))
    return either(*forms)


def _alike(lo: str, hi: str) -> list[Form]:
    """The alternatives for all digit strings from lo to hi, which are of the same length."""
    if lo == hi:
        return [literal(lo)]
    if len(lo) == 1:
        return [_digit(lo, hi)]
    first, last, rest = int(lo[0]), int(hi[0]), len(lo) - 1
    if first == last:
        return [then(literal(lo[0]), either(*_alike(lo[1:], hi[1:])))]
    below, above = [], []
    if lo[1:] != "0" * rest:  # the first digit of lo has not all its followers
        below = [then(literal(lo[0]), either(*_alike(lo[1:], "9" * rest)))]
        first += 1
    if hi[1:] != "9" * rest:
        above = [then(literal(hi[0]), either(*_alike("0" * rest, hi[1:])))]
        last -= 1
    between = [then(_digit(str(first), str(last)), times(one_of("0-9"), rest))] if first <= last else []
    return [*below, *between, *above]


def _digit(lo: str, hi: str) -> Form:
    return literal(lo) if lo == hi else one_of(f"{lo}-{hi}")

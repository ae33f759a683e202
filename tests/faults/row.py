"""One fault that the runtime is to survive, and what shows that it does."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """shown: tests of this repository. later: what of the row is not done yet. not_applicable: why a row, or a part of
    it, cannot happen here."""

    number: int
    fault: str
    shown: tuple[str, ...] = ()
    later: str = ""
    not_applicable: str = ""

    @property
    def verdict(self) -> str:
        if self.shown:
            return "passed, a part later" if self.later else "passed"
        return "later" if self.later else "not applicable"


def of(file: str, *names: str) -> tuple[str, ...]:
    """Node ids: file below tests/, without .py; names without test_."""
    return tuple(f"tests/{file}.py::test_{name}" for name in names)

"""What a script of an answer asks of an engine: to write words for the model, or to let it write."""

from __future__ import annotations

import re
from collections.abc import Generator
from dataclasses import dataclass
from typing import TypeAlias

from scene_r1_engines.reasoner import Finish


@dataclass(frozen=True, slots=True)
class Write:
    """Words that are put into the answer without asking the model."""

    text: str


@dataclass(frozen=True, slots=True)
class Let:
    """The model writes, held to a GBNF grammar (rule `root`), until `done` matches all that this step wrote.

    tokens, seconds: a budget of the step's own; where it runs out the step ends without `done`. None: only that of the
    whole answer. counts: its tokens' probabilities count towards the confidence.
    """

    grammar: str
    done: re.Pattern[str]
    tokens: int | None = None
    seconds: float | None = None
    counts: bool = True


@dataclass(frozen=True, slots=True)
class Written:
    """What came of a step. complete: `done` matched (always, for Write)."""

    text: str
    complete: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a script makes of an answer. value: the task's own, see the script. think_forced: as Effort."""

    finish: Finish
    value: object = None
    rationale: str = ""
    think_forced: bool = False


Script: TypeAlias = Generator["Write | Let", Written, Verdict]
"""Yields steps, is sent what came of each, returns the verdict. An engine that ends early (deadline, cancel, all
tokens spent) closes it and says so itself."""

"""One finding of the doctor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "missing", "broken", "warning"]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    state: `ok`; `missing`: not installed; `broken`: there, but does not work; `warning`: works, with a catch.
    detail: what was found. mend: the command that mends it, empty where the state is ok.
    required: whether the core needs it.
    """

    name: str
    state: State
    detail: str
    mend: str = ""
    required: bool = False

"""What the doctor looks at the machine through; tests give it other eyes."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import distributions, packages_distributions
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import scene_r1
import scene_r1_engines
from scene_r1.machine import RunCommand, run_command

IMPORT_TIMEOUT_S = 20.0
"""An import that takes longer than this is reported, and given up. torch from a cold disk takes about 10 s."""


def _finds(module: str) -> bool:
    return find_spec(module) is not None


@dataclass(frozen=True, slots=True)
class Probes:
    """The facts and the means of finding more.

    python: version. architecture: as `uname -m` says. superuser: whether commands go without sudo.
    installed: version of each installed distribution, by normalised name. providers: the distributions that provide
    each module. run: runs a command. finds: whether a top-level module could be imported, without importing it.
    root: of the file system. disk_free_bytes: where the doctor was called.
    """

    python: tuple[int, int, int]
    architecture: str
    superuser: bool
    installed: Mapping[str, str]
    providers: Mapping[str, Sequence[str]]
    disk_free_bytes: int
    run: RunCommand = run_command
    finds: Callable[[str], bool] = _finds
    root: Path = Path("/")

    @classmethod
    def of_this_machine(cls) -> Probes:
        installed: dict[str, str] = {}
        for distribution in distributions():
            name = distribution.metadata["Name"]
            if name:  # what an interrupted uninstall leaves behind has none
                installed.setdefault(normalised(name), distribution.version)
        return cls(
            python=sys.version_info[:3],
            architecture=platform.machine(),
            superuser=os.geteuid() == 0,
            installed=installed,
            providers=packages_distributions(),
            disk_free_bytes=shutil.disk_usage(".").free,
        )

    @property
    def sudo(self) -> str:
        return "" if self.superuser else "sudo "

    def packages_of(self, module: str, pattern: str) -> dict[str, str]:
        """Installed distributions that provide a module, and their versions.

        pattern: what their names look like; the metadata of some wheels do not say which modules are in them.
        """
        names = {normalised(name) for name in self.providers.get(module, ())}
        names |= {name for name in self.installed if re.fullmatch(pattern, name)}
        return {name: self.installed.get(name, "unknown version") for name in sorted(names)}


def normalised(name: str) -> str:
    """A distribution's name as PEP 503 writes it."""
    return re.sub(r"[-_.]+", "-", name).lower()


@dataclass(frozen=True, slots=True)
class Finding:
    """What a piece of Python found in a process of its own: `facts`, or `trouble` in one line and `err` in full."""

    facts: dict[str, Any] | None
    trouble: str = ""
    err: str = ""


# The current folder is taken off the path: a file called numpy.py in it would be a finding about that folder.
PRELUDE = f"""
import json, sys
sys.path[:] = [p for p in sys.path if p] + {[str(Path(p.__path__[0]).parent) for p in (scene_r1, scene_r1_engines)]!r}
def tell(**facts): print("\\n" + json.dumps(facts), flush=True)
"""


def ask_python(probes: Probes, code: str, timeout_s: float = IMPORT_TIMEOUT_S) -> Finding:
    """Run code that ends in `tell(name=value)`; a crash or a hang of a native library ends that process, not ours."""
    outcome = probes.run([sys.executable, "-c", PRELUDE + code], timeout_s)
    if outcome.timed_out:
        return Finding(None, f"no answer within {timeout_s:.0f} s")
    if outcome.code is None:
        return Finding(None, f"python could not be started: {outcome.err}", outcome.err)
    if outcome.code < 0:
        return Finding(None, f"crashed with {_signal_name(-outcome.code)}", outcome.err)
    lines = [line for line in (outcome.out if outcome.ok else outcome.err).splitlines() if line.strip()]
    if not outcome.ok:
        return Finding(None, lines[-1].strip() if lines else f"exit code {outcome.code}", outcome.err)
    try:
        facts = json.loads(lines[-1])
    except (IndexError, ValueError):
        return Finding(None, "ended without an answer", outcome.err)
    return Finding(facts, "", outcome.err)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"

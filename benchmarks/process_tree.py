"""What Linux says of the memory of a process and of its children."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Usage:
    """Memory of one process, in bytes. pss_bytes and uss_bytes are None where `reason` says why."""

    rss_bytes: int
    pss_bytes: int | None
    uss_bytes: int | None
    high_water_bytes: int
    reason: str = ""


def process_tree(pid: int) -> list[int]:
    """The process and all its living descendants."""
    children = _children_by_task if (PROC / str(pid) / "task" / str(pid) / "children").exists() else _children_by_scan()
    tree, todo = [], [pid]
    while todo:
        tree.append(todo.pop())
        todo.extend(children(tree[-1]))
    return tree


def usage(pid: int) -> Usage | None:
    """Memory of one process, or None when it has ended meanwhile."""
    try:
        rss = rss_bytes(pid)
        high_water = high_water_bytes(pid)
    except (FileNotFoundError, ProcessLookupError):
        return None
    try:
        rollup = _kilobyte_lines(PROC / str(pid) / "smaps_rollup")
        uss = rollup["Private_Clean"] + rollup["Private_Dirty"] + rollup.get("Private_Hugetlb", 0)
        return Usage(rss, rollup["Pss"], uss, high_water)
    except (OSError, KeyError) as error:
        if not (PROC / str(pid)).exists() or isinstance(error, ProcessLookupError):
            return None
        why = f"smaps_rollup is not readable ({type(error).__name__})"
        return Usage(rss, None, None, high_water, why)


def rss_bytes(pid: int) -> int:
    """Resident memory now (statm). Raises FileNotFoundError or ProcessLookupError when the process has ended."""
    return int((PROC / str(pid) / "statm").read_text().split()[1]) * PAGE_BYTES


def high_water_bytes(pid: int) -> int:
    """The most that was ever resident (VmHWM); 0 for a zombie, which has no memory. Raises as rss_bytes."""
    return _kilobyte_lines(PROC / str(pid) / "status").get("VmHWM", 0)


def _kilobyte_lines(path: Path) -> dict[str, int]:
    found = {}
    for line in path.read_text(errors="replace").splitlines():
        words = line.split()
        if len(words) == 3 and words[2] == "kB" and words[0].endswith(":"):
            found[words[0][:-1]] = int(words[1]) * 1024
    return found


def _children_by_task(pid: int) -> list[int]:
    found: list[int] = []
    try:
        for task in (PROC / str(pid) / "task").iterdir():
            found.extend(int(child) for child in (task / "children").read_text().split())
    except (FileNotFoundError, ProcessLookupError):
        pass  # ended while we looked: whatever children it had belong to another process now
    return found


def _children_by_scan() -> Callable[[int], list[int]]:
    """The same for kernels without /proc/PID/task/TID/children: one pass over all processes, then look-ups."""
    children: dict[int, list[int]] = defaultdict(list)
    for entry in os.listdir(PROC):
        if entry.isdigit():
            try:
                # The command name may hold spaces and brackets: the fields begin after its last bracket.
                parent = (PROC / entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[1]
            except (FileNotFoundError, ProcessLookupError):
                continue
            children[int(parent)].append(int(entry))
    return lambda pid: children.get(pid, [])

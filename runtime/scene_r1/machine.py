"""What machine this is, read from its files and from the vendor's own commands. None where it does not say."""

from __future__ import annotations

import os
import platform
import re
import signal
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/")
MAX_OUTPUT_CHARACTERS = 100_000


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended. code: its exit code (negative: the signal that killed it), or None where it never ran.

    timed_out: it was killed after its time. missing: there is no such command.
    """

    code: int | None
    out: str = ""
    err: str = ""
    timed_out: bool = False
    missing: bool = False

    @property
    def ok(self) -> bool:
        return self.code == 0 and not self.timed_out


RunCommand = Callable[[Sequence[str], float], Outcome]


def run_command(argv: Sequence[str], timeout_s: float) -> Outcome:
    """Run a command without a terminal. After `timeout_s` it is killed with whatever it has started."""
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        return Outcome(None, err=str(error), missing=isinstance(error, FileNotFoundError))
    try:
        out, err = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        _kill(process)
        return Outcome(process.returncode, timed_out=True)
    except BaseException:
        _kill(process)
        raise
    return Outcome(process.returncode, out[-MAX_OUTPUT_CHARACTERS:], err[-MAX_OUTPUT_CHARACTERS:])


def _kill(process: subprocess.Popen[str]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.communicate()


def jetson_model(root: Path = ROOT) -> str | None:
    """The board's name in its device tree, where that is NVIDIA's: "NVIDIA Jetson Orin Nano Developer Kit"."""
    model = _text(root / "proc/device-tree/model")
    return model if model and re.search("nvidia|jetson", model, re.IGNORECASE) else None


def l4t_release(root: Path = ROOT) -> str | None:
    """First line of /etc/nv_tegra_release: "# R36 (release), REVISION: 4.3, ..." without the leading mark."""
    release = _text(root / "etc/nv_tegra_release")
    return release.splitlines()[0].lstrip("# ") if release else None


def power_mode(run: RunCommand = run_command) -> str | None:
    """The power mode of a Jetson as `nvpmodel -q` names it: "15W"."""
    outcome = run(["nvpmodel", "-q"], 3.0)
    found = re.search(r"NV Power Mode:\s*(\S+)", outcome.out)
    return found.group(1) if outcome.ok and found else None


def cpu_model(root: Path = ROOT) -> str:
    """The processor's name, or the machine type ("aarch64") where the kernel does not tell it."""
    found = re.search(r"^(?:model name|Model)\s*:\s*(.+)$", _text(root / "proc/cpuinfo") or "", re.MULTILINE)
    return found.group(1).strip() if found else platform.machine()


def cores() -> int:
    """How many cores this process may run on, which a container or taskset can make fewer than there are."""
    return len(os.sched_getaffinity(0))


def governor(root: Path = ROOT) -> str | None:
    """The frequency governor of the first core: "schedutil", "performance"."""
    return _text(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")


def total_memory_bytes(root: Path = ROOT) -> int | None:
    return _meminfo("MemTotal", root)


def available_memory_bytes(root: Path = ROOT) -> int | None:
    """Memory that new work could have without swapping (MemAvailable)."""
    return _meminfo("MemAvailable", root)


def gpus(run: RunCommand = run_command) -> tuple[list[str], Outcome]:
    """NVIDIA GPUs as `nvidia-smi` lists them ("name, driver, memory"), and how that command ended."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    outcome = run(query, 5.0)
    return ([line.strip() for line in outcome.out.splitlines() if line.strip()] if outcome.ok else []), outcome


def device_name(root: Path = ROOT) -> str:
    """A short name of the kind of machine, for folders of results; says nothing of whose it is: "amd-epyc-7b13"."""
    name = (jetson_model(root) or cpu_model(root)).split("@")[0]
    name = re.sub(r"\((?:r|tm)\)|\bcpu\b|\bnvidia\b|\bdeveloper kit\b|\d+-core processor", " ", name.lower())
    return re.sub(r"[^a-z0-9]+", "-", name).strip("-")[:40] or platform.machine()


def _meminfo(name: str, root: Path) -> int | None:
    found = re.search(rf"^{name}:\s*(\d+) kB$", _text(root / "proc/meminfo") or "", re.MULTILINE)
    return int(found.group(1)) * 1024 if found else None


def _text(path: Path) -> str | None:
    """The text of a small file of the system, without trailing zeros and blanks; None where absent, closed or empty."""
    try:
        return path.read_text(errors="replace").strip("\0 \n\t") or None
    except OSError:
        return None

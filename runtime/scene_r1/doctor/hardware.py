"""The machine itself: memory, disk, GPU, and which Jetson it is."""

from __future__ import annotations

from collections.abc import Iterable

from scene_r1 import machine
from scene_r1.doctor.check import Check
from scene_r1.doctor.probes import Probes

GIB = 2**30
LITTLE_MEMORY_BYTES = 1 * GIB
LITTLE_DISK_BYTES = 2 * GIB


def memory(probes: Probes) -> Iterable[Check]:
    total, free = machine.total_memory_bytes(probes.root), machine.available_memory_bytes(probes.root)
    if total is None or free is None:
        yield Check("memory", "warning", "the kernel does not say how much there is", "cat /proc/meminfo")
        return
    detail = f"{free / GIB:.1f} of {total / GIB:.1f} GiB available"
    if free < LITTLE_MEMORY_BYTES:
        yield Check("memory", "warning", detail, "ps -eo pid,rss,comm --sort=-rss | head  # and end what is not needed")
    else:
        yield Check("memory", "ok", detail)


def disk(probes: Probes) -> Iterable[Check]:
    detail = f"{probes.disk_free_bytes / GIB:.1f} GiB free here"
    if probes.disk_free_bytes < LITTLE_DISK_BYTES:
        yield Check("disk", "warning", detail, "pip cache purge; du -xh --max-depth=1 . | sort -h | tail")
    else:
        yield Check("disk", "ok", detail)


def gpu(probes: Probes) -> Iterable[Check]:
    """No GPU is no fault: the CPU engines work. A GPU whose driver does not answer is one."""
    names, outcome = machine.gpus(probes.run)
    if names:
        yield Check("gpu", "ok", "; ".join(names))
    elif outcome.missing and machine.jetson_model(probes.root):
        yield Check("gpu", "ok", "the Jetson's own")
    elif outcome.missing or not (probes.root / "proc/driver/nvidia").exists():
        yield Check("gpu", "ok", "none: the CPU engines are used")
    else:
        said = outcome.err.strip().splitlines() or outcome.out.strip().splitlines()
        why = "no answer within 5 s" if outcome.timed_out else said[0] if said else "no GPU listed"
        mend = f"{probes.sudo}modprobe nvidia && nvidia-smi  # and after a driver update, restart the machine"
        yield Check("gpu", "broken", f"nvidia-smi: {why}", mend)


def jetson(probes: Probes) -> Iterable[Check]:
    """Model, release and power mode; a low power mode makes everything slow without any error."""
    model = machine.jetson_model(probes.root)
    if model is None:
        yield Check("jetson", "ok", "this is none")
        return
    release = machine.l4t_release(probes.root) or "no L4T release found"
    mode = machine.power_mode(probes.run)
    if mode is None:
        mend = f"{probes.sudo}nvpmodel -q"
        yield Check("jetson", "warning", f"{model}, {release}, power mode unknown", mend)
    else:
        yield Check("jetson", "ok", f"{model}, {release}, power mode {mode}")

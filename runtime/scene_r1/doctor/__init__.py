"""What this machine has and lacks, each thing looked at apart, so that one broken thing never hides another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from scene_r1.doctor import camera, extras, hardware, required
from scene_r1.doctor.check import Check
from scene_r1.doctor.probes import Probes

Examination = Callable[[Probes], Iterable[Check]]

EXAMINATIONS: tuple[tuple[str, bool, Examination], ...] = (
    # name, whether the core needs it, what looks at it
    ("python", True, required.python),
    ("numpy", True, required.numpy),
    ("scipy", True, required.scipy),
    ("opencv", True, required.opencv),
    ("opencv packages", True, required.opencv_packages),
    ("numba", True, required.numba),
    ("small packages", True, required.small_packages),
    ("memory", False, hardware.memory),
    ("disk", False, hardware.disk),
    ("gpu", False, hardware.gpu),
    ("jetson", False, hardware.jetson),
    ("realsense", False, camera.realsense),
    ("video devices", False, camera.video_devices),
    ("onnxruntime", False, extras.onnxruntime),
    ("llama_cpp", False, extras.llama_cpp),
    ("nano", False, extras.nano),
    ("tensorrt", False, extras.tensorrt),
    ("torch", False, extras.torch),
    ("numba_cuda", False, extras.numba_cuda),
    ("rerun", False, extras.rerun),
    ("rosbags", False, extras.rosbags),
    ("rooms", False, extras.rooms),
)

__all__ = ["EXAMINATIONS", "Check", "Probes", "core_works", "examine"]


def examine(
    probes: Probes | None = None, examinations: Sequence[tuple[str, bool, Examination]] = EXAMINATIONS
) -> list[Check]:
    """Every check, in the order of the table. Packages are imported in processes of their own, two at a time."""
    given = Probes.of_this_machine() if probes is None else probes

    def one(entry: tuple[str, bool, Examination]) -> list[Check]:
        name, needed, look = entry
        try:
            return list(look(given))
        except Exception as error:  # noqa: BLE001 - a check that breaks is itself a finding; the others go on
            detail = f"could not be examined: {type(error).__name__}: {error}"
            return [Check(name, "broken", detail, f"scene-r1 doctor --json  # and report {name!r}", required=needed)]

    with ThreadPoolExecutor(max_workers=2, thread_name_prefix="doctor") as pool:
        return [check for checks in pool.map(one, examinations) for check in checks]


def core_works(checks: Iterable[Check]) -> bool:
    """True when nothing that the core needs is missing or broken; extras may be."""
    return not any(check.required and check.state in ("missing", "broken") for check in checks)

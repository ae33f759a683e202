"""The GPU's back-projection, run by numba's CUDA simulator in a process of its own, against the CPU's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.runtime.test_backproject import frame_of

from scene_r1.backproject import BackProjector, cuda
from scene_r1.backproject.cuda import choice
from scene_r1.doctor import Probes, extras
from scene_r1.lift import LiftSettings
from scene_r1.machine import Outcome
from scene_r1_engines.errors import BadConfig, EngineFailed, MissingExtra

pytest.importorskip("numba.cuda", reason="numba without its CUDA target")

# The simulator's threads are Python's, so blocks are small; the kernels take any power of two. Rows are wider than two
# blocks and images higher than two, so that sums go on from one block of numbers to the next.
SIMULATED = """
import json
import numpy as np
from tests.runtime.test_backproject import frame_of, two_cameras
from scene_r1.backproject import BackProjector
from scene_r1.backproject.cuda import kernels
from scene_r1.backproject.cuda.projector import CudaBackProjector
from scene_r1.frame import DepthRange, RgbdFrame
from scene_r1_engines.intrinsics import Intrinsics

kernels.BLOCK = 4
BROWN = ("brown_conrady", (0.05, -0.06, 0.001, -0.0008, 0.02))
INVERSE = ("inverse_brown_conrady", (-0.055, 0.064, -0.0009, 0.0006, -0.02))
LENS = Intrinsics(30.0, 30.5, 9.0, 3.0, 19, 7, "brown_conrady", (0.08, -0.05, 0.001, 0.002, 0.01))
empty = frame_of(1, 4, 6)
empty = RgbdFrame(0, 0, empty.color, empty.color_intrinsics, np.zeros_like(empty.depth_raw), 0.001,
                  empty.depth_intrinsics, T_world_camera=empty.T_world_camera)

def masked(frame, top, left):
    mask = np.zeros(frame.color.shape[:2], bool)
    mask[top:top + 60, left:left + 80] = np.random.default_rng(0).random(mask[top:top + 60, left:left + 80].shape) < 0.8
    return mask

cases = {
    "one camera": (frame_of(1, 10, 13), None, {"edge_ratio": 0.1}),
    "no edge filter, one voxel in many": (frame_of(2, 9, 10), None, {"edge_ratio": 0.0, "voxel_m": 0.2}),
    "a short range": (frame_of(3, 6, 10), None, {"edge_ratio": 0.0, "depth_range": DepthRange(0.2, 2.0)}),
    "masked in a corner": (frame_of(4, 10, 13), masked(frame_of(4, 10, 13), 4, 5), {"edge_ratio": 0.2}),
    "a lens on the depth camera": (frame_of(3, 7, 19, depth_intrinsics=LENS), None, {}),
    "two cameras": (two_cameras(2, h=9, w=13), masked(two_cameras(2), 5, 10), {"edge_ratio": 0.0}),
    "two cameras, a lens, voxels": (two_cameras(3, *BROWN, h=7, w=11), None, {"voxel_m": 0.1, "edge_ratio": 0.0}),
    "two cameras, the inverse lens": (two_cameras(5, *INVERSE, h=6, w=11), None, {"edge_ratio": 0.0}),
    "no depth": (empty, None, {"voxel_m": 0.1}),
    "one pixel wide": (frame_of(5, 9, 1), None, {"edge_ratio": 0.0}),
}
found = {}
gpus = {}
for name, (frame, mask, settings) in cases.items():
    cpu = BackProjector(**settings)
    want = cpu(frame, mask).copy()
    for mapped in (False, True) if name in ("one camera", "two cameras, a lens, voxels") else (False,):
        twin = BackProjector(device="cuda", **settings)
        key = (mapped, twin.depth_range, twin.edge_ratio, twin.voxel_m)  # buffers are used again by other frames
        twin._gpu = gpus.setdefault(key, CudaBackProjector(twin.depth_range, twin.edge_ratio, twin.voxel_m, mapped))
        got = twin(frame, mask)
        same = len(got) == len(want)
        found[f"{name}, {'mapped' if mapped else 'copied'}"] = {
            "points": len(want), "got": len(got), "same_colours": same and bool(np.array_equal(got.rgb, want.rgb)),
            "off_m": float(np.abs(got.xyz - want.xyz).max(initial=0.0)) if same else None,
            "used": twin._gpu is not None,
        }
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def simulated(repository: Path) -> dict[str, dict]:
    """What the simulator found in each case; it must be switched on before numba is imported."""
    rooms = [str(repository / room) for room in ("runtime", "engines", ".")]
    done = subprocess.run(
        [sys.executable, "-c", SIMULATED],
        env={**os.environ, "NUMBA_ENABLE_CUDASIM": "1", "PYTHONPATH": os.pathsep.join(rooms)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_gpu_keeps_the_same_points_in_the_same_order_as_the_cpu(simulated) -> None:
    assert len(simulated) == 12
    for name, case in simulated.items():
        assert case["used"], name
        assert case["got"] == case["points"], name
        assert case["same_colours"], name
        assert case["off_m"] < 1e-5, name


def test_the_cases_that_are_compared_say_something(simulated) -> None:
    points = {name.rpartition(",")[0]: case["points"] for name, case in simulated.items()}
    assert points.pop("no depth") == 0
    assert min(points.values()) >= 5
    assert points["one camera"] > 30
    assert points["two cameras"] > 10


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose driver says no, in whatever way drivers do."""

    def broken() -> None:
        raise OSError("libcuda.so.1: file too short")

    import numba.cuda

    monkeypatch.setattr(numba.cuda, "get_current_device", broken)
    choice.trouble.cache_clear()
    yield
    choice.trouble.cache_clear()


@pytest.mark.usefixtures("no_gpu")
def test_a_broken_driver_costs_one_line_of_log_and_no_point(monkeypatch, caplog) -> None:
    monkeypatch.setattr("scene_r1.backproject.projector.WORTH_PIXELS", 1)
    frame = frame_of(1)
    for _ in range(3):
        found = BackProjector(device="auto")(frame)
        assert np.array_equal(found.xyz, BackProjector()(frame).xyz)
    said = [record for record in caplog.records if "CUDA" in record.message]
    assert len(said) == 1
    assert "file too short" in said[0].message


@pytest.mark.usefixtures("no_gpu")
def test_the_gpu_is_not_even_looked_for_when_the_frame_is_small(caplog) -> None:
    BackProjector(device="auto")(frame_of(1))
    assert frame_of(1).depth_raw.size < cuda.WORTH_PIXELS
    assert choice.trouble.cache_info().misses == 0


@pytest.mark.usefixtures("no_gpu")
def test_who_insists_on_a_gpu_that_is_not_there_is_told_so_at_once() -> None:
    with pytest.raises(EngineFailed, match=r"file too short.*use the CPU"):
        BackProjector(device="cuda")


def test_without_numbas_cuda_the_extra_is_named(monkeypatch) -> None:
    def absent(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(choice, "import_module", absent)
    choice.trouble.cache_clear()
    with pytest.raises(MissingExtra) as raised:
        BackProjector(device="cuda")
    choice.trouble.cache_clear()
    assert raised.value.extra == "cuda"


@pytest.mark.parametrize(("device", "goes_on"), [("auto", True), ("cuda", False)])
def test_a_gpu_that_breaks_in_the_middle_leaves_the_cpu_or_one_clear_error(
    monkeypatch, caplog, device, goes_on
) -> None:
    monkeypatch.setattr("scene_r1.backproject.projector.WORTH_PIXELS", 1)
    monkeypatch.setattr("scene_r1.backproject.projector.trouble", lambda: "")
    monkeypatch.setattr("scene_r1.backproject.projector.check_device", lambda device: None)
    frame = frame_of(1)
    projector = BackProjector(device=device)

    def fallen(*arguments: object) -> None:
        raise RuntimeError("CUDA_ERROR_ILLEGAL_ADDRESS")

    projector._gpu = fallen
    if not goes_on:
        with pytest.raises(EngineFailed, match=r"frame 0: .*ILLEGAL_ADDRESS"):
            projector(frame)
        return
    for _ in range(2):
        assert np.array_equal(projector(frame).xyz, BackProjector()(frame).xyz)
    assert [record.message for record in caplog.records if "ILLEGAL_ADDRESS" in record.message] != []
    assert projector.device == "cpu"


@pytest.mark.parametrize("make", [lambda name: BackProjector(device=name), lambda name: LiftSettings(device=name)])
def test_a_device_that_there_is_not_is_refused(make) -> None:
    with pytest.raises(BadConfig, match="cud"):
        make("cudd")


@pytest.mark.parametrize(
    ("gpu", "installed", "state"), [(False, False, "ok"), (True, False, "missing"), (True, True, "broken")]
)
def test_the_doctor_misses_it_only_where_there_is_a_gpu(tmp_path: Path, gpu: bool, installed: bool, state: str) -> None:
    def run(argv, timeout_s: float) -> Outcome:
        if argv[0] == "nvidia-smi" and gpu:
            return Outcome(0, out="NVIDIA T4, 15360, 550.54\n")
        return Outcome(1, err="CudaSupportError: no device\n") if "numba" in argv[-1] else Outcome(None, missing=True)

    probes = replace(Probes.of_this_machine(), root=tmp_path, run=run, finds=lambda module: installed)
    (check,) = extras.numba_cuda(probes)
    assert check.state == state
    assert (check.mend == "") == (state == "ok")

"""The doctor's findings, on this machine and on machines made up of folders and answers."""

from __future__ import annotations

import json
import re
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from scene_r1.cli import main
from scene_r1.doctor import EXAMINATIONS, Check, Probes, camera, core_works, examine, extras, hardware, required
from scene_r1.doctor.probes import ask_python
from scene_r1.machine import Outcome, cpu_model, device_name, jetson_model, l4t_release, run_command

HERE = Probes.of_this_machine()
if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ORIN = "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super\0"


def machine(root: Path, **files: str) -> Probes:
    """This machine's Python on the file system below `root`, as an ordinary user."""
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return replace(HERE, root=root, superuser=False)


def answering(answers: Mapping[str, Outcome]) -> Callable[[Sequence[str], float], Outcome]:
    """A command line in which the commands (or pieces of Python) that contain a text end as told; others are absent."""

    def run(argv: Sequence[str], timeout_s: float) -> Outcome:
        line = " ".join(argv)
        return next((outcome for text, outcome in answers.items() if text in line), Outcome(None, missing=True))

    return run


def only(checks: Iterable[Check]) -> Check:
    (check,) = checks
    return check


def fails_to_import(message: str) -> Callable[[Sequence[str], float], Outcome]:
    return answering({"import": Outcome(1, err=f"Traceback (most recent call last):\nImportError: {message}\n")})


def test_here_the_core_works_and_every_check_that_is_not_ok_names_a_command() -> None:
    checks = examine()
    assert core_works(checks)
    assert {"python", "numpy", "scipy", "opencv", "numba"} <= {c.name for c in checks if c.state == "ok"}
    assert all(check.mend for check in checks if check.state != "ok")
    assert len({check.name for check in checks}) == len(checks)


def test_the_command_prints_one_json_object_and_exits_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert answer["core_works"] is True
    assert {"name", "state", "detail", "mend", "required"} == set(answer["checks"][0])


def test_the_table_shows_below_each_trouble_the_command_that_mends_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [Check("one", "ok", "1.0"), Check("two", "broken", "crashed", "pip install two", required=True)]
    monkeypatch.setattr("scene_r1.cli.doctor.examine", lambda: found)
    assert main(["doctor"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["ok", "one", "1.0"]
    assert lines[1].split() == ["*", "broken", "two", "crashed"]
    assert lines[2].split() == ["->", "pip", "install", "two"]
    assert "does not work" in lines[-1]


def test_a_check_that_breaks_is_a_finding_and_stops_no_other() -> None:
    def broken(probes: Probes) -> list[Check]:
        raise RuntimeError("on fire")

    checks = examine(HERE, [("a", True, broken), ("python", True, required.python)])
    assert [(c.name, c.state) for c in checks] == [("a", "broken"), ("python", "ok")]
    assert "on fire" in checks[0].detail
    assert not core_works(checks)


def test_on_a_bare_machine_every_check_still_answers(tmp_path: Path) -> None:
    bare = replace(
        machine(tmp_path), installed={}, providers={}, finds=lambda module: False, run=answering({}), disk_free_bytes=0
    )
    checks = examine(bare)
    assert not core_works(checks)
    assert not [c for c in checks if "could not be examined" in c.detail]
    assert {c.name for c in checks if c.required and c.state == "missing"} == {
        "numpy", "scipy", "opencv", "numba", "tqdm"
    } | ({"tomli"} if sys.version_info < (3, 11) else set())  # fmt: skip
    assert all(c.mend for c in checks if c.state != "ok")


def test_missing_extras_do_not_break_the_core() -> None:
    without = replace(HERE, finds=lambda module: False)
    optional = [entry for entry in EXAMINATIONS if entry[2].__module__.endswith((".extras", ".camera"))]
    checks = examine(without, optional)
    assert core_works(checks)
    missing = {c.name: c.mend for c in checks if c.state == "missing"}
    assert missing["llama_cpp"] == "pip install 'scene-r1-edge[vlm]'"
    assert {"pyrealsense2", "tensorrt", "torch", "rerun", "onnxruntime", "ray caster"} <= set(missing)


def test_every_extra_that_a_command_names_is_in_pyproject(repository: Path) -> None:
    extras_known = tomllib.loads((repository / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = set()
    for path in (repository / "runtime/scene_r1/doctor").glob("*.py"):
        named |= set(re.findall(r"extra\(\"(\w+)\"", path.read_text()))
    assert {"vlm", "realsense", "rooms"} <= named <= set(extras_known)


def test_the_oldest_versions_it_accepts_are_those_of_pyproject(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    assert {f"{name}>={version}" for name, version in required.MINIMUM.items()} <= set(project["dependencies"])
    oldest, newest = required.OLDEST_PYTHON, required.NEWEST_PYTHON
    assert project["requires-python"] == f">={oldest[0]}.{oldest[1]},<{newest[0]}.{newest[1] + 1}"


@pytest.mark.parametrize(
    ("version", "state"),
    [((3, 9, 18), "broken"), ((3, 10, 0), "ok"), ((3, 13, 9), "ok"), ((3, 14, 0), "broken"), ((4, 0, 0), "broken")],
)
def test_only_pythons_with_wheels_are_accepted(version: tuple[int, int, int], state: str) -> None:
    assert only(required.python(replace(HERE, python=version))).state == state


def test_opencv_5_with_numpy_1_is_broken_before_it_is_imported() -> None:
    old = replace(HERE, installed={"opencv-python": "5.0.0.93", "numpy": "1.26.4"}, run=answering({}))
    check = only(required.opencv(old))
    assert check.state == "broken"
    assert "needs numpy 2" in check.detail
    assert check.mend == "pip install 'opencv-python>=4.10,<5'"


@pytest.mark.parametrize(
    ("message", "mend"),
    [
        ("libGL.so.1: cannot open shared object file: No such file or directory", "sudo apt-get install libgl1"),
        ("libgthread-2.0.so.0: cannot open shared object file", "sudo apt-get install libglib2.0-0"),
        ("numpy.core.multiarray failed to import", "pip install --upgrade 'opencv-python>=4.10'"),
        ("something else", "pip install --force-reinstall 'opencv-python>=4.10'"),
    ],
)
def test_each_way_cv2_fails_to_import_has_its_own_command(tmp_path: Path, message: str, mend: str) -> None:
    new_numpy = {**HERE.installed, "numpy": "2.2.0", "opencv-python": "4.10.0.84"}
    check = only(required.opencv(replace(machine(tmp_path), run=fails_to_import(message), installed=new_numpy)))
    assert check.state == "broken"
    assert message in check.detail
    assert check.mend == mend


def test_an_opencv_older_than_ours_is_broken() -> None:
    old = replace(HERE, run=answering({"import cv2": Outcome(0, '{"v": "4.9.0"}\n')}))
    assert only(required.opencv(old)).detail == "4.9.0 is older than 4.10"


def test_one_opencv_package_is_fine() -> None:
    assert only(required.opencv_packages(HERE)).state == "ok"


def test_two_opencv_packages_of_one_version_are_a_warning_and_both_are_removed() -> None:
    both = {"opencv-python": "4.10.0.84", "opencv-contrib-python": "4.10.0.84", "numpy": "2.0.0"}
    check = only(required.opencv_packages(replace(HERE, installed=both, providers={})))
    assert check.state == "warning"
    assert check.mend == (
        "pip uninstall -y opencv-contrib-python opencv-python && pip install 'opencv-contrib-python>=4.10'"
    )


def test_two_opencv_packages_of_different_versions_are_broken() -> None:
    both = {"opencv-python": "5.0.0.93", "opencv-python-headless": "4.10.0.84"}
    check = only(required.opencv_packages(replace(HERE, installed=both, providers={"cv2": list(both)})))
    assert check.state == "broken"
    assert check.required
    assert not core_works([check])


def test_a_package_of_another_name_that_provides_cv2_is_found_too() -> None:
    both = {"opencv-python": "4.10.0.84", "vendor-opencv": "4.10.0"}
    probes = replace(HERE, installed=both, providers={"cv2": ["opencv_python", "Vendor.OpenCV"]})
    assert "vendor-opencv 4.10.0" in only(required.opencv_packages(probes)).detail


def test_two_onnxruntimes_are_broken_but_not_the_core() -> None:
    both = {"onnxruntime": "1.21.0", "onnxruntime-gpu": "1.21.0", "onnxruntime-extensions": "0.13"}
    probes = replace(HERE, installed=both, providers={}, finds=lambda m: False)
    checks = list(extras.onnxruntime(probes))
    assert checks[0].state == "broken"
    assert checks[0].mend == "pip uninstall -y onnxruntime onnxruntime-gpu && pip install 'scene-r1-edge[gpu]'"
    assert core_works(checks)


def test_numba_really_compiles_here_and_says_how_many_kernels_are_cached() -> None:
    compiles, cache = required.numba(HERE)
    assert compiles.state == "ok"
    assert re.search(r"\d+ kernels|\d+ of \d+ kernels|not writable", cache.detail)


@pytest.mark.parametrize(
    ("facts", "state", "mend"),
    [
        ({"kernels": 5, "compiled": 0, "closed": []}, "warning", "scene-r1 warmup"),
        ({"kernels": 5, "compiled": 5, "closed": []}, "ok", ""),
        ({"kernels": 5, "compiled": 5, "closed": ["x"]}, "warning", "export NUMBA_CACHE_DIR="),
    ],
)
def test_a_cold_or_closed_cache_of_kernels_is_a_warning(facts: dict[str, object], state: str, mend: str) -> None:
    answer = Outcome(0, json.dumps({"version": "0.60.0", **facts}) + "\n")
    _, cache = required.numba(replace(HERE, run=answering({"import numba": answer})))
    assert cache.state == state
    assert cache.mend.startswith(mend)


def test_kernels_that_cannot_be_cached_at_all_break_the_core_and_a_folder_mends_it() -> None:
    said = "RuntimeError: cannot cache function 'registered': no locator available for file 'kernels.py'"
    check = only(required.numba(replace(HERE, run=answering({"import numba": Outcome(1, err=said)}))))
    assert check.state == "broken"
    assert check.required
    assert check.mend.startswith("export NUMBA_CACHE_DIR=")


def test_realsense_without_libusb_names_the_library_and_its_package(tmp_path: Path) -> None:
    message = "libusb-1.0.so.0: cannot open shared object file: No such file or directory"
    probes = replace(machine(tmp_path), finds=lambda m: True, run=fails_to_import(message))
    check = only(camera.realsense(probes))
    assert check.state == "broken"
    assert check.mend == "sudo apt-get install libusb-1.0-0"


def test_on_arm_realsense_is_advised_with_a_python_that_has_wheels() -> None:
    arm = replace(HERE, architecture="aarch64", python=(3, 11, 2), finds=lambda m: False)
    assert only(camera.realsense(arm)).mend.startswith("python3.12 -m venv")
    assert only(camera.realsense(replace(arm, python=(3, 10, 12)))).mend == "pip install 'scene-r1-edge[realsense]'"


def _with_camera(probes: Probes, names: list[str]) -> Check:
    answers = {"query_devices": Outcome(0, json.dumps({"names": names})), "import": Outcome(0, '{"v": "2.59"}')}
    package, device = camera.realsense(replace(probes, finds=lambda m: True, run=answering(answers)))
    assert package.state == "ok"
    return device


def test_no_camera_is_none_connected_and_not_an_error(tmp_path: Path) -> None:
    check = _with_camera(machine(tmp_path), [])
    assert check.state == "ok"
    assert check.detail.startswith("none connected; no udev rules yet")
    with_rules = machine(tmp_path, **{"etc__udev__rules.d__99-realsense-libusb.rules": ""})
    assert _with_camera(with_rules, []).detail == "none connected"


def test_a_camera_on_the_bus_that_may_not_be_opened_is_a_matter_of_udev_rules(tmp_path: Path) -> None:
    usb = "sys__bus__usb__devices__2-1__"
    probes = machine(tmp_path, **{f"{usb}idVendor": "8086\n", f"{usb}idProduct": "0b3a\n"})
    check = _with_camera(probes, [])
    assert check.state == "warning"
    assert "99-realsense-libusb.rules /etc/udev/rules.d/" in check.mend
    assert _with_camera(probes, ["Intel RealSense D435i"]).detail == "1 connected: Intel RealSense D435i"


def test_other_intel_usb_devices_are_no_cameras(tmp_path: Path) -> None:
    usb = "sys__bus__usb__devices__1-5__"
    probes = machine(tmp_path, **{f"{usb}idVendor": "8086\n", f"{usb}idProduct": "0026\n"})
    assert _with_camera(probes, []).state == "ok"


def test_the_real_realsense_library_answers_without_a_camera() -> None:
    pytest.importorskip("pyrealsense2")
    checks = list(camera.realsense(HERE))
    assert [c.name for c in checks] == ["pyrealsense2", "realsense camera"]
    assert checks[0].state == "ok"


def test_a_video_device_closed_to_this_user_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    probes = machine(tmp_path, dev__video0="", dev__video1="")
    assert only(camera.video_devices(probes)).detail == "2 in /dev, all open to this user"
    monkeypatch.setattr("os.access", lambda path, mode: Path(path).name != "video1")  # root may open anything
    check = only(camera.video_devices(probes))
    assert check.detail == "no permission for video1"
    assert "usermod -aG video" in check.mend


def test_a_gpu_is_listed_and_none_is_no_fault(tmp_path: Path) -> None:
    probes = machine(tmp_path)
    listed = replace(probes, run=answering({"nvidia-smi": Outcome(0, "NVIDIA X, 570.1, 8192 MiB\n")}))
    assert only(hardware.gpu(listed)).detail == "NVIDIA X, 570.1, 8192 MiB"
    assert only(hardware.gpu(replace(probes, run=answering({})))).state == "ok"


def test_a_gpu_whose_driver_does_not_answer_is_broken(tmp_path: Path) -> None:
    probes = machine(tmp_path, proc__driver__nvidia__version="")
    failed = Outcome(9, err="NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n")
    check = only(hardware.gpu(replace(probes, run=answering({"nvidia-smi": failed}))))
    assert check.state == "broken"
    assert "couldn't communicate" in check.detail
    hung = only(hardware.gpu(replace(probes, run=answering({"nvidia-smi": Outcome(-9, timed_out=True)}))))
    assert "no answer" in hung.detail


def test_a_jetson_tells_its_model_release_and_power_mode(tmp_path: Path) -> None:
    release = "# R36 (release), REVISION: 4.3, GCID: 38968081\n# more\n"
    probes = machine(tmp_path, **{"proc__device-tree__model": ORIN, "etc__nv_tegra_release": release})
    probes = replace(probes, run=answering({"nvpmodel -q": Outcome(0, "NV Power Mode: 15W\n0\n")}))
    check = only(hardware.jetson(probes))
    assert check.state == "ok"
    assert "Orin Nano" in check.detail
    assert "R36 (release), REVISION: 4.3" in check.detail
    assert check.detail.endswith("power mode 15W")
    assert only(hardware.gpu(replace(probes, run=answering({})))).detail == "the Jetson's own"
    assert "python3-libnvinfer" in only(extras.tensorrt(replace(probes, finds=lambda m: False))).mend
    assert only(hardware.jetson(replace(probes, run=answering({})))).state == "warning"


def test_another_board_is_no_jetson(tmp_path: Path) -> None:
    probes = machine(tmp_path, **{"proc__device-tree__model": "Raspberry Pi 5 Model B Rev 1.0\0"})
    assert jetson_model(tmp_path) is None
    assert l4t_release(tmp_path) is None
    assert only(hardware.jetson(probes)).detail == "this is none"


def test_little_memory_and_little_disk_are_warnings(tmp_path: Path) -> None:
    probes = machine(tmp_path, proc__meminfo="MemTotal: 8000000 kB\nMemAvailable: 500000 kB\n")
    assert only(hardware.memory(probes)).state == "warning"
    assert only(hardware.memory(HERE)).detail.endswith("GiB available")
    assert only(hardware.memory(machine(tmp_path / "none"))).state == "warning"
    assert only(hardware.disk(replace(HERE, disk_free_bytes=2**30))).state == "warning"
    assert only(hardware.disk(replace(HERE, disk_free_bytes=2**40))).state == "ok"


@pytest.mark.parametrize(
    ("files", "name"),
    [
        ({"proc__device-tree__model": ORIN}, "jetson-orin-nano-engineering-reference"),
        ({"proc__cpuinfo": "model name\t: AMD EPYC 7B13 64-Core Processor\n"}, "amd-epyc-7b13"),
        ({"proc__cpuinfo": "model name\t: Intel(R) Core(TM) i7-1185G7 CPU @ 3.00GHz\n"}, "intel-core-i7-1185g7"),
    ],
)
def test_a_device_is_named_by_its_kind(tmp_path: Path, files: dict[str, str], name: str) -> None:
    machine(tmp_path, **files)
    assert device_name(tmp_path).startswith(name)


def test_a_kernel_that_names_no_processor_gives_the_machine_type(tmp_path: Path) -> None:
    assert re.fullmatch(r"\w+", cpu_model(tmp_path))


def test_a_native_crash_is_a_finding_and_not_the_doctors_end() -> None:
    found = ask_python(HERE, "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    assert found.facts is None
    assert found.trouble == "crashed with SIGSEGV"


def test_a_hang_is_ended_with_all_it_has_started(tmp_path: Path) -> None:
    code = f"""
import subprocess, time
quiet = subprocess.DEVNULL
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], stdout=quiet, stderr=quiet)
open({str(tmp_path / "pid")!r}, "w").write(str(child.pid))
time.sleep(600)
"""
    found = ask_python(HERE, code, timeout_s=3.0)
    assert found.trouble == "no answer within 3 s"
    child = Path("/proc") / (tmp_path / "pid").read_text() / "stat"
    end = time.monotonic() + 10.0  # a kill takes effect a moment later
    while _alive(child) and time.monotonic() < end:
        time.sleep(0.01)
    assert not _alive(child)


def _alive(stat: Path) -> bool:
    try:
        return stat.read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_what_a_package_prints_when_imported_does_not_spoil_the_answer() -> None:
    found = ask_python(HERE, "print('{hello', end=''); tell(v='1.0'); sys.stderr.write('a warning')")
    assert found.facts == {"v": "1.0"}


def test_an_answer_that_never_came_is_said_to_be_missing() -> None:
    assert ask_python(HERE, "pass").trouble == "ended without an answer"
    assert ask_python(HERE, "raise ImportError('no luck')").trouble == "ImportError: no luck"


def test_a_file_beside_the_user_does_not_stand_in_for_a_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scipy.py").write_text("raise RuntimeError('this is the user\\'s own file')")
    monkeypatch.chdir(tmp_path)
    assert only(required.scipy(HERE)).state == "ok"


def test_a_command_that_is_not_there_is_missing_and_not_an_exception() -> None:
    assert run_command(["surely-no-such-command"], 1.0).missing
    killed = run_command([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"], 30.0)
    assert killed.code == -signal.SIGKILL
    assert not killed.ok

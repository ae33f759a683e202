"""The `scene-r1` command as a whole, and which way imports run."""

from __future__ import annotations

import ast
import importlib
import os
import re
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

import scene_r1
from scene_r1 import cli
from scene_r1_engines import errors

OPTIONAL = (
    "pyrealsense2",
    "tensorrt",
    "llama_cpp",
    "torch",
    "transformers",
    "open3d",
    "trimesh",
    "embreex",
    "rosbags",
    "onnxruntime",
    "rerun",
)
BLOCKER = f"""
import importlib.abc, sys
class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {OPTIONAL!r}:
            raise ImportError(f"blocked: {{name}}")
sys.meta_path.insert(0, Blocker())
"""


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run code in a Python that sees what this one sees."""
    paths = os.pathsep.join(p for p in sys.path if p)
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": paths},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert re.findall(r"^    (\w+)\b", text, re.MULTILINE) == list(cli.COMMANDS)


def test_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"scene-r1-edge {scene_r1.__version__}\n"


@pytest.mark.parametrize("name", sorted(cli.COMMANDS))
def test_every_command_has_a_module_that_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    module = importlib.import_module(f"scene_r1.cli.{name}")
    assert callable(module.configure)
    assert callable(module.run)
    with pytest.raises(SystemExit) as stop:
        cli.main([name, "--help"])
    assert stop.value.code == 0
    assert f"usage: scene-r1 {name} " in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["surely-none"], [], ["doctor", "--surely-none"], ["--surely-none"]])
def test_wrong_usage_ends_with_2_and_says_how_to_use_it(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "usage: scene-r1" in said.err


def _command_that(monkeypatch: pytest.MonkeyPatch, ends: BaseException | int) -> None:
    def run(args: object) -> int:
        if isinstance(ends, BaseException):
            raise ends
        return ends

    module = types.ModuleType("scene_r1.cli.trial")
    module.configure = lambda parser: None  # type: ignore[attr-defined]
    module.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "scene_r1.cli.trial", module)
    monkeypatch.setitem(cli.COMMANDS, "trial", "end as the test says")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.SceneR1Error("x"), 1),
        (errors.EngineFailed("x"), 1),
        (errors.DeviceOutOfMemory("x"), 1),
        (errors.BadAnswer("x"), 1),
        (errors.BudgetExceeded("x"), 1),
        (errors.CameraLost("x"), 1),
        (errors.StaleFrame(250.0, 100.0), 1),
        (errors.Busy("x"), 1),
        (errors.RecordingStopped("x"), 1),
        (errors.MissingExtra("vlm", "x"), 1),
        (errors.BadInput("x"), 2),
        (errors.BadRecording("x", "reason", 3), 2),
        (errors.BadFrame("x"), 2),
        (errors.BadState("x"), 2),
        (errors.BadIntrinsics("x"), 2),
        (errors.BadPrompt("x"), 2),
        (errors.BadConfig("x"), 2),
        (errors.BadQuestion("x"), 2),
        (errors.BadModelFile("x", "y"), 2),
        (errors.OutputExists("x"), 2),
        (KeyboardInterrupt(), 130),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)
def test_each_error_ends_with_its_exit_code_and_its_reason_on_stderr(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _command_that(monkeypatch, error)
    assert cli.main(["trial"]) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines()[0] == f"scene-r1 trial: {str(error) or 'interrupted'}"


def test_a_recording_that_breaks_half_way_is_told_how_to_be_saved(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _command_that(monkeypatch, errors.BadRecording("x", "reason", 3))
    assert cli.main(["trial"]) == 2
    assert "convert --keep-good-prefix" in capsys.readouterr().err
    _command_that(monkeypatch, errors.BadRecording("x", "reason"))
    assert cli.main(["trial"]) == 2
    assert "convert" not in capsys.readouterr().err


def test_every_error_of_ours_has_been_thought_of_above() -> None:
    tested = set(_tested_errors())
    ours = {e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, errors.SceneR1Error)}
    assert ours == tested


def _tested_errors() -> Iterator[type[BaseException]]:
    (mark,) = (
        m
        for m in test_each_error_ends_with_its_exit_code_and_its_reason_on_stderr.pytestmark  # type: ignore[attr-defined]
        if m.name == "parametrize"
    )
    return (type(error) for error, _ in mark.args[1] if isinstance(error, errors.SceneR1Error))


@pytest.mark.parametrize("code", [0, 3, 4])
def test_what_a_command_returns_is_the_exit_code(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    _command_that(monkeypatch, code)
    assert cli.main(["trial"]) == code


def test_a_fault_nobody_foresaw_is_not_dressed_up_as_one_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    _command_that(monkeypatch, ZeroDivisionError("x"))
    with pytest.raises(ZeroDivisionError):
        cli.main(["trial"])


def test_the_installed_command_runs() -> None:
    ended = python("from scene_r1.cli import main; raise SystemExit(main())", "doctor", "--help")
    assert ended.returncode == 0, ended.stderr
    assert "--json" in ended.stdout


@pytest.mark.parametrize("module", ["scene_r1", "scene_r1_engines", "scene_r1.cli", "scene_r1.cli.doctor"])
def test_the_core_imports_without_any_extra_and_without_anything_heavy(module: str) -> None:
    heavy = "{'numba', 'cv2', 'scipy'} & set(sys.modules)"
    ended = python(f"{BLOCKER}\nimport {module}\nprint(sorted({heavy}))")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip() == "[]"


def test_the_blocker_blocks() -> None:
    ended = python(f"{BLOCKER}\nimport trimesh")
    assert ended.returncode == 1
    assert "blocked: trimesh" in ended.stderr


ARROWS = {
    # folder: the packages of ours that its files may import
    "engines/scene_r1_engines": {"scene_r1_engines"},
    "runtime/scene_r1": {"scene_r1", "scene_r1_engines"},
    "export/scene_r1_export": {"scene_r1_export", "scene_r1", "scene_r1_engines"},
    "benchmarks": {"benchmarks", "scene_r1_export", "scene_r1", "scene_r1_engines"},
}
OURS = ARROWS["benchmarks"] | {"tests"}


def imported_packages(source: str) -> set[str]:
    """Which of our packages a source text imports: anywhere in it, and through import_module with a name in place."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(node.module or "")
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            for word in ast.walk(node.args[0]) if node.args else ():
                if isinstance(word, ast.Constant) and isinstance(word.value, str):
                    found.add(word.value)
    return {name.partition(".")[0] for name in found} & OURS


@pytest.mark.parametrize("folder", ARROWS)
def test_imports_run_one_way(folder: str, repository: Path) -> None:
    files = sorted((repository / folder).rglob("*.py"))
    assert files
    against = {
        f"{path.relative_to(repository)}: {', '.join(sorted(wrong))}"
        for path in files
        if (wrong := imported_packages(path.read_text(encoding="utf-8")) - ARROWS[folder])
    }
    assert not against


@pytest.mark.parametrize(
    ("source", "packages"),
    [
        ("import scene_r1.frame", {"scene_r1"}),
        ("def f():\n    from scene_r1_export import x", {"scene_r1_export"}),
        ("import_module('scene_r1.cli.doctor')", {"scene_r1"}),
        ("importlib.import_module(f'scene_r1.cli.{name}')", {"scene_r1"}),
        ("from . import scene_r1\nimport numpy, scene_r1_other", set()),
    ],
)
def test_the_walk_over_imports_sees_them_all(source: str, packages: set[str]) -> None:
    assert imported_packages(source) == packages


def test_no_folder_on_the_path_has_a_name_that_others_install(repository: Path) -> None:
    packages = {p.parent.name for root in ("runtime", "engines", "export") for p in (repository / root).glob("*/*.py")}
    assert packages == {"scene_r1", "scene_r1_engines", "scene_r1_export"}

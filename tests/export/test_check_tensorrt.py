"""NVIDIA's own parser and builder take our graphs, and the builder's rules hold; no GPU is needed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from argparse import ArgumentTypeError
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from tests.engines.tiny_sam2 import IO, model, node, seal, sound_folder

from scene_r1_engines.errors import BadConfig, BadModelFile, MissingExtra
from scene_r1_engines.sam2.manifest import PARTS
from scene_r1_engines.tensorrt_module.sidecar import Machine
from scene_r1_export.cli import main
from scene_r1_export.cli.tensorrt import size
from scene_r1_export.tensorrt import check, rtx
from scene_r1_export.tensorrt.check import check_folder
from scene_r1_export.tensorrt.network import BuildOptions
from scene_r1_export.tensorrt.timing_cache import cache_file

needs_rtx = pytest.mark.skipif(
    find_spec(rtx.BINDINGS) is None or find_spec(rtx.LIBRARIES) is None,
    reason="the extra tensorrt-check is not installed; it is for Linux on x86-64",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return sound_folder(tmp_path / "model")


def refuse_decoder(folder: Path) -> None:
    """A mask decoder of standard operators, one of which NVIDIA's parser does not know."""
    nodes = [
        node("DynamicQuantizeLinear", "mask_in", "whole scale zero", name="dynamic"),
        node("DequantizeLinear", "whole scale zero", "low"),
        node("ReduceMean", "low", "middle", axes=[2, 3], keepdims=0),
        node("Identity", "middle", "iou"),
        node("ReduceMean", "feat", "ptr", axes=[2, 3], keepdims=0),
        node("Identity", "middle", "score"),
    ]
    (folder / "mask_decoder.onnx").write_bytes(model(nodes, *IO["mask_decoder"]).SerializeToString())
    seal(folder)


def asked_of_rtx(code: str, *arguments: str) -> Any:
    """The JSON that some Python prints last, in a process of its own: the libraries make all their symbols global."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": ":".join(sys.path)},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@needs_rtx
def test_sound_graphs_are_parsed_and_built(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-tensorrt", str(folder), "--json"]) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert said["ok"] is True
    assert said["tensorrt_rtx"].split(".")[0].isdigit()
    assert tuple(said["graphs"]) == PARTS
    for row in said["graphs"].values():
        assert row["parsed"] is row["built"] is True
        assert row["plan_bytes"] > 1000
        assert row["layers"] > 0
        assert row["build_s"] > 0.0


@needs_rtx
def test_a_graph_that_the_parser_refuses_is_named_with_its_node_and_the_rest_is_judged(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refuse_decoder(folder)
    assert main(["check-tensorrt", str(folder)]) == 1
    lines = capsys.readouterr().out.splitlines()
    at = next(number for number, line in enumerate(lines) if "mask_decoder" in line)
    assert "NOT PARSED" in lines[at]
    assert "DynamicQuantizeLinear" in lines[at + 1]
    assert sum("parsed and built" in line for line in lines) == 3


@needs_rtx
def test_a_graph_that_kills_its_process_or_hangs_is_an_answer_too(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, code, why in (
        ("dies", "import os, sys; sys.stderr.write('native words\\n'); sys.stderr.flush(); os.abort()", "signal 6"),
        ("ends", "raise SystemExit(3)", "exit code 3"),
        ("hangs", "import time; time.sleep(60)", "given up"),
        ("babbles", "print('[1, 2]')", "something else"),
    ):
        (tmp_path / f"{name}.py").write_text(code, encoding="utf-8")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setattr(check, "CHILD", name)
        report = check_folder(folder, most_s=0.5 if name == "hangs" else 30.0)
        assert not report.ok
        assert not any(one.parsed or one.built or one.plan_bytes for one in report.graphs)
        assert all(why in one.messages[0] for one in report.graphs)
        assert name != "dies" or "native words" in report.graphs[0].messages[0]


@needs_rtx
def test_a_folder_that_is_not_vouched_for_never_reaches_the_parser(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = folder / "mask_decoder.onnx"
    file.write_bytes(file.read_bytes()[:-1])
    monkeypatch.setattr(check, "CHILD", "antigravity_that_is_not_there")
    with pytest.raises(BadModelFile, match=r"mask_decoder\.onnx.*truncated"):
        check_folder(folder)


def test_without_the_packages_the_extra_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rtx, "LIBRARIES", "no_such_package")
    with pytest.raises(MissingExtra, match=r"x86-64 only.*scene-r1-edge\[tensorrt-check\]"):
        check_folder(folder)


BUILD = """
import json, sys
from pathlib import Path
from scene_r1_engines.sam2.folder import vouch_sam2
from scene_r1_engines.tensorrt_module.sidecar import Machine, here
from scene_r1_export.tensorrt.build import build_parts
from scene_r1_export.tensorrt.network import BuildOptions
from scene_r1_export.tensorrt.rtx import load_rtx

trt, folder, cache = load_rtx(), Path(sys.argv[1]), Path(sys.argv[2])
machine = Machine(str(trt.__version__), "Tiny", "8.7", 4, here())
found, heard = vouch_sam2(folder), []

def built(told=lambda *row: heard.append(row), again=False, workspace=None):
    rows = build_parts(trt, machine, found, folder, BuildOptions(workspace), cache, told, again)
    return [one.kept for one in rows]

turns = [built(workspace=1 << 28), built()]
first = (folder / "mask_decoder.engine").read_bytes()
(folder / "mask_decoder.engine").write_bytes(first[:-1])
turns += [built(), built(again=True)]

def interrupt(part, done, total):
    raise KeyboardInterrupt

(folder / "mask_decoder.engine").unlink()
try:
    built(interrupt)
    turns.append("went on")
except KeyboardInterrupt:
    turns.append("interrupted")
print(json.dumps({"turns": turns, "heard": heard, "left": sorted(one.name for one in folder.iterdir()),
    "caches": [[one.name, one.stat().st_size] for one in cache.iterdir()]}))
"""


@needs_rtx
def test_engines_are_built_once_and_again_only_where_they_are_not_right(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    said = asked_of_rtx(BUILD, str(folder), str(tmp_path / "cache"))
    built, kept, mended, again, interrupted = said["turns"]
    assert built == [False] * 4
    assert kept == [True] * 4
    assert mended == [True, False, True, True]
    assert again == [False] * 4
    assert interrupted == "interrupted"
    assert "mask_decoder.engine" not in said["left"]
    assert not [name for name in said["left"] if not name.startswith(("manifest", *PARTS))]
    assert all(0 <= done <= total for _, done, total in said["heard"])
    assert {part for part, _, _ in said["heard"]} == set(PARTS)
    assert all("Tiny-8.7-4" in name for name, _ in said["caches"])


DAMAGED = """
import json, sys
from pathlib import Path
from scene_r1_engines.tensorrt_module.library import make_log
from scene_r1_export.tensorrt.network import make_builder
from scene_r1_export.tensorrt.rtx import load_rtx
from scene_r1_export.tensorrt.timing_cache import attach, keep

trt = load_rtx()
log = make_log(trt)
builder, path, said = make_builder(trt, log), Path(sys.argv[1]), []
for data in (None, b"", b"x" * 1000, bytes(1000)):
    if data is not None:
        path.write_bytes(data)
    config = builder.create_builder_config()
    cache = attach(log, config, path)
    keep(config, path)
    said.append([cache is not None, path.stat().st_size > 0 and path.read_bytes() != data])
print(json.dumps(said))
"""


@needs_rtx
def test_a_damaged_timing_cache_is_begun_anew(tmp_path: Path) -> None:
    assert asked_of_rtx(DAMAGED, str(tmp_path / "one.timing")) == [[True, True]] * 4


def test_each_tensorrt_and_gpu_has_a_timing_cache_of_its_own(tmp_path: Path) -> None:
    names = {
        cache_file(tmp_path, Machine(version, gpu, "8.7", processors, "linux-aarch64"))
        for version in ("10.3.0", "11.5.0.1")
        for gpu in ("Orin", "NVIDIA/Thor ../x")
        for processors in (8, 16)
    }
    assert len(names) == 8
    assert {one.parent for one in names if one is not None} == {tmp_path}


def test_building_and_running_engines_imports_no_torch_and_nothing_that_needs_a_gpu() -> None:
    code = (
        "import sys, json; import scene_r1_export.cli.tensorrt, scene_r1_export.cli.check_tensorrt, "
        "scene_r1_engines.tensorrt_module; "
        "print(json.dumps([n for n in ('torch', 'sam2', 'onnx', 'onnxruntime', 'tensorrt', 'cuda', 'PIL') "
        "if n in sys.modules]))"
    )
    assert asked_of_rtx(code) == []


@pytest.mark.skipif(find_spec("tensorrt") is not None, reason="TensorRT is installed here")
def test_where_tensorrt_is_absent_the_command_says_what_to_install(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tensorrt", str(folder)]) == 1
    assert "python3-libnvinfer" in capsys.readouterr().err


def test_sizes_are_read_with_their_units_and_impossible_ones_refused() -> None:
    assert [size(text) for text in ("4096", "512MiB", "2GiB")] == [4096, 512 << 20, 2 << 30]
    for bad in ("2GB", "-1", "", "1.5GiB", "9" * 40):
        with pytest.raises(ArgumentTypeError):
            size(bad)
    with pytest.raises(BadConfig, match="1 MiB or more"):
        BuildOptions(1000)
    with pytest.raises(BadConfig, match="hardware must be one of"):
        BuildOptions(hardware="any")

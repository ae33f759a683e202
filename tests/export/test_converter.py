"""The converter of llama.cpp: where it comes from, and what an export does when it fails, hangs or knows too little."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.export.checkpoint_parts import CHECKOUT, copied, edit_json

from scene_r1_engines.errors import BadConfig, BadModelFile, EngineFailed
from scene_r1_export.converter_source import find_converter
from scene_r1_export.vlm import VlmExport, export_vlm

NO_CONVERTER = """
import os, sys, time
def main():
    print("reading the weights", flush=True)
    if os.environ.get("PID_FILE"):
        with open(os.environ["PID_FILE"], "w") as file:
            file.write(str(os.getpid()))
        time.sleep(600)
    print("a layer has the wrong name", file=sys.stderr)
    sys.exit(3)
"""


@pytest.fixture
def copy(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    return copied(tiny_checkpoint, tmp_path)


@pytest.fixture
def failing(tmp_path: Path) -> Path:
    """A llama.cpp checkout whose converter fails, or hangs when PID_FILE is set."""
    folder = tmp_path / "llama.cpp"
    for name, text in {
        "convert_hf_to_gguf.py": NO_CONVERTER,
        "conversion/__init__.py": "",
        "conversion/base.py": "class TextModel:\n    def get_vocab_base_pre(self, tokenizer): ...\n",
        "gguf-py/gguf/__init__.py": "",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def test_a_tokenizer_that_nobody_knows_or_declares_is_refused_by_its_hash(copy: Path, tmp_path: Path) -> None:
    edit_json(copy / "config.json", lambda one: one.pop("scene_r1"))
    with pytest.raises(BadModelFile, match=r"hash [0-9a-f]{64}.*declare it in config.json"):
        export_vlm(VlmExport(copy, tmp_path / "out", llama_cpp=Path(CHECKOUT) if CHECKOUT else None))
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def test_a_converter_that_fails_says_why_and_leaves_nothing(tiny_checkpoint: Path, failing: Path) -> None:
    out = failing.parent / "out"
    with pytest.raises(EngineFailed, match=r"ended with code 3(.|\n)*a layer has the wrong name"):
        export_vlm(VlmExport(tiny_checkpoint, out, llama_cpp=failing))
    assert [path.name for path in failing.parent.iterdir()] == ["llama.cpp"]


def test_an_export_that_is_stopped_takes_its_converter_with_it(
    tiny_checkpoint: Path, failing: Path, repository: Path
) -> None:
    pid_file, out = failing.parent / "pid", failing.parent / "out"
    rooms = os.pathsep.join(str(repository / room) for room in ("runtime", "engines", "export"))
    command = [sys.executable, "-m", "scene_r1_export.cli", "vlm", str(tiny_checkpoint), "--out", str(out)]
    with subprocess.Popen(
        [*command, "--llama-cpp", str(failing)],
        env={**os.environ, "PYTHONPATH": rooms, "PID_FILE": str(pid_file)},
        stderr=subprocess.PIPE,
        text=True,
    ) as export:
        while not (pid_file.exists() and pid_file.read_text()) and export.poll() is None:
            time.sleep(0.05)
        export.send_signal(signal.SIGTERM)
        _, said = export.communicate(timeout=60)
    assert (export.returncode, said.strip()) == (143, "scene-r1-export vlm: terminated")
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)
    assert sorted(path.name for path in failing.parent.iterdir()) == ["llama.cpp", "pid"]


def test_a_folder_without_a_converter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="name llama"):
        find_converter(checkout=tmp_path)


def _sdist(path: Path, converter: Path, *more: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        archive.add(converter, "llama_cpp_python-9.9.9/vendor/llama.cpp")
        for member, data in more:
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def _member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(f"llama_cpp_python-9.9.9/vendor/llama.cpp/{name}")
    member.type, member.linkname = kind, link
    return member


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "scene-r1-edge" / "llama.cpp"


def test_only_the_converter_comes_out_of_a_source_distribution(
    failing: Path, cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sdist = _sdist(
        tmp_path / "llama_cpp_python-9.9.9.tar.gz",
        failing,
        (_member("conversion/../../../../evil.py"), b"evil"),
        (_member("conversion/link.py", tarfile.SYMTYPE, "/etc/passwd"), b""),
        (_member("conversion/hard.py", tarfile.LNKTYPE, "conversion/base.py"), b""),
        (_member("conversion/qwenvl.py"), b"# a model"),
        (_member("src/llama.cpp"), b"int main;"),
    )
    folder = find_converter(sdist=sdist)
    assert folder.parent == cache
    assert "never looked at" in caplog.text
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())
    assert names == [
        "conversion/__init__.py",
        "conversion/base.py",
        "conversion/qwenvl.py",
        "convert_hf_to_gguf.py",
        "gguf-py/gguf/__init__.py",
    ]
    assert not list(tmp_path.rglob("evil.py"))
    assert find_converter(sdist=sdist) == folder
    assert list(cache.iterdir()) == [folder]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda at: os.truncate(at, at.stat().st_size // 2), "is no whole .tar.gz"),
        (lambda at: at.write_bytes(b"no archive"), "is no whole .tar.gz"),
        (lambda at: at.unlink(), "is no file"),
        (lambda at: tarfile.open(at, "w:gz").close(), "holds no vendor/llama.cpp"),
    ],
)
def test_a_source_distribution_that_is_broken_is_refused(
    spoil: Callable[[Path], object], reason: str, failing: Path, cache: Path, tmp_path: Path
) -> None:
    sdist = _sdist(tmp_path / "llama_cpp_python-9.9.9.tar.gz", failing)
    spoil(sdist)
    with pytest.raises(BadModelFile, match=reason):
        find_converter(sdist=sdist)
    assert not cache.exists() or not list(cache.iterdir())


def test_a_known_version_with_other_bytes_is_refused(failing: Path, cache: Path, tmp_path: Path) -> None:
    with pytest.raises(BadModelFile, match=r"not that of llama-cpp-python 0\.3\.36"):
        find_converter(sdist=_sdist(tmp_path / "llama_cpp_python-0.3.36.tar.gz", failing))
    assert not cache.exists()


def test_without_a_package_index_the_error_says_how_to_give_a_checkout(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(EngineFailed, match=r"cannot be downloaded(.|\n)*--llama-cpp DIR"):
        find_converter()
    assert not cache.exists()

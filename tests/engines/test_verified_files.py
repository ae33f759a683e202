"""A file that was verified is hashed again only when it may have changed, and a bad memory of it is never believed."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from tests.engines.model_folder import MMPROJ, TEXT, damage, refused, remembered_in, seal, sound_folder

from scene_r1_engines import verified_files
from scene_r1_engines.vouch import vouch


@pytest.fixture(autouse=True)
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where verified files are remembered during a test."""
    return remembered_in(tmp_path, monkeypatch)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sound model folder."""
    return sound_folder(tmp_path / "model")


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the files had been written long ago."""
    monkeypatch.setattr(verified_files, "SETTLED_NS", 0)


def hashed(folder: Path) -> list[tuple[int, int]]:
    calls: list[tuple[int, int]] = []
    vouch(folder, progress=lambda done, total: calls.append((done, total)))
    return calls


def test_progress_ends_at_the_bytes_of_both_files(folder: Path) -> None:
    both = (folder / TEXT).stat().st_size + (folder / MMPROJ).stat().st_size
    assert hashed(folder)[-1] == (both, both)


@pytest.mark.usefixtures("settled")
def test_a_verified_file_is_not_hashed_again_until_it_is_touched(folder: Path) -> None:
    assert hashed(folder)
    assert hashed(folder) == []
    damage(folder / MMPROJ)
    refused(folder, "sha256", MMPROJ)
    damage(folder / MMPROJ)  # as it was, but who knows
    assert hashed(folder)[-1][1] == (folder / MMPROJ).stat().st_size
    assert hashed(folder) == []


@pytest.mark.usefixtures("settled")
def test_a_restored_time_stamp_does_not_hide_a_change(folder: Path) -> None:
    vouch(folder)
    facts = (folder / TEXT).stat()
    damage(folder / TEXT)
    os.utime(folder / TEXT, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    refused(folder, "sha256", TEXT)


@pytest.mark.usefixtures("settled")
def test_what_was_verified_as_another_file_does_not_count(folder: Path) -> None:
    vouch(folder)
    sealed = seal(folder)
    seal(folder, mmproj=replace(sealed.mmproj, sha256="f" * 64))
    refused(folder, "its manifest says ffffffffffff", MMPROJ)


def test_a_file_that_was_just_written_is_not_remembered(folder: Path, memory: Path) -> None:
    vouch(folder)
    assert not memory.exists()
    assert hashed(folder)


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b'{"a": 1}', b"[" * 60000, b"\xff\xfe", b'{"' + b"a" * (1 << 17) + b'": ""}'],
    ids=["empty", "cut", "list", "null", "number", "deep", "not text", "long"],
)
def test_a_damaged_memory_is_ignored_and_written_anew(content: bytes, folder: Path, memory: Path) -> None:
    memory.parent.mkdir(parents=True)
    memory.write_bytes(content)
    memory.chmod(0o600)
    assert hashed(folder)
    assert hashed(folder) == []
    assert len(json.loads(memory.read_bytes())) == 2


@pytest.mark.usefixtures("settled")
def test_a_memory_that_others_can_write_is_not_believed(folder: Path, memory: Path) -> None:
    vouch(folder)
    memory.chmod(0o666)
    assert hashed(folder)


@pytest.mark.usefixtures("settled")
def test_the_memory_is_bounded_and_leaves_nothing_beside_it(folder: Path, memory: Path) -> None:
    for number in range(verified_files.MOST_REMEMBERED + 10):
        verified_files.remember_verified((1, number, 1, 1, 1), "a" * 64)
    vouch(folder)
    assert len(json.loads(memory.read_bytes())) == verified_files.MOST_REMEMBERED
    assert memory.stat().st_size < verified_files.MOST_BYTES
    assert os.listdir(memory.parent) == [memory.name]
    assert hashed(folder) == []


@pytest.mark.usefixtures("settled")
def test_a_memory_that_cannot_be_written_is_no_error(folder: Path, memory: Path) -> None:
    memory.parent.parent.mkdir(exist_ok=True)
    memory.parent.write_text("a file where the folder should be")
    vouch(folder)
    memory.parent.unlink()
    memory.mkdir(parents=True)
    vouch(folder)
    assert os.listdir(memory.parent) == [memory.name]


@pytest.mark.usefixtures("settled")
def test_a_relative_cache_folder_is_not_used(
    folder: Path, memory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    vouch(folder)
    assert not (tmp_path / "relative").exists()
    assert (tmp_path / "home" / ".cache" / "scene-r1-edge" / memory.name).exists()

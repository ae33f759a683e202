"""What is kept on disk between runs: it saves the vision tower's work, and is never believed where it is damaged."""

from __future__ import annotations

import logging
import os
import pickle
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.engines.tiny_llama import QUICK, open_tiny, picture, question_logits

from scene_r1_engines.errors import BadConfig
from scene_r1_engines.llama import LlamaReasoner
from scene_r1_engines.llama.context import LlamaContext
from scene_r1_engines.manifest import MANIFEST, manifest_to_toml, read_manifest
from scene_r1_engines.reasoner import Finish

pytest.importorskip("llama_cpp")

HELD = {1: 0.0, 2: 1.5, 3: 2.0}


def settled(model: Path, cache: Path | None, held: dict[int, float] | None = None, **settings: object) -> LlamaReasoner:
    """A reasoner at the end of its stream. held: times by id; the id is also the seed of the picture."""
    reasoner = open_tiny(model, cache=None if cache is None else str(cache), **settings)
    for keyframe_id, time_s in (held or HELD).items():
        reasoner.watch(keyframe_id, picture(keyframe_id), time_s)
    assert reasoner.settle()
    return reasoner


def kept(cache: Path, suffix: str) -> list[Path]:
    return sorted(cache.glob(f"*{suffix}"))


@pytest.fixture
def cache(tiny_model: Path, tmp_path: Path) -> Path:
    """One that a run has filled."""
    folder = tmp_path / "cache"
    with settled(tiny_model, folder) as reasoner:
        assert reasoner.encodes == 3
    return folder


@pytest.fixture(scope="module")
def expected(tiny_model: Path) -> np.ndarray:
    """The logits of a question without any cache."""
    with settled(tiny_model, None) as reasoner:
        return question_logits(reasoner)


@pytest.mark.parametrize("name", ["tiny_model", "tiny_video_model"])
def test_a_second_run_encodes_nothing_and_decodes_nothing(
    name: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model: Path = request.getfixturevalue(name)
    with settled(model, tmp_path) as first:
        logits, written = question_logits(first), first.when("the mug", QUICK)

    def decodes(*_: object) -> None:
        raise AssertionError("the prefix was decoded again")

    with monkeypatch.context() as patch:
        patch.setattr(LlamaContext, "decode_rows", decodes)
        second = settled(model, tmp_path)
    with second:
        assert second.encodes == 0
        assert second.prefix.cells == second.context.cells > 0
        assert np.array_equal(question_logits(second), logits)
        again = second.when("the mug", QUICK)
        assert (again.text, again.confidence) == (written.text, written.confidence)
        second.forget(2)
        assert second.settle()
        with settled(model, None, {1: 0.0, 3: 2.0}) as fresh:
            assert np.array_equal(question_logits(second), question_logits(fresh))


def test_the_prefix_is_kept_also_where_it_was_up_to_date_before_the_stream_ended(
    tiny_model: Path, tmp_path: Path
) -> None:
    with open_tiny(tiny_model, cache=str(tmp_path), encode_every_s=0.0) as reasoner:
        reasoner.watch(1, picture(1), 0.0)
        assert reasoner.settle(10.0)
        assert not kept(tmp_path, ".state")
        assert reasoner.settle()
        assert len(kept(tmp_path, ".state")) == 1


@pytest.mark.parametrize(
    ("settings", "encodes"),
    [({"kv_type": "f16"}, 0), ({"flash_attention": True}, 0), ({"batch": 64}, 0), ({"image_pixels": 84 * 84}, 3)],
)
def test_other_settings_are_served_no_prefix_that_was_made_under_these(
    tiny_model: Path, cache: Path, settings: dict[str, object], encodes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[str] = []
    monkeypatch.setattr(LlamaContext, "load", lambda self, path, seq, cells: bool(loads.append(path)))
    with settled(tiny_model, cache, **settings) as cached, settled(tiny_model, None, **settings) as fresh:
        assert cached.encodes == encodes
        assert not loads
        assert np.array_equal(question_logits(cached), question_logits(fresh))


def test_other_pictures_times_and_ways_to_say_the_time_are_made_anew(
    tiny_model: Path, tiny_video_model: Path, cache: Path
) -> None:
    for model, held, encodes in (
        (tiny_model, {1: 0.0, 2: 1.5, 4: 2.0}, 1),
        (tiny_model, {1: 0.0, 2: 1.6, 4: 2.0}, 0),
        (tiny_video_model, {1: 0.0, 2: 1.6, 4: 2.0}, 0),
    ):
        with settled(model, cache, held) as cached, settled(model, None, held) as fresh:
            assert cached.encodes == encodes
            assert np.array_equal(question_logits(cached), question_logits(fresh))


def test_another_vision_tower_is_served_nothing(tiny_model: Path, cache: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(tiny_model, other)
    manifest = read_manifest(other)
    renamed = replace(manifest.mmproj, sha256="0" * 64)
    (other / MANIFEST).write_text(manifest_to_toml(replace(manifest, mmproj=renamed)))
    with settled(other, cache, verify_files=False) as reasoner:
        assert reasoner.encodes == 3


def flipped(path: Path) -> None:
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 4
    path.write_bytes(whole)


def header_flipped(path: Path) -> None:
    whole = bytearray(path.read_bytes())
    whole[9] ^= 0xFF  # the number of rows of an embedding
    path.write_bytes(whole)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "truncated": lambda path: os.truncate(path, path.stat().st_size // 2),
    "cut in its header": lambda path: os.truncate(path, 20),
    "empty": lambda path: path.write_bytes(b""),
    "one bit flipped": flipped,
    "header changed": header_flipped,
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"x"),
    "pickled": lambda path: path.write_bytes(pickle.dumps({"rows": [1.0]})),
    "an array of another shape": lambda path: np.save(path.open("wb"), np.zeros((3, 5))),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "gone": lambda path: path.unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("suffix", [".embedding", ".state", ".json"])
def test_a_damaged_file_is_a_miss_and_is_made_again(
    tiny_model: Path, cache: Path, expected: np.ndarray, suffix: str, damage: Callable[[Path], object]
) -> None:
    damaged = kept(cache, suffix)[0]
    damage(damaged)
    with settled(tiny_model, cache) as reasoner:
        assert reasoner.encodes == (1 if suffix == ".embedding" else 0)
        assert np.array_equal(question_logits(reasoner), expected)
    assert not kept(cache, ".part")
    if not damaged.is_dir():
        with settled(tiny_model, cache) as third:
            assert third.encodes == 0
            assert np.array_equal(question_logits(third), expected)


@contextmanager
def disk_full(nbytes: int) -> Iterator[None]:
    """No file may grow beyond so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (nbytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("nbytes", [100, 40_000])  # no embedding fits; the embeddings do, the prefix does not
def test_a_full_disk_costs_the_cache_and_not_the_answer(
    tiny_model: Path, tmp_path: Path, expected: np.ndarray, caplog: pytest.LogCaptureFixture, nbytes: int
) -> None:
    with caplog.at_level(logging.WARNING, "scene_r1_engines.llama.embedding_cache"):
        with disk_full(nbytes):
            reasoner = settled(tiny_model, tmp_path)
            for keyframe_id in HELD:
                reasoner.forget(keyframe_id)
                reasoner.watch(keyframe_id, picture(keyframe_id), HELD[keyframe_id])
                reasoner.settle()
        with reasoner:
            assert np.array_equal(question_logits(reasoner), expected)
            assert reasoner.answer("how many?", QUICK).finish in (Finish.OK, Finish.TRUNCATED)
    assert len(caplog.records) == 1
    assert "is not written" in caplog.text
    assert not kept(tmp_path, ".part")
    assert not kept(tmp_path, ".state")
    with settled(tiny_model, tmp_path) as after:
        assert np.array_equal(question_logits(after), expected)


def test_a_cache_folder_that_goes_away_is_logged_once(
    tiny_model: Path, tmp_path: Path, expected: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "cache"
    with open_tiny(tiny_model, cache=str(folder)) as reasoner:
        folder.rmdir()
        for keyframe_id, time_s in HELD.items():
            reasoner.watch(keyframe_id, picture(keyframe_id), time_s)
        assert reasoner.settle()
        assert np.array_equal(question_logits(reasoner), expected)
    assert len(caplog.records) == 1


def test_a_cache_that_cannot_be_a_folder_is_said_at_once(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("taken")
    with pytest.raises(BadConfig, match="name a folder"):
        open_tiny(tiny_model, cache=str(tmp_path / "file"))


def test_a_camera_that_never_stops_does_not_fill_the_disk(tiny_model: Path, tmp_path: Path) -> None:
    with open_tiny(tiny_model, cache=str(tmp_path), keyframes=2) as reasoner:
        for number in range(20):
            reasoner.watch(number, picture(number), float(number))
            reasoner.settle(number + 2.0)
            if number > 0:
                reasoner.forget(number - 1)
            assert len(kept(tmp_path, ".embedding")) <= 4
            assert not kept(tmp_path, ".part")
        assert reasoner.settle()
        assert len(kept(tmp_path, ".embedding")) == len(kept(tmp_path, ".state")) == 1
        assert reasoner.encodes == 20


def test_what_a_power_cut_left_half_written_is_swept_away_later(tiny_model: Path, tmp_path: Path) -> None:
    old, young = tmp_path / "old.part", tmp_path / "young.part"
    old.write_bytes(b"half")
    young.write_bytes(b"another process is at it")
    os.utime(old, (1.0, 1.0))
    open_tiny(tiny_model, cache=str(tmp_path)).close()
    assert not old.exists()
    assert young.exists()


def test_an_end_without_keyframes_leaves_the_cache_as_it_is(tiny_model: Path, cache: Path) -> None:
    before = sorted(path.name for path in cache.iterdir())
    with open_tiny(tiny_model, cache=str(cache)) as reasoner:
        assert reasoner.settle()
    assert sorted(path.name for path in cache.iterdir()) == before

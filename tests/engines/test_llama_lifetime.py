"""A reasoner's files, its end, and what it holds on to however long it runs."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from tests.engines.tiny_llama import QUICK, changed_model, open_tiny, picture, question_logits

from scene_r1_engines.errors import BadConfig, BadModelFile, EngineFailed
from scene_r1_engines.limits import Limits
from scene_r1_engines.llama.library import library
from scene_r1_engines.llama.model import LlamaModel
from scene_r1_engines.manifest import MANIFEST, manifest_to_toml, read_manifest

pytest.importorskip("llama_cpp")


def vouched_again(folder: Path) -> None:
    """Make the manifest vouch for the files as they are now."""
    manifest = read_manifest(folder)
    facts = {}
    for role in ("text", "mmproj"):
        said = getattr(manifest, role)
        whole = (folder / said.file).read_bytes()
        facts[role] = replace(said, sha256=hashlib.sha256(whole).hexdigest(), bytes=len(whole))
    renewed = replace(manifest, **facts, mmproj_for_sha256=facts["text"].sha256)
    (folder / MANIFEST).write_text(manifest_to_toml(renewed))


def floats_of(path: Path, tensor: str) -> np.ndarray:
    """(n,) float32 of a GGUF file's tensor, to be written to."""
    gguf = pytest.importorskip("gguf")
    (found,) = (one for one in gguf.GGUFReader(path, "r").tensors if one.name == tensor)
    return np.memmap(path, np.float32, "r+", int(found.data_offset), (int(found.n_elements),))


@pytest.mark.parametrize("tensor", ["blk.1.ffn_norm.weight", "v.blk.0.ln1.weight"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_a_failure_and_no_answer(
    tiny_model: Path, tmp_path: Path, tensor: str, value: float
) -> None:
    folder = changed_model(tiny_model, tmp_path / "model")
    manifest = read_manifest(folder)
    floats = floats_of(folder / (manifest.mmproj if tensor.startswith("v.") else manifest.text).file, tensor)
    floats[:] = value
    floats.flush()
    vouched_again(folder)
    with open_tiny(folder) as reasoner:
        reasoner.watch(1, picture(1), 0.0)
        reasoner.settle()
        for ask in (reasoner.when, reasoner.answer, lambda question, limits: reasoner.where(question, 1, limits)):
            with pytest.raises(EngineFailed, match="not finite"):
                ask("the mug", QUICK)
        assert reasoner.context.cells == reasoner.prefix.cells


def without_tensor(path: Path, out: Path, tensor: str) -> None:
    """A copy of a GGUF file, sound in itself, without one of its tensors."""
    gguf = pytest.importorskip("gguf")
    reader = gguf.GGUFReader(path, "r")
    writer = gguf.GGUFWriter(out, reader.get_field("general.architecture").contents())
    for field in reader.fields.values():
        if field.name != "general.architecture" and not field.name.startswith("GGUF."):
            of = field.types[-1] if field.types[0] is gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(field.name, field.contents(), field.types[0], of)
    for one in reader.tensors:
        if one.name != tensor:
            writer.add_tensor(one.name, np.array(one.data))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize("role", ["text", "mmproj"])
def test_a_sound_file_that_llama_cpp_cannot_use_is_refused_in_its_own_words(
    tiny_model: Path, tmp_path: Path, role: str
) -> None:
    folder = changed_model(tiny_model, tmp_path / "model")
    file = folder / getattr(read_manifest(folder), role).file
    tensor = {"text": "blk.1.ffn_up.weight", "mmproj": "v.blk.1.attn_out.weight"}[role]
    without_tensor(file, tmp_path / "less", tensor)
    (tmp_path / "less").replace(file)
    vouched_again(folder)
    with pytest.raises(BadModelFile, match=tensor) as refused:
        open_tiny(folder)
    assert Path(refused.value.path).name == file.name
    with open_tiny(tiny_model) as reasoner:  # and the next model is none the worse for it
        reasoner.watch(1, picture(1), 0.0)
        assert reasoner.settle()


def test_what_is_no_model_at_all_is_a_typed_error(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF" + bytes(60))
    mmproj = tiny_model / read_manifest(tiny_model).mmproj.file
    for path in (tmp_path / "model.gguf", tmp_path / "absent.gguf"):
        with pytest.raises(BadModelFile, match="cannot load it"):
            LlamaModel(path, mmproj)


def test_settings_beyond_what_the_model_was_trained_for_are_refused_at_the_start(tiny_model: Path) -> None:
    with pytest.raises(BadConfig, match="trained for 32768: hold fewer keyframes"):
        open_tiny(tiny_model, keyframes=1024, image_pixels=448 * 448)


def test_after_close_everything_is_a_typed_error_and_close_twice_is_fine(tiny_model: Path) -> None:
    reasoner = open_tiny(tiny_model)
    reasoner.watch(1, picture(1), 0.0)
    reasoner.close()
    reasoner.close()
    for call in (
        lambda: reasoner.watch(2, picture(2), 1.0),
        lambda: reasoner.forget(1),
        reasoner.settle,
        lambda: reasoner.when("the mug", QUICK),
        lambda: reasoner.where("the mug", 1, QUICK),
        lambda: reasoner.answer("how many?", QUICK),
    ):
        with pytest.raises(EngineFailed, match="closed"):
            call()


def test_two_reasoners_in_one_process_do_not_know_of_each_other(tiny_model: Path, tiny_video_model: Path) -> None:
    with open_tiny(tiny_model) as alone:
        alone.watch(1, picture(1), 0.0)
        alone.settle()
        expected = question_logits(alone), alone.when("the mug", QUICK).text
    with open_tiny(tiny_model) as one:
        other = open_tiny(tiny_video_model)
        one.watch(1, picture(1), 0.0)
        other.watch(1, picture(2), 3.0)
        assert one.settle()
        assert other.settle()
        other.when("the chair", QUICK)
        assert np.array_equal(question_logits(one), expected[0])
        other.close()
        assert one.when("the mug", QUICK).text == expected[1]


def test_it_stays_as_large_as_it_is_however_long_it_runs(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    llama, alive = library().llama, [0, 0]
    made, freed = llama.llama_sampler_init_grammar, llama.llama_sampler_free
    monkeypatch.setattr(llama, "llama_sampler_init_grammar", lambda *given: (count(alive, 1), made(*given))[1])
    monkeypatch.setattr(llama, "llama_sampler_free", lambda *given: (count(alive, -1), freed(*given))[1])
    with open_tiny(tiny_model, keyframes=2, image_pixels=84 * 84, cache=str(tmp_path)) as reasoner:
        reasoner.watch(-1, picture(0, 84, 84), 0.0)
        reasoner.settle()
        reasoner.when("the mug", Limits(max_tokens=4))
        cells, files = reasoner.context.cells, psutil.Process().num_fds()
        for number in range(500):
            reasoner.watch(number, picture(number % 5, 84, 84), float(number))
            if number % 10 == 0:
                reasoner.settle()
            reasoner.forget(number)
        for number in range(300):
            reasoner.when("the mug", Limits(max_tokens=2, cancelled=lambda at=number: at % 3 == 0))
        assert (reasoner.context.cells, psutil.Process().num_fds()) == (cells, files)
        assert reasoner.prefix.cells == cells
    assert alive[0] == 0
    assert alive[1] > 200


def count(alive: list[int], change: int) -> None:
    alive[0] += change
    alive[1] += abs(change)

"""The exported small model: llama.cpp cuts its texts as it was taught them, and says what torch says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch
from tests.export.checkpoint_parts import CHECKOUT
from tests.export.nano_parts import EXCHANGES, language, lively_model, words

from scene_r1_engines.errors import BadInput, OutputExists
from scene_r1_engines.llama.picture import fit
from scene_r1_engines.manifest import read_manifest
from scene_r1_engines.vouch import vouch
from scene_r1_export.nano.adopt import adopt
from scene_r1_export.nano.checkpoint import new_model, write_checkpoint
from scene_r1_export.nano.export import CARD, export_nano
from scene_r1_export.nano.model.sizes import TINY
from scene_r1_export.nano.words import ANSWER, TIME, WHEN, WHERE, box_answer, window_answer
from scene_r1_export.verify import verify
from scene_r1_export.verify.cases import made_picture

LLAMA_CPP = Path(CHECKOUT) if CHECKOUT else None


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nano") / "checkpoint"
    folder.mkdir()
    write_checkpoint(lively_model(), words(), TINY, folder, "---\nlicense: apache-2.0\n---\nA card.\n")
    return folder


@pytest.fixture(scope="module")
def exported(checkpoint: Path) -> Path:
    out = checkpoint.parent / "exported"
    export_nano(checkpoint, out, quantize=None, llama_cpp=LLAMA_CPP)
    return out


@pytest.fixture(scope="module")
def llama(exported: Path) -> Any:
    from llama_cpp import Llama

    loaded = Llama(str(exported / read_manifest(exported).text.file), vocab_only=True, verbose=False)
    yield loaded
    loaded.close()


def test_the_manifest_speaks_as_the_model_was_taught(exported: Path) -> None:
    manifest = vouch(exported, verify_hashes=True).manifest
    assert (manifest.prompt.when, manifest.prompt.where, manifest.prompt.answer) == (WHEN, WHERE, ANSWER)
    assert (manifest.time.encoding, manifest.time.text) == ("text", TIME.text)
    assert manifest.image.box_space == "abs_resized"
    assert manifest.prompt.pre_tokenizer == "llama-bpe"
    assert (exported / CARD).read_text(encoding="utf-8").endswith("A card.\n")
    assert sorted(path.name for path in exported.iterdir()) == sorted(
        ["manifest.toml", manifest.text.file, manifest.mmproj.file, CARD]
    )


def test_a_frame_is_shown_in_the_size_that_was_taught(exported: Path) -> None:
    rules = read_manifest(exported).image
    for height, width in ((480, 640), (600, 800), (120, 160)):
        assert fit(height, width, rules.patch_multiple, rules.min_pixels, rules.max_pixels) == TINY.picture


def test_llama_cpp_cuts_texts_as_the_model_was_taught_them(llama: Any) -> None:
    said = [language().said(exchange).ids for exchange in EXCHANGES]
    texts = ["".join(words().decode([id], skip_special_tokens=False) for id in ids) for ids in said]
    texts += ["".join(map(str, box_answer((3.0, 17.0, 111.0, 80.0), "blue teapot", TINY.picture)))]
    texts += ["".join(map(str, window_answer(0, 128))), TIME.said(12.4), TIME.said(0.0), "not found", " 1234 x2"]
    texts += ["Wo ist  die\n\n Tasse? I'LL ask 33333 wh-éü 🚀"]
    for ids, text in zip(said, texts, strict=False):
        assert llama.tokenize(text.encode(), add_bos=False, special=True) == ids, text
    for text in texts:
        assert llama.tokenize(text.encode(), add_bos=False, special=True) == language().tokens(text), text


def test_llama_cpp_has_a_token_for_every_number(llama: Any) -> None:
    for n in range(1000):
        assert llama.tokenize(str(n).encode(), add_bos=False, special=True) == [language().numbers[n]]


def test_the_exported_model_says_what_its_checkpoint_says(exported: Path, checkpoint: Path, tmp_path: Path) -> None:
    pictures = []
    for n, size in enumerate(((100, 150), (240, 320))):
        pictures.append(tmp_path / f"{n}.png")
        cv2.imwrite(str(pictures[-1]), made_picture(*size, seed=n))
    report = verify(exported, checkpoint, pictures)
    assert report.faults() == []
    assert len(report.cases) == 3  # each, and both as keyframes


def test_what_is_there_is_not_written_over(exported: Path, checkpoint: Path) -> None:
    before = sorted((path.name, path.stat().st_mtime_ns) for path in exported.iterdir())
    with pytest.raises(OutputExists):
        export_nano(checkpoint, exported, llama_cpp=LLAMA_CPP)
    assert sorted((path.name, path.stat().st_mtime_ns) for path in exported.iterdir()) == before


def test_a_run_goes_on_with_the_weights_of_an_exported_model(exported: Path) -> None:
    model, wanted = new_model(TINY, words(), seed=7), lively_model()
    adopt(model, exported)
    held = dict(wanted.named_parameters())
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter, held[name], rtol=1e-3, atol=1e-4, msg=name)


def test_weights_of_a_model_of_other_sizes_are_refused_and_change_nothing(exported: Path) -> None:
    model = new_model(replace(TINY, width=96), words(), seed=7)
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    with pytest.raises(BadInput, match="a model of other sizes or words"):
        adopt(model, exported)
    assert all(torch.equal(parameter, before[name]) for name, parameter in model.named_parameters())

"""The importance matrix: against a plain recomputation, as a file, and what calibration data must be like."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from scene_r1_engines.errors import BadConfig, BadInput, BadModelFile, EngineFailed, OutputExists
from scene_r1_export.calibration import CHUNK_TOKENS, Calibration, Chunk, PictureRules, read_calibration
from scene_r1_export.imatrix import compute_imatrix
from scene_r1_export.imatrix_file import Imatrix, read_imatrix, write_imatrix

STORY = "The chair stands left of the table. On the table are a cup, a book and 3 pens; the lamp is off.\n"


@pytest.fixture(scope="module")
def calibration(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a text of more than two passes, a picture with a prompt and one without."""
    folder = tmp_path_factory.mktemp("calibration")
    (folder / "story.txt").write_text(STORY * 40, encoding="utf-8")
    rng = np.random.default_rng(5)
    for name, size in (("kitchen.png", (150, 100)), ("hall.jpg", (96, 128))):
        Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize(size).save(folder / name)
    (folder / "kitchen.txt").write_text("Where is the cup?", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a text alone."""
    folder = tmp_path_factory.mktemp("texts")
    (folder / "story.txt").write_text(STORY * 40, encoding="utf-8")
    return folder


RUN_EACH = "import json, sys; from scene_r1_export.cli import main; sys.exit(max(map(main, json.loads(sys.argv[1]))))"


def commands(repository: Path, *each: Sequence[str | Path]) -> subprocess.CompletedProcess[str]:
    """`scene-r1-export imatrix` with each list of arguments, in one process that is not this one: torch stays there."""
    rooms = os.pathsep.join(str(repository / room) for room in ("runtime", "engines", "export"))
    lines = json.dumps([["imatrix", *map(str, arguments)] for arguments in each])
    return subprocess.run(
        [sys.executable, "-c", RUN_EACH, lines],
        env={**os.environ, "PYTHONPATH": rooms, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@dataclass(frozen=True)
class Made:
    """computed: the matrix of texts and pictures. of_texts: that of texts alone. said: what was said about it."""

    computed: Path
    of_texts: Path
    said: dict[str, object]


@pytest.fixture(scope="module")
def made(
    repository: Path, tiny_checkpoint: Path, calibration: Path, texts: Path, tmp_path_factory: pytest.TempPathFactory
) -> Made:
    folder = tmp_path_factory.mktemp("computed")
    both, alone = folder / "both.gguf", folder / "texts.gguf"
    done = commands(
        repository,
        (tiny_checkpoint, "--calibration", texts, "--out", alone, "--chunks", "2"),
        (tiny_checkpoint, "--calibration", calibration, "--out", both, "--chunks", "5", "--json"),
    )
    assert done.returncode == 0, done.stderr
    return Made(both, alone, json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture(scope="module")
def computed(made: Made) -> Path:
    return made.computed


@pytest.fixture(scope="module")
def words(tiny_checkpoint: Path) -> Words:
    return Words(tiny_checkpoint)


class Words:
    """The checkpoint's tokenizer and chat template without transformers, which would bring torch along."""

    def __init__(self, checkpoint: Path) -> None:
        self.tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
        config = json.loads((checkpoint / "tokenizer_config.json").read_text(encoding="utf-8"))
        self.template = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True).from_string(
            config["chat_template"]
        )

    def __call__(self, text: str, *, add_special_tokens: bool, verbose: bool) -> dict[str, list[int]]:
        return {"input_ids": self.tokenizer.encode(text, add_special_tokens=add_special_tokens).ids}

    def apply_chat_template(self, conversation: object, *, add_generation_prompt: bool, tokenize: bool) -> str:
        return self.template.render(messages=conversation, add_generation_prompt=add_generation_prompt)


def rules(folder: Path) -> PictureRules:
    return PictureRules(folder, 28, 56 * 56, "<|image_pad|>")


def chunks(data: Calibration, words: Words, most: int) -> list[Chunk]:
    return list(data.chunks(words, rules(data.folder), most))


def attention_input(checkpoint: Path, tokens: tuple[int, ...]) -> NDArray[np.float64]:
    """What the first block's attention is given for words alone: their embeddings after RMSNorm."""
    weights = load_file(checkpoint / "model.safetensors")
    [embeddings] = [value for name, value in weights.items() if name.endswith("embed_tokens.weight")]
    [norm] = [value for name, value in weights.items() if name.endswith(".layers.0.input_layernorm.weight")]
    rows = embeddings[list(tokens)].astype(np.float64)
    return rows / np.sqrt((rows**2).mean(1, keepdims=True) + 1e-6) * norm


def test_the_matrix_of_a_layer_is_the_mean_square_of_its_input(
    tiny_checkpoint: Path, made: Made, texts: Path, words: Words
) -> None:
    passes = chunks(read_calibration(texts), words, 2)
    assert [len(one.tokens) for one in passes] == [CHUNK_TOKENS, CHUNK_TOKENS]
    expected = attention_input(tiny_checkpoint, passes[0].tokens + passes[1].tokens)
    matrix = read_imatrix(made.of_texts)
    for name in ("blk.0.attn_q.weight", "blk.0.attn_k.weight", "blk.0.attn_v.weight"):
        assert matrix.counts[name] == [2 * CHUNK_TOKENS]
        np.testing.assert_allclose(matrix.sums[name][0], (expected**2).sum(0), rtol=1e-4)
        np.testing.assert_allclose(matrix.weights()[name], (expected**2).mean(0), rtol=1e-4)
    assert matrix.datasets == (texts.name,)


def test_the_command_says_what_it_computed(made: Made) -> None:
    matrix = read_imatrix(made.computed)
    assert made.said == {
        "out": str(made.computed),
        "chunks": matrix.chunk_count,
        "pictures": 2,
        "tokens": int(matrix.counts["blk.0.attn_q.weight"][0]),
        "tensors": 14,
        "never_activated": [],
    }


def test_every_matrix_of_every_block_is_in_the_file_with_its_rows_length(computed: Path, tiny_checkpoint: Path) -> None:
    config = json.loads((tiny_checkpoint / "config.json").read_text())["text_config"]
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    expected = {
        f"blk.{block}.{name}.weight": inner if name == "ffn_down" else hidden
        for block in range(config["num_hidden_layers"])
        for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    }
    matrix = read_imatrix(computed)
    assert {name: sums.shape[1] for name, sums in matrix.sums.items()} == expected
    assert len({counts[0] for counts in matrix.counts.values()}) == 1


def test_layers_with_one_input_share_its_sums_and_others_do_not(computed: Path) -> None:
    sums = read_imatrix(computed).sums
    for block in ("blk.0", "blk.1"):
        np.testing.assert_array_equal(sums[f"{block}.attn_q.weight"], sums[f"{block}.attn_v.weight"])
        np.testing.assert_array_equal(sums[f"{block}.ffn_gate.weight"], sums[f"{block}.ffn_up.weight"])
        assert not np.array_equal(sums[f"{block}.attn_q.weight"], sums[f"{block}.ffn_gate.weight"])


def test_pictures_and_their_prompts_are_counted_as_the_model_sees_them(
    computed: Path, calibration: Path, words: Words
) -> None:
    passes = chunks(read_calibration(calibration), words, 5)
    assert int(read_imatrix(computed).counts["blk.0.attn_q.weight"][0]) == sum(len(one.tokens) for one in passes)
    pad = words.tokenizer.token_to_id("<|image_pad|>")
    for one in passes[:2]:
        assert one.picture is not None
        assert one.tokens.count(pad) == one.picture.shape[0] * one.picture.shape[1] // 28**2
    assert "Where is the cup?" in words.tokenizer.decode(list(passes[1].tokens))


def test_the_file_has_the_keys_and_tensors_of_llama_imatrix(computed: Path, calibration: Path) -> None:
    reader = gguf.GGUFReader(computed)
    keys = {name: field.contents() for name, field in reader.fields.items() if not name.startswith("GGUF.")}
    assert keys == {
        "general.type": "imatrix",
        "imatrix.datasets": [calibration.name],
        "imatrix.chunk_count": 5,
        "imatrix.chunk_size": 512,
    }
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    assert tensors["blk.1.ffn_down.weight.in_sum2"].shape.tolist() == [512, 1]
    assert tensors["blk.1.ffn_down.weight.counts"].shape.tolist() == [1, 1]
    assert {tensor.tensor_type.name for tensor in reader.tensors} == {"F32"}


def test_a_matrix_survives_its_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    matrix = Imatrix(
        {"b": rng.random((1, 8), np.float32), "a": rng.random((3, 4), np.float32)},
        {"b": np.array([5], np.float32), "a": np.array([2, 0, 9], np.float32)},
        ("one", "two"),
        7,
        256,
    )
    write_imatrix(tmp_path / "m.gguf", matrix)
    back = read_imatrix(tmp_path / "m.gguf")
    assert (back.datasets, back.chunk_count, back.chunk_size) == (("one", "two"), 7, 256)
    for name in matrix.sums:
        np.testing.assert_array_equal(back.sums[name], matrix.sums[name])
        np.testing.assert_array_equal(back.counts[name], matrix.counts[name])
    np.testing.assert_allclose(back.weights()["b"], matrix.sums["b"][0] / 5, rtol=1e-6)
    np.testing.assert_array_equal(back.weights()["a"][4:8], np.ones(4))  # an expert that no token came to


def test_an_empty_matrix_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(EngineFailed, match="no tensor was activated"):
        write_imatrix(tmp_path / "m.gguf", Imatrix({}, {}, (), 0, 512))
    assert not list(tmp_path.iterdir())


def write_tensors(path: Path, kind: str, tensors: dict[str, NDArray[np.float32]]) -> None:
    writer = gguf.GGUFWriter(path, "imatrix")
    writer.add_type(kind)
    writer.add_array("imatrix.datasets", ["x"])
    writer.add_uint32("imatrix.chunk_count", 1)
    writer.add_uint32("imatrix.chunk_size", 512)
    for name, values in tensors.items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


ONES, COUNT = np.ones((1, 8), np.float32), np.ones((1, 1), np.float32)


@pytest.mark.parametrize(
    ("kind", "tensors", "said"),
    [
        ("model", {"a.in_sum2": ONES, "a.counts": COUNT}, 'general.type is not "imatrix"'),
        ("imatrix", {"a.in_sum2": ONES}, "only one of .in_sum2 and .counts for a"),
        ("imatrix", {"a.in_sum2": ONES, "a.counts": COUNT, "b.counts": COUNT}, "only one of .* for b"),
        ("imatrix", {"a.counts": COUNT}, "no tensor that ends with .in_sum2"),
        ("imatrix", {"a.in_sum2": ONES * np.nan, "a.counts": COUNT}, "not finite"),
        ("imatrix", {"a.in_sum2": ONES * np.inf, "a.counts": COUNT}, "not finite"),
        ("imatrix", {"a.in_sum2": -ONES, "a.counts": COUNT}, "below 0"),
        ("imatrix", {"a.in_sum2": ONES, "a.counts": -COUNT}, "no count can have"),
        ("imatrix", {"a.in_sum2": ONES, "a.counts": COUNT * np.nan}, "no count can have"),
        ("imatrix", {"a.in_sum2": ONES, "a.counts": np.ones((3, 1), np.float32)}, "no multiple of its 3 counts"),
        ("imatrix", {"a.in_sum2": ONES.astype(np.float16), "a.counts": COUNT}, "must be F32"),
    ],
)
def test_a_file_that_is_no_good_matrix_is_refused(
    tmp_path: Path, kind: str, tensors: dict[str, NDArray[np.float32]], said: str
) -> None:
    path = tmp_path / "bad.gguf"
    write_tensors(path, kind, tensors)
    with pytest.raises(BadModelFile, match=said):
        read_imatrix(path)


def test_a_truncated_matrix_and_one_of_the_old_format_are_refused(computed: Path, tmp_path: Path) -> None:
    whole = computed.read_bytes()
    path = tmp_path / "cut.gguf"
    for content in (b"", whole[:30], whole[: len(whole) // 2], whole[:-40], b"\x0e\x00\x00\x00" + bytes(60)):
        path.write_bytes(content)
        with pytest.raises(BadModelFile):
            read_imatrix(path)
    with pytest.raises(BadModelFile, match="cannot be read"):
        read_imatrix(tmp_path / "none.gguf")


def test_what_the_texts_leave_of_the_passes_is_shared_among_them(tmp_path: Path, words: Words) -> None:
    (tmp_path / "a.txt").write_text(STORY * 200, encoding="utf-8")
    (tmp_path / "b.txt").write_text(STORY * 200, encoding="utf-8")
    (tmp_path / "c.txt").write_text(STORY, encoding="utf-8")
    passes = chunks(read_calibration(tmp_path), words, 5)
    assert [len(one.tokens) for one in passes[:4]] == [CHUNK_TOKENS] * 4
    assert len(passes) == 5
    assert words.tokenizer.decode(list(passes[4].tokens)) == STORY


def test_a_text_longer_than_a_piece_loses_no_word_between_pieces(
    tmp_path: Path, words: Words, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scene_r1_export.calibration.PIECE_CHARACTERS", 700)
    (tmp_path / "a.txt").write_text(STORY * 60, encoding="utf-8")
    passes = chunks(read_calibration(tmp_path), words, 100)
    assert words.tokenizer.decode([token for one in passes for token in one.tokens]) == STORY * 60
    assert all(len(one.tokens) == CHUNK_TOKENS for one in passes[:-1])


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", b"caf\xe9 " * 100, r"a\.txt is not UTF-8 text \(byte 3\)"),
        ("a.png", b"\x89PNG\r\n\x1a\n broken", r"a\.png is no picture"),
    ],
)
def test_a_calibration_file_that_cannot_be_used_is_named(
    tmp_path: Path, words: Words, name: str, content: bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput, match=said):
        chunks(read_calibration(tmp_path), words, 5)


def test_pictures_that_cannot_be_used_are_named(tmp_path: Path, words: Words) -> None:
    picture = tmp_path / "a.png"
    Image.new("RGB", (4000, 10)).save(picture)
    with pytest.raises(BadInput, match=r"a\.png: .*aspect ratio"):
        chunks(read_calibration(tmp_path), words, 5)
    Image.new("RGB", (64, 64)).save(picture)
    whole = picture.read_bytes()
    picture.write_bytes(whole[:60])
    with pytest.raises(BadInput, match=r"a\.png is no picture"):
        chunks(read_calibration(tmp_path), words, 5)
    picture.write_bytes(whole)
    for prompt, said in (
        ("<|image_pad|> where?", "stands for a picture"),
        ("", "1 to 2000"),
        ("x" * 2001, "1 to 2000"),
    ):
        (tmp_path / "a.txt").write_text(prompt)
        with pytest.raises(BadInput, match=said):
            chunks(read_calibration(tmp_path), words, 5)


def test_a_folder_without_calibration_data_is_refused(tiny_checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="has no"):
        compute_imatrix(tiny_checkpoint, tmp_path)
    with pytest.raises(BadInput, match="is not a folder"):
        compute_imatrix(tiny_checkpoint, tmp_path / "none")
    with pytest.raises(BadConfig, match="chunks must be in"):
        compute_imatrix(tiny_checkpoint, tmp_path, 0)


def test_what_is_no_checkpoint_is_refused_before_torch_is_loaded(calibration: Path, tmp_path: Path) -> None:
    with pytest.raises(BadModelFile, match=r"config\.json"):
        compute_imatrix(tmp_path, calibration)


def test_the_command_refuses_to_write_over_a_file_before_it_works(
    repository: Path, tiny_checkpoint: Path, calibration: Path, tmp_path: Path
) -> None:
    out = tmp_path / "mine.gguf"
    out.write_bytes(b"mine")
    done = commands(repository, (tiny_checkpoint, "--calibration", calibration, "--out", out))
    assert done.returncode == OutputExists.exit_code == 2
    assert "already there" in done.stderr
    assert out.read_bytes() == b"mine"
    assert os.listdir(tmp_path) == ["mine.gguf"]

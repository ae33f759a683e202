"""Scene-R1 nano as the model of whoever names none: which words name it, who says so, and that its files are there."""

from __future__ import annotations

import io
import json
import shutil
import sys
from pathlib import Path

import pytest
from benchmarks.grounding import __main__ as grounding
from tests.runtime.block_walk import record

import scene_r1_engines.nano
from scene_r1.cli import main
from scene_r1.cli.asking import NANO_ANSWERS
from scene_r1.config import Config
from scene_r1.doctor import Probes, extras
from scene_r1.grounder import model_name, open_grounder
from scene_r1_engines.errors import BadModelFile
from scene_r1_engines.manifest import MANIFEST, manifest_to_toml, read_manifest
from scene_r1_engines.nano import model_folder, nano_model
from scene_r1_engines.vouch import vouch

SHIPPED = scene_r1_engines.nano.FOLDER
MOST_BYTES = 12 << 20
SMALL = ["--isolation", "inline", "--threads", "1", "--image-pixels", "12544", "--no-think", "--max-tokens", "32"]
PROBES = Probes.of_this_machine()


@pytest.fixture
def stand_in(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model with random weights in the place of nano."""
    monkeypatch.setattr(scene_r1_engines.nano, "FOLDER", tiny_model)
    return tiny_model


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("nano") / "walk"
    record(path, 3)
    return path


def test_what_is_shipped_is_whole_small_and_what_its_manifest_says() -> None:
    folder = nano_model()
    assert folder == SHIPPED
    found = vouch(folder)
    assert (found.manifest.family, found.manifest.image.grounding_pixels) == ("qwen2_5_vl", None)
    assert found.manifest.text.bytes + found.manifest.mmproj.bytes <= MOST_BYTES
    card = (folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "synthetic" in card


def test_what_is_shipped_answers_in_its_form(walk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["ask", str(walk), "where is the red block?", "--isolation", "inline", "--json"])
    said = capsys.readouterr()
    answer = json.loads(said.out.splitlines()[-1])
    assert code in (0, 3, 4)  # a walk unlike those it knows may be too hard for it, but never a fault
    assert answer["engine"]["model"] == read_manifest(SHIPPED).name
    assert NANO_ANSWERS in said.err.splitlines()


def test_every_file_of_it_is_packed(repository: Path) -> None:
    names = {path.name for path in SHIPPED.iterdir() if path.suffix not in (".py", "")}
    manifest = read_manifest(SHIPPED)
    assert names == {MANIFEST, manifest.text.file, manifest.mmproj.file, "MODEL_CARD.md"}
    packed = (repository / "pyproject.toml").read_text(encoding="utf-8")
    assert all(f'"nano/{pattern}"' in packed for pattern in (MANIFEST, "*.gguf", "MODEL_CARD.md"))
    assert all(one.file.endswith(".gguf") for one in (manifest.text, manifest.mmproj))


@pytest.mark.parametrize("named", [None, "nano"])
def test_no_name_and_its_own_name_mean_it(named: str | None, stand_in: Path) -> None:
    assert model_folder(named) == stand_in


@pytest.mark.parametrize("named", ["./nano", "nano/", "NANO", Path("nano")])
def test_a_folder_called_nano_is_named_otherwise_than_by_that_word(named: str | Path, stand_in: Path) -> None:
    assert model_folder(named) == Path(named)


def test_the_word_means_it_where_a_folder_has_that_name_too(
    walk: Path, stand_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "nano"
    shutil.copytree(stand_in, other)
    said = (other / MANIFEST).read_text(encoding="utf-8")
    (other / MANIFEST).write_text(said.replace(read_manifest(other).name, "another"), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert model_name(Config(), "nano") == model_name(Config()) == read_manifest(stand_in).name
    assert model_name(Config(), "./nano") == "another"


def test_who_names_no_model_is_told_which_one_answers(walk: Path, stand_in: Path, capsys) -> None:
    for named in ([], ["--model", "nano"]):
        main(["ask", str(walk), "how many?", "--task", "vqa", *named, *SMALL, "--json"])
        said = capsys.readouterr()
        assert said.err.splitlines().count(NANO_ANSWERS) == 1
        assert json.loads(said.out.splitlines()[-1])["engine"]["model"] == read_manifest(stand_in).name


def test_who_names_another_model_is_not_told_of_it(walk: Path, tiny_model: Path, capsys) -> None:
    main(["ask", str(walk), "how many?", "--task", "vqa", "--model", str(tiny_model), *SMALL])
    assert "nano" not in capsys.readouterr().err


def test_a_chat_uses_it_too(walk: Path, stand_in: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"/vqa how many?\n"), encoding="utf-8"))
    assert main(["chat", str(walk), *SMALL, "--json"]) == 0
    said = capsys.readouterr()
    assert said.err.splitlines().count(NANO_ANSWERS) == 1
    assert json.loads(said.out)["engine"]["model"] == read_manifest(stand_in).name


@pytest.mark.parametrize("lost", [MANIFEST, "text-F32.gguf", "mmproj-F32.gguf"])
def test_an_installation_without_it_is_told_what_is_lacking_and_what_to_do(
    lost: str, walk: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    broken = shutil.copytree(tiny_model, tmp_path / "broken")
    (broken / lost).unlink()
    monkeypatch.setattr(scene_r1_engines.nano, "FOLDER", broken)
    with pytest.raises(BadModelFile, match="install scene-r1-edge again") as caught:
        open_grounder(Config())
    assert caught.value.path == str(broken / lost)
    assert main(["ask", str(walk), "where is it?"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--model FOLDER" in line
    assert main(["demo", "--out", str(tmp_path / "out")]) == 2
    assert not (tmp_path / "out").exists()
    (check,) = extras.nano(PROBES)
    assert (check.state, str(broken / lost) in check.detail, bool(check.mend)) == ("missing", True, True)


def test_the_doctor_names_it_and_notices_a_damaged_file(
    stand_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (check,) = extras.nano(PROBES)
    assert (check.state, check.required) == ("ok", False)
    assert read_manifest(stand_in).name in check.detail
    damaged = shutil.copytree(stand_in, tmp_path / "damaged")
    text = damaged / read_manifest(damaged).text.file
    data = bytearray(text.read_bytes())
    data[-1] ^= 1
    text.write_bytes(data)
    monkeypatch.setattr(scene_r1_engines.nano, "FOLDER", damaged)
    (check,) = extras.nano(PROBES)
    assert (check.state, bool(check.mend)) == ("broken", True)


def test_a_name_that_would_move_the_cursor_is_shown_plainly(
    walk: Path, tiny_model: Path, tmp_path: Path, capsys
) -> None:
    rude = shutil.copytree(tiny_model, tmp_path / "rude")
    manifest = read_manifest(rude)
    object.__setattr__(manifest, "name", "a\x1b[2Jb")
    (rude / MANIFEST).write_text(manifest_to_toml(manifest), encoding="utf-8")
    main(["ask", str(walk), "how many?", "--task", "vqa", "--model", str(rude), *SMALL])
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "model     a [2Jb" in out


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--model", "nano"], "nano"),
        (["--reasoner", "llama_cpp"], "nano"),
        (["--model", "./nano"], "./nano"),
        ([], None),  # guesses
        (["--reasoner", "openai"], None),
    ],
)
def test_the_accuracy_benchmark_takes_the_word_and_writes_it_down(
    arguments: list[str], named: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str | None] = []

    def run(start, parser, argv) -> int:
        args = parser.parse_args(argv)
        grounding.config_of(args)
        seen.append(args.model)
        return 0

    monkeypatch.setattr(grounding, "run", run)
    assert grounding.main(arguments) == 0
    assert seen == [named]

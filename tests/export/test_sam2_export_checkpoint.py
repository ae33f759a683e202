"""Checkpoints that are not the one asked for, are damaged or hostile: one clear error each, and nothing left behind."""

from __future__ import annotations

import io
import os
import pickle
import sys
import zipfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

torch: Any = pytest.importorskip("torch")
pytest.importorskip("sam2")

from scene_r1_engines.errors import BadConfig, BadModelFile, MissingExtra, OutputExists  # noqa: E402
from scene_r1_export.cli import main  # noqa: E402
from scene_r1_export.fixtures import make_sam2_fixture  # noqa: E402
from scene_r1_export.fixtures.sam2 import random_sam2  # noqa: E402
from scene_r1_export.sam2.checkpoint import load_state, name_of, read_state  # noqa: E402
from scene_r1_export.sam2.config import CONFIGS, config_file  # noqa: E402
from scene_r1_export.sam2.export import Sam2Export, export_sam2  # noqa: E402
from scene_r1_export.sam2.official import official_model  # noqa: E402

CONFIG = "sam2.1_hiera_t"
PATCHES = "image_encoder.trunk.patch_embed.proj.weight"
State = dict[str, Any]


@cache
def small_file() -> bytes:
    """A sound file of torch, as SAM2's are laid out."""
    file = io.BytesIO()
    torch.save({"model": {"a": torch.arange(12.0).reshape(3, 4), "b": torch.ones(5)}}, file)
    return file.getvalue()


@pytest.fixture(scope="module")
def model() -> Any:
    return official_model(CONFIG, 256)


def saved(value: object, path: Path, **how: Any) -> Path:
    torch.save(value, path, **how)
    return path


def test_a_sound_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "sound.pt"
    path.write_bytes(small_file())
    assert read_state(path)["a"].shape == (3, 4)


@given(st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_file_cut_anywhere_is_refused(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "cut.pt"
    path.write_bytes(small_file()[: data.draw(st.integers(0, len(small_file()) - 1))])
    with pytest.raises(BadModelFile, match=r"cut\.pt"):
        read_state(path)


@given(st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_file_is_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    damaged = bytearray(small_file())
    for place in data.draw(st.lists(st.integers(0, len(damaged) - 1), min_size=1, max_size=4)):
        damaged[place] ^= data.draw(st.integers(1, 255))
    path = tmp_path / "damaged.pt"
    path.write_bytes(damaged)
    with suppress(BadModelFile):
        assert all(bool(torch.isfinite(one).all()) for one in read_state(path).values())


class _Runs:
    """What a pickle would run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_nothing_of_a_file_is_run(tmp_path: Path) -> None:
    path = saved({"model": {"a": _Runs(tmp_path / "ran")}}, tmp_path / "hostile.pt")
    with pytest.raises(BadModelFile):
        read_state(path)
    plain = tmp_path / "plain.pt"
    plain.write_bytes(pickle.dumps(_Runs(tmp_path / "ran")))
    with pytest.raises(BadModelFile):
        read_state(plain)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ([torch.ones(2)], "names and tensors"),
        ({"model": {}}, "names and tensors"),
        ({"model": {"a": 1}}, "names and tensors"),
        ({"model": {3: torch.ones(2)}}, "without a name"),
        ({"model": {"a": torch.ones(2, dtype=torch.int64)}}, "plain tensor of floats"),
        ({"model": {"a": torch.tensor([1.0, float("nan")])}}, "not finite"),
        ({"model": {"a": torch.zeros(1).expand(1 << 40)}}, "more numbers than it has bytes"),
    ],
)
def test_a_file_of_something_else_is_refused(value: object, what: str, tmp_path: Path) -> None:
    with pytest.raises(BadModelFile, match=what):
        read_state(saved(value, tmp_path / "other.pt"))


def test_files_that_are_no_archive_of_torch_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadModelFile, match="cannot be read"):
        read_state(tmp_path / "nowhere.pt")
    with pytest.raises(BadModelFile, match="is no file"):
        read_state(tmp_path)
    with pytest.raises(BadModelFile, match="no checkpoint of torch"):
        read_state(saved({"model": {"a": torch.ones(2)}}, tmp_path / "old.pt", _use_new_zipfile_serialization=False))
    packed = tmp_path / "packed.pt"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("packed/data.pkl", bytes(1 << 20))
    with pytest.raises(BadModelFile, match="compressed parts"):
        read_state(packed)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda state: state.pop("no_mem_embed"), "1 missing .no_mem_embed"),
        (lambda state: state.update(extra=torch.ones(1)), "1 unknown .extra"),
        (lambda state: state.update(no_mem_embed=torch.ones(1, 1, 9)), r"no_mem_embed has the shape \(1, 1, 9\)"),
        (lambda state: state.update({"spatial_perceiver.latents": torch.ones(1)}), "EdgeTAM.*perceiver"),
        (lambda state: state.update({"image_encoder.trunk.body.stem": torch.ones(1)}), "EdgeTAM.*RepViT"),
        (lambda state: state.pop("image_encoder.trunk.pos_embed_window"), "EfficientTAM.*plain ViT"),
    ],
)
def test_another_models_tensors_are_named(change: Callable[[State], object], what: str, model: Any) -> None:
    state = dict(model.state_dict())
    change(state)
    with pytest.raises(BadModelFile, match=what):
        load_state(model, state, "some.pt", CONFIG)


@pytest.mark.parametrize("name", ["sam2_hiera_s", "sam2.1_hiera_s"])
def test_a_checkpoint_of_another_size_or_generation_says_which_it_is(name: str, model: Any) -> None:
    state = official_model(name, 256).state_dict()
    assert name_of(state) == name
    with pytest.raises(BadModelFile, match=f"is a {name}, not a {CONFIG}: say --config {name}"):
        load_state(model, state, "some.pt", CONFIG)


def test_every_config_is_one_of_the_package() -> None:
    package = Path(sys.modules["sam2"].__path__[0])
    assert len(CONFIGS) == 8
    assert all((package / file).is_file() for file in CONFIGS.values())


def test_an_unknown_config_names_the_nearest() -> None:
    with pytest.raises(BadConfig, match=r"did you mean sam2\.1_hiera_t\?"):
        config_file("sam2.1_hiera_tiny")


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (["--config", "sam3"], "unknown config"),
        (["--config", CONFIG, "--input-px", "1000"], "--input-px must be one of"),
        (["--config", CONFIG, "--precision", "int8"], "--calibrate RECORDING go together"),
        (["--config", CONFIG, "--calibrate", "somewhere"], "--calibrate RECORDING go together"),
        (["--config", CONFIG], "cannot be read"),
        (["--config", CONFIG, "--precision", "int8", "--calibrate", "nowhere"], "nowhere"),
    ],
)
def test_wrong_words_end_before_the_long_work_and_leave_nothing(
    options: list[str], what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sam2", str(tmp_path / "absent.pt"), *options, "--out", str(tmp_path / "out")]) == 2
    assert what in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_taken_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "kept").touch()
    with pytest.raises(OutputExists):
        export_sam2(Sam2Export(tmp_path / "absent.pt", tmp_path, CONFIG))
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_without_the_package_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sam2.build_sam", None)
    with pytest.raises(MissingExtra, match=r"\[sam2\]"):
        official_model(CONFIG)


def test_a_fixture_is_the_same_for_its_seed_and_shows_something(sam2_checkpoint: Path, tmp_path: Path) -> None:
    state, again = read_state(sam2_checkpoint), random_sam2(CONFIG, 0).state_dict()
    assert all(torch.equal(state[name], again[name]) for name in again)
    layers = [state[f"memory_attention.layers.{index}.linear1.weight"] for index in range(4)]
    assert all(float((layers[0] - one).abs().max()) > 1e-3 for one in layers[1:])
    assert float(state["image_encoder.trunk.pos_embed"].abs().max()) > 1e-3
    with pytest.raises(OutputExists):
        make_sam2_fixture(sam2_checkpoint, CONFIG)
    with pytest.raises(BadConfig, match=r"sam2\.1_hiera_t"):
        make_sam2_fixture(tmp_path / "other.pt", "sam2.1_hiera_xl")
    assert list(tmp_path.iterdir()) == []

"""The recipe's training: settings, what must fit together, and two real steps of trl where it is installed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

from scene_r1.rooms.dataset import make_rooms
from scene_r1_engines.errors import BadConfig, BadInput, MissingExtra, OutputExists
from scene_r1_engines.settings_file import read_settings, to_toml
from scene_r1_export.adapter import read_adapter
from scene_r1_export.checkpoint import read_checkpoint
from scene_r1_export.recipe import train as train_module
from scene_r1_export.recipe.__main__ import main
from scene_r1_export.recipe.asked import asked_rooms
from scene_r1_export.recipe.data import make_data
from scene_r1_export.recipe.data_settings import DataSettings
from scene_r1_export.recipe.layout import layout_of
from scene_r1_export.recipe.rows_file import read_data
from scene_r1_export.recipe.train_settings import LoraSettings, TrainSettings


@pytest.fixture(scope="module")
def data(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows about one tiny room, made for the tiny checkpoint. Do not write to it."""
    folder = tmp_path_factory.mktemp("recipe")
    make_rooms(folder / "rooms", [3], size=(160, 120), frames=16, rate_hz=1.0, questions=4, workers=1)
    settings = DataSettings(k=3, image_pixels=100 * 100, views=1, layout=layout_of(tiny_checkpoint))
    make_data(folder / "data", asked_rooms(folder / "rooms", "train"), settings)
    return folder / "data"


@pytest.fixture
def run(tiny_checkpoint: Path, data: Path, tmp_path: Path) -> TrainSettings:
    """Two steps of two answers to each of two prompts."""
    return TrainSettings(
        model=str(tiny_checkpoint),
        data=str(data),
        out=str(tmp_path / "out"),
        group=2,
        prompts=2,
        micro_batch=2,
        steps=2,
        warmup_steps=0,
        learning_rate=1e-3,
        max_tokens=8,
        precision="float32",
        save_every=1,
    )


def letters(prompts: list[Any], completions: list[Any], **columns: Any) -> list[float]:
    """A reward that random answers differ in: nobody answers in form by chance."""
    return [float(sum(one.isalpha() for one in str(completion))) for completion in completions]


def weights(folder: Path) -> dict[str, Any]:
    return dict(load_file(folder / "model.safetensors"))


def test_settings_read_back_as_they_were_written(run: TrainSettings, tmp_path: Path) -> None:
    settings = replace(run, lora=LoraSettings(16, 32.0, 0.1), beta=0.0)
    (tmp_path / "run.toml").write_text(to_toml(settings), encoding="utf-8")
    assert read_settings(TrainSettings, tmp_path / "run.toml") == settings


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"group": 1}, "group must be 2"),
        ({"steps": 0}, "steps must be"),
        ({"beta": -0.1}, "beta must be"),
        ({"epsilon": 0.0}, "epsilon must be"),
        ({"precision": "float8"}, "precision must be"),
        ({"format_weight": 0.0, "task_weight": 0.0}, "nothing would be learned"),
        ({"warmup_steps": 3}, "warmup_steps <= steps"),
        ({"model": " "}, "model must name"),
    ],
)
def test_settings_that_cannot_be_are_refused(run: TrainSettings, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(BadConfig, match=said):
        replace(run, **changes)


def test_the_answers_of_a_step_are_shared_out_evenly(run: TrainSettings) -> None:
    assert replace(run, group=8, prompts=8, micro_batch=2).accumulation(4) == 8
    with pytest.raises(BadConfig, match="4 answers must be a multiple of micro_batch x processes = 6"):
        run.accumulation(3)


def test_a_setting_with_a_typing_error_names_the_nearest_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.toml").write_text('model = "a"\ndata = "b"\nout = "c"\nbetta = 0.1\n', encoding="utf-8")
    assert main(["train", str(tmp_path / "run.toml")]) == 2
    assert "run.toml, line 4: betta is no setting; did you mean beta?" in capsys.readouterr().err


def test_without_trl_the_extra_is_named_and_nothing_is_made(run: TrainSettings, monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "trl", None)
    with pytest.raises(MissingExtra, match=r"pip install 'scene-r1-edge\[grpo\]'"):
        train_module.train(run)
    assert not Path(run.out).exists()


def test_data_made_for_another_checkpoint_is_refused(run: TrainSettings, data: Path) -> None:
    found = read_data(data)
    train_module.check_layout(run, found)
    other = replace(found, settings=replace(found.settings, layout=replace(found.settings.layout, system="Hello.")))
    with pytest.raises(BadConfig, match=r"asked otherwise \(system\): make it again with --checkpoint"):
        train_module.check_layout(run, other)


@pytest.fixture
def train(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """The real trainer. Skips where trl is not installed."""
    pytest.importorskip("trl")
    monkeypatch.setattr(train_module, "task_reward", letters)
    return train_module.train


def test_two_steps_move_the_weights_and_leave_a_whole_checkpoint(
    run: TrainSettings, train: Callable[..., Path]
) -> None:
    model = train(run)
    assert read_checkpoint(model).architecture.family == "qwen2_5_vl"
    assert layout_of(model) == layout_of(run.model)
    before, after = weights(Path(run.model)), weights(model)
    assert before.keys() == after.keys()
    moved = {name for name in before if (before[name] != after[name]).any()}
    assert moved
    assert not [name for name in moved if "visual." in name]  # the vision tower is frozen
    log = [json.loads(line) for line in (Path(run.out) / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [one["grad_norm"] > 0.0 for one in log if "grad_norm" in one] == [True, True]
    assert all(one["rewards/format_reward/mean"] == 0.0 for one in log if "grad_norm" in one)
    with pytest.raises(OutputExists):
        train(run)


def test_a_run_goes_on_where_it_stopped(run: TrainSettings, train: Callable[..., Path]) -> None:
    with pytest.raises(BadInput, match="no state to go on from"):
        train(run, resume=True)
    train(replace(run, steps=1)).rename(Path(run.out) / "first")
    with pytest.raises(OutputExists, match="--resume"):
        train(run)
    train(run, resume=True)
    assert (Path(run.out) / "run" / "checkpoint-2").is_dir()


def test_an_adapter_is_left_where_an_adapter_was_trained(run: TrainSettings, train: Callable[..., Path]) -> None:
    model = train(replace(run, lora=LoraSettings(rank=4), steps=1, beta=0.0))
    adapter = read_adapter(model)
    assert adapter
    assert not (model / "model.safetensors").exists()

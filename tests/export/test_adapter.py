"""An adapter is merged exactly, and refused when it is of another base or kind."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tests.export.checkpoint_parts import edit_json, write_adapter

from scene_r1_engines.errors import BadModelFile
from scene_r1_export.adapter import read_adapter
from scene_r1_export.checkpoint import read_checkpoint
from scene_r1_export.merge import merge


def test_merged_weights_are_the_sum_in_float32(tiny_checkpoint: Path, tmp_path: Path) -> None:
    parts = {
        name.removeprefix("base_model.model.model.layers."): one
        for name, one in write_adapter(tmp_path / "adapter").items()
    }
    for name in ("merged", "scratch"):
        (tmp_path / name).mkdir()
    checkpoint = read_checkpoint(tiny_checkpoint)
    merge(checkpoint, read_adapter(tmp_path / "adapter"), tmp_path / "merged", tmp_path / "scratch")
    before, after = load_file(tiny_checkpoint / "model.safetensors"), load_file(tmp_path / "merged/model.safetensors")
    assert before.keys() == after.keys()
    scales = {"0.self_attn.q_proj": 8 / 4, "1.mlp.down_proj": 2 / 8}
    for name, weight in before.items():
        place = next((one for one in scales if name == f"model.layers.{one}.weight"), None)
        if place is None:
            np.testing.assert_array_equal(after[name], weight, name)
        else:
            added = parts[f"{place}.lora_B.weight"] @ parts[f"{place}.lora_A.weight"]
            np.testing.assert_allclose(after[name], weight + scales[place] * added, atol=1e-6)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda at: write_adapter(at, width=512), "is of another base: .* is 256x256 there"),
        (lambda at: write_adapter(at, prefix="base_model.model.model.blocks."), "has no linear layer"),
        (lambda at: (at / "adapter_model.safetensors").unlink(), "is missing"),
        (lambda at: os.truncate(at / "adapter_model.safetensors", 2000), "is not whole"),
        (lambda at: edit_json(at / "adapter_config.json", lambda one: one.update(peft_type="IA3")), "only LORA"),
        (lambda at: edit_json(at / "adapter_config.json", lambda one: one.update(bias="all")), "bias is trained"),
        (lambda at: edit_json(at / "adapter_config.json", lambda one: one.update(lora_alpha="8")), "must be a number"),
        (
            lambda at: edit_json(at / "adapter_config.json", lambda one: one.update(layer_replication=[[0, 2]])),
            "is set",
        ),
        (lambda at: save_file({"x.lora_A.weight": np.ones((4, 256))}, at / "adapter_model.safetensors"), "no pair"),
        (lambda at: save_file({"x.lora_E": np.ones(4)}, at / "adapter_model.safetensors"), "of a kind"),
        (lambda at: _with_nan(at), "cannot be merged"),
    ],
)
def test_an_adapter_of_another_base_or_kind_is_refused(
    spoil: Callable[[Path], object], reason: str, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    write_adapter(tmp_path / "adapter")
    spoil(tmp_path / "adapter")
    for name in ("merged", "scratch"):
        (tmp_path / name).mkdir()
    with pytest.raises(BadModelFile, match=reason):
        merge(
            read_checkpoint(tiny_checkpoint),
            read_adapter(tmp_path / "adapter"),
            tmp_path / "merged",
            tmp_path / "scratch",
        )


def _with_nan(folder: Path) -> None:
    tensors = write_adapter(folder)
    next(iter(tensors.values()))[0, 0] = np.nan
    save_file(tensors, folder / "adapter_model.safetensors")

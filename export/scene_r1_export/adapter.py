"""A LoRA adapter in PEFT's format: vetted, and told to PEFT in a form that leaves nothing to its matching of names."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scene_r1_engines.errors import BadModelFile, MissingExtra
from scene_r1_export.json_file import read_json_object

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."
PART = re.compile(r"(.+)\.(lora_A|lora_B)\.weight|(.+)\.(lora_magnitude_vector)(?:\.weight)?")
UNSUPPORTED = ("layer_replication", "target_parameters", "trainable_token_indices", "alora_invocation_tokens")
"""Settings that change what an adapter is; one that is set is refused. All others of PEFT's settings are about
training, or said by the weights, and are left out: some of them name modules to import."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """folder: where it is. config: for PEFT. shapes: of its tensors, by PEFT's names of today's transformers.
    names: those names by the names in the file. parts: {module: {"lora_A": shape, …}}."""

    folder: Path
    config: Mapping[str, Any]
    names: Mapping[str, str]
    parts: Mapping[str, Mapping[str, tuple[int, ...]]]

    @property
    def files(self) -> dict[str, Path]:
        """For a hash over the source."""
        return {name: self.folder / name for name in (CONFIG, WEIGHTS)}


def read_adapter(folder: Path) -> Adapter:
    """Vet an adapter's folder; only headers of the weights are read. Raises BadModelFile, MissingExtra."""
    for name in (CONFIG, WEIGHTS):
        path = folder / name
        if not path.is_file():
            raise BadModelFile(path, "is missing: name the folder of a PEFT adapter (a pickled .bin is never read)")
        if not path.resolve().is_relative_to(folder.resolve()):
            raise BadModelFile(path, "is a link that leads out of the adapter's folder: copy the file there")
    given = read_json_object(folder / CONFIG)
    if str(given.get("peft_type")).upper() != "LORA":
        raise BadModelFile(folder / CONFIG, f"peft_type is {str(given.get('peft_type'))[:40]!r}, only LORA is merged")
    if given.get("bias", "none") != "none":
        raise BadModelFile(folder / CONFIG, "bias is trained in this adapter, which is not merged: only 'none' is")
    for name in UNSUPPORTED:
        if given.get(name):
            raise BadModelFile(folder / CONFIG, f"{name} is set, which is not merged")
    names: dict[str, str] = {}
    parts: dict[str, dict[str, tuple[int, ...]]] = {}
    saved: set[str] = set()
    for key, shape in _shapes(folder / WEIGHTS).items():
        name = _today(key)
        names[key] = PREFIX + name
        if found := PART.fullmatch(name):
            parts.setdefault(found[1] or found[3], {})[found[2] or found[4]] = shape
        elif ".lora_" in name or not name.endswith((".weight", ".bias")):
            raise BadModelFile(folder / WEIGHTS, f"{key[:120]} is of a kind that is not merged")
        else:
            saved.add(name.rpartition(".")[0])
    return Adapter(folder, _config(folder, given, parts, saved), names, parts)


def write_for_peft(adapter: Adapter, folder: Path) -> None:
    """Write the adapter to a folder, under today's names and with the vetted settings only."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(adapter.folder / WEIGHTS)
    save_file({adapter.names[key]: value for key, value in tensors.items()}, folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps(adapter.config), encoding="utf-8")


def _config(
    folder: Path, given: Mapping[str, Any], parts: Mapping[str, Mapping[str, tuple[int, ...]]], saved: set[str]
) -> dict[str, Any]:
    """PEFT's settings, made from the weights: every module by its full name, with its own rank and alpha."""
    if not parts:
        raise BadModelFile(folder / WEIGHTS, "holds no LoRA matrices")
    alpha = given.get("lora_alpha", 8)
    patterns = given.get("alpha_pattern") or {}
    if not isinstance(patterns, dict) or not all(re.fullmatch(r"[\w.]{1,300}", one) for one in patterns):
        raise BadModelFile(folder / CONFIG, "alpha_pattern must be a table of modules' names")
    ranks, alphas = {}, {}
    for module, shapes in parts.items():
        if "lora_A" not in shapes or "lora_B" not in shapes or not shapes["lora_A"] or shapes["lora_A"][0] < 1:
            raise BadModelFile(folder / WEIGHTS, f"{module[:120]} has no pair of lora_A and lora_B")
        ranks[module] = shapes["lora_A"][0]
        own = [value for one, value in patterns.items() if f".{module}".endswith(f".{_today(one)}")]
        alphas[module] = own[0] if own else alpha
    if not all(isinstance(one, int | float) and not isinstance(one, bool) for one in alphas.values()):
        raise BadModelFile(folder / CONFIG, "lora_alpha must be a number")
    return {
        "peft_type": "LORA",
        "r": next(iter(ranks.values())),
        "lora_alpha": alpha,
        "target_modules": sorted(parts),
        "rank_pattern": {re.escape(module): rank for module, rank in ranks.items()},
        "alpha_pattern": {re.escape(module): one for module, one in alphas.items()},
        "modules_to_save": sorted(saved) or None,
        "use_rslora": given.get("use_rslora") is True,
        "use_dora": given.get("use_dora") is True,
        "fan_in_fan_out": given.get("fan_in_fan_out") is True,
        "lora_dropout": 0.0,
        "inference_mode": True,
    }


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    try:
        import safetensors
    except ImportError as error:
        raise MissingExtra("export", "reading an adapter's weights", str(error)) from error
    try:
        with safetensors.safe_open(path, framework="np") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise BadModelFile(path, f"is not whole: {str(error)[:200]}") from None


def _today(key: str) -> str:
    """A tensor's name in today's transformers, without PEFT's prefix. Before 4.52 the text model's layers were
    `model.layers`, and the vision tower `visual`."""
    name = key.removeprefix(PREFIX)
    if name.startswith("visual."):
        return f"model.{name}"
    if name.startswith("model.") and not name.startswith(("model.language_model.", "model.visual.")):
        return f"model.language_model.{name.removeprefix('model.')}"
    return name

"""The importance matrix of a checkpoint: how strongly calibration data uses each column of each weight matrix."""

from __future__ import annotations

import inspect
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scene_r1_engines.errors import BadConfig, BadInput, BadModelFile, BudgetExceeded, EngineFailed, MissingExtra
from scene_r1_export.calibration import CHUNK_TOKENS, Calibration, Chunk, PictureRules, read_calibration
from scene_r1_export.checkpoint import Checkpoint, read_checkpoint
from scene_r1_export.imatrix_file import Imatrix

DEFAULT_CHUNKS = 128
MOST_CHUNKS = 100_000
ARCHITECTURES = {"qwen2_5_vl": "QWEN2VL", "qwen3_vl": "QWEN3VL"}
"""gguf's name for the text model of each family."""
MIN_PIXELS = 56 * 56
ROOM = 1.3
"""Memory that a model takes beside its weights: activations of one pass, the loader's buffers."""


@dataclass(frozen=True, slots=True)
class Computed:
    """idle: tensors that no pass activated; the matrix lacks them. tokens: in all passes. pictures: passes with one."""

    matrix: Imatrix
    idle: tuple[str, ...]
    tokens: int
    pictures: int


class ActivationSums:
    """Forward hooks that sum the squares of what goes into linear layers.

    sums: tensor name → (n,) float64. counts: tensor name → rows (tokens) seen.
    """

    def __init__(self, layers: Mapping[str, Any]) -> None:
        """layers: tensor name → torch.nn.Linear."""
        self.sums: dict[str, NDArray[np.float64]] = {
            name: np.zeros(layer.in_features, np.float64) for name, layer in layers.items()
        }
        self.counts = dict.fromkeys(layers, 0)
        self._last: Any = None
        self._squares = np.zeros(0)
        self._handles = [layer.register_forward_pre_hook(self._hook(name)) for name, layer in layers.items()]

    def close(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._last = None

    def _hook(self, name: str) -> Callable[[Any, tuple[Any, ...]], None]:
        def note(_: Any, inputs: tuple[Any, ...]) -> None:
            given = inputs[0]
            # Query, key and value share one input, gate and up another: its squares are summed once.
            if given is not self._last:
                rows = given.detach().reshape(-1, given.shape[-1]).float()
                self._squares = rows.square().sum(0).double().cpu().numpy()
                self._last = given
            self.sums[name] += self._squares
            self.counts[name] += given.numel() // given.shape[-1]

        return note


def compute_imatrix(
    checkpoint: Path, calibration: Path, chunks: int = DEFAULT_CHUNKS, advance: Callable[[], None] = lambda: None
) -> Computed:
    """Run calibration data through a checkpoint. advance: called after each pass.

    calibration: a folder of texts (*.txt) and pictures, see `read_calibration`. chunks: the most passes of 512 tokens
    (of one picture and its prompt). The whole model is in memory, in its own type, on the GPU where it has room.

    Raises BadConfig, BadInput for the calibration, BadModelFile for the checkpoint, BudgetExceeded where the memory is
    too small, EngineFailed for activations that are not finite, MissingExtra.
    """
    if not 1 <= chunks <= MOST_CHUNKS:
        raise BadConfig(f"chunks must be in 1..{MOST_CHUNKS}, got {chunks}")
    data = read_calibration(calibration)
    vetted = read_checkpoint(checkpoint)
    torch, transformers = _libraries()
    device = _device(torch, vetted)
    with tempfile.TemporaryDirectory(prefix="scene-r1-") as staged:
        vetted.stage(Path(staged))
        model, words, pictures = _load(transformers, staged, vetted)
    model = model.to(device).eval()
    model.lm_head = torch.nn.Identity()  # what it would make of each token is large, and nobody looks at it
    sums = ActivationSums(text_layers(torch, model, vetted))
    try:
        seen = _passes(torch, model, words, pictures, vetted, data, chunks, advance)
    finally:
        sums.close()
    if not seen:
        raise BadInput(f"{calibration} gave no pass: its texts have fewer than 16 tokens each")
    return _computed(sums, seen, data)


def text_layers(torch: Any, model: Any, checkpoint: Checkpoint) -> dict[str, Any]:
    """The linear layers of the text model's blocks, by the names that llama.cpp has for their weights."""
    import gguf

    architecture = gguf.MODEL_ARCH[ARCHITECTURES[checkpoint.architecture.family]]
    names = gguf.get_tensor_name_map(architecture, int(checkpoint.text_config["num_hidden_layers"]))
    layers = {}
    for place, layer in model.named_modules():
        if not isinstance(layer, torch.nn.Linear) or "visual." in place or ".layers." not in place:
            continue
        name = names.get_name(place.replace("language_model.", ""))
        if name is None:
            raise EngineFailed(f"{checkpoint.folder}: llama.cpp has no tensor for the layer {place}")
        layers[f"{name}.weight"] = layer
    return layers


def _passes(
    torch: Any,
    model: Any,
    words: Any,
    pictures: Any,
    checkpoint: Checkpoint,
    data: Calibration,
    chunks: int,
    advance: Callable[[], None],
) -> list[tuple[int, bool]]:
    """(tokens, has a picture) of each pass."""
    pad = int(checkpoint.config["image_token_id"])
    multiple = 2 * checkpoint.architecture.patch_size
    rules = PictureRules(checkpoint.folder, multiple, MIN_PIXELS, str(words.convert_ids_to_tokens(pad)))
    takes_types = "mm_token_type_ids" in inspect.signature(model.forward).parameters
    vocabulary = model.get_input_embeddings().num_embeddings
    seen = []
    for chunk in data.chunks(words, rules, chunks):
        if max(chunk.tokens) >= vocabulary:
            raise BadModelFile(checkpoint.folder, f"its tokenizer gives {max(chunk.tokens)}, past {vocabulary} words")
        inputs = _inputs(torch, pictures, chunk)
        if takes_types and chunk.picture is not None:
            inputs["mm_token_type_ids"] = (inputs["input_ids"] == pad).long()
        try:
            with torch.inference_mode():
                model(**{name: value.to(model.device) for name, value in inputs.items()}, use_cache=False)
        except RuntimeError as error:  # of torch: memory, shapes
            raise EngineFailed(f"{checkpoint.folder}: a pass failed: {str(error)[:300]}") from None
        seen.append((len(chunk.tokens), chunk.picture is not None))
        advance()
    return seen


def _inputs(torch: Any, pictures: Any, chunk: Chunk) -> dict[str, Any]:
    ids = torch.tensor([chunk.tokens])
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if chunk.picture is not None:
        made = pictures(images=[chunk.picture], do_resize=False, return_tensors="pt")
        inputs |= {"pixel_values": made["pixel_values"], "image_grid_thw": made["image_grid_thw"]}
    return inputs


def _computed(sums: ActivationSums, seen: list[tuple[int, bool]], data: Calibration) -> Computed:
    idle = tuple(sorted(name for name, count in sums.counts.items() if count == 0))
    used = sorted(name for name, count in sums.counts.items() if count)
    for name in used:
        if not np.isfinite(sums.sums[name]).all():
            raise EngineFailed(f"the input of {name} is not finite: the checkpoint overflows in its own type")
    matrix = Imatrix(
        {name: sums.sums[name].astype(np.float32)[np.newaxis] for name in used},
        {name: np.array([sums.counts[name]], np.float32) for name in used},
        (data.folder.resolve().name,),
        len(seen),
        CHUNK_TOKENS,
    )
    return Computed(matrix, idle, sum(tokens for tokens, _ in seen), sum(picture for _, picture in seen))


def _libraries() -> tuple[Any, Any]:
    try:
        import_module("gguf")
        return import_module("torch"), import_module("transformers")
    except ImportError as error:
        raise MissingExtra("export", "computing an importance matrix", str(error)) from None


def _device(torch: Any, checkpoint: Checkpoint) -> str:
    needed = checkpoint.weights.bytes * ROOM
    if torch.cuda.is_available() and torch.cuda.mem_get_info()[0] > needed:
        return "cuda"
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if memory < needed:
        raise BudgetExceeded(
            f"{checkpoint.folder} takes about {needed / 1e9:.1f} GB of memory and this machine has {memory / 1e9:.1f}: "
            "compute the importance matrix on a larger one"
        )
    return "cpu"


def _load(transformers: Any, staged: str, checkpoint: Checkpoint) -> tuple[Any, Any, Any]:
    """Model (in its weights' own type), tokenizer and image processor of a staged checkpoint. None of its code runs."""
    if not sys.stderr.isatty():
        transformers.utils.logging.disable_progress_bar()
    # The one without torchvision, where transformers has two.
    processor = getattr(transformers, "Qwen2VLImageProcessorPil", None) or transformers.Qwen2VLImageProcessor
    kind = getattr(transformers, checkpoint.architecture.config_class)
    try:
        words = transformers.AutoTokenizer.from_pretrained(staged, local_files_only=True, trust_remote_code=False)
        pictures = processor.from_pretrained(staged, local_files_only=True)
        model, report = kind.from_pretrained(
            staged, torch_dtype="auto", local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError, ImportError, RuntimeError) as error:
        reason = str(error).replace(staged, str(checkpoint.folder))[:300]
        raise BadModelFile(checkpoint.folder, f"transformers cannot load it: {reason}") from None
    if report["missing_keys"]:
        raise BadModelFile(checkpoint.folder, f"lacks weights such as {min(report['missing_keys'])}")
    return model, words, pictures

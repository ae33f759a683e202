"""What the checkpoint itself makes of a case, by Hugging Face's implementation in float32."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scene_r1_engines.errors import BadModelFile, MissingExtra
from scene_r1_engines.manifest import Manifest, system_block
from scene_r1_export.adapter import read_adapter, write_for_peft
from scene_r1_export.verify.cases import Case
from scene_r1_export.verify.exported import PICTURE


class Reference:
    """A checkpoint folder in transformers, eager attention, on the CPU.

    adapter: vetted, and told to PEFT by the names that the export merges by. Raises MissingExtra without torch,
    transformers or what an adapter needs, BadModelFile for a folder that transformers cannot load and for an adapter
    that cannot be used.
    """

    def __init__(self, checkpoint: str | os.PathLike[str], manifest: Manifest, adapter: str | None = None) -> None:
        lora = None if adapter is None else read_adapter(Path(adapter))
        try:
            self._torch: Any = import_module("torch")
            transformers: Any = import_module("transformers")
            peft: Any = None if lora is None else import_module("peft")
        except ImportError as error:
            raise MissingExtra("export", "comparing with the original implementation", str(error)) from None
        if not sys.stderr.isatty():
            transformers.utils.logging.disable_progress_bar()
        self._manifest = manifest
        folder = os.fspath(checkpoint)
        kind = {
            "qwen2_5_vl": "Qwen2_5_VLForConditionalGeneration",
            "qwen3_vl": "Qwen3VLForConditionalGeneration",
        }[manifest.family]
        # transformers 5 gives this name to the variant without torchvision, 4 has no other one
        processor = getattr(transformers, "Qwen2VLImageProcessorPil", None) or transformers.Qwen2VLImageProcessor
        rules = manifest.image
        try:
            self._model = getattr(transformers, kind).from_pretrained(
                folder, dtype=self._torch.float32, attn_implementation="eager", local_files_only=True
            )
            if lora is not None:
                with TemporaryDirectory(prefix="scene-r1-") as told:
                    write_for_peft(lora, Path(told))
                    self._model = peft.PeftModel.from_pretrained(self._model, told).merge_and_unload()
            self._tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
            self._processor = processor.from_pretrained(
                folder, min_pixels=rules.min_pixels, max_pixels=rules.max_pixels, local_files_only=True
            )
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise BadModelFile(folder, f"transformers cannot load it: {str(error)[:300]}") from None
        self._model.eval()

    def prompt(self, case: Case) -> tuple[NDArray[np.int64], dict[str, Any], list[tuple[int, int]]]:
        """((n,) token ids, the pictures as the model takes them, (height, width) of each resized picture)."""
        processed = self._processor(images=list(case.pictures), return_tensors="pt") if case.pictures else {}
        merge, patch = self._processor.merge_size, self._processor.patch_size
        grids = processed["image_grid_thw"].tolist() if case.pictures else []
        counts = [h * w // merge**2 for _, h, w in grids]
        text = self._text(case, counts)
        ids = self._tokenizer(text, return_tensors="np")["input_ids"][0].astype(np.int64)
        return ids, processed, [(h * patch, w * patch) for _, h, w in grids]

    def tokens(self, ids: Sequence[int]) -> tuple[int, ...]:
        """Ids with PICTURE in place of a patch."""
        patches = (self._model.config.image_token_id, self._model.config.video_token_id)
        return tuple(PICTURE if token in patches else int(token) for token in ids)

    def logits(self, case: Case, after: Sequence[int]) -> NDArray[np.float32]:
        """(1 + len(after), n_vocab) float32: after the prompt and after each token of `after` behind it."""
        torch = self._torch
        prompt, processed, _ = self.prompt(case)
        ids = torch.tensor([[*prompt.tolist(), *after]])
        config = self._model.config
        given: dict[str, Any] = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        kinds = (ids == config.image_token_id).long() + 2 * (ids == config.video_token_id).long()
        if case.video:
            grid = processed["image_grid_thw"][0]
            given["pixel_values_videos"] = processed["pixel_values"]
            given["video_grid_thw"] = torch.stack([torch.tensor([len(case.pictures), grid[1], grid[2]])])
            given["position_ids"] = self._video_positions(case, ids, grid)
        elif case.pictures:
            given |= {"pixel_values": processed["pixel_values"], "image_grid_thw": processed["image_grid_thw"]}
        if case.pictures:
            given["mm_token_type_ids"] = kinds
        with torch.inference_mode():
            out = self._model(**given, logits_to_keep=1 + len(after)).logits[0]
        return np.asarray(out.float().numpy()[-1 - len(after) :], np.float32)

    def _text(self, case: Case, counts: Sequence[int]) -> str:
        opening = system_block(self._manifest.prompt.system)
        if case.video:
            body = f"<|vision_start|>{'<|video_pad|>' * sum(counts)}<|vision_end|>"
        else:
            blocks = [f"<|vision_start|>{'<|image_pad|>' * count}<|vision_end|>" for count in counts]
            said = [self._manifest.time.said(seconds) for seconds in case.seconds]
            body = "".join(f"{s}{b}\n" for s, b in zip(said, blocks, strict=True)) if said else "".join(blocks)
        return f"{opening}<|im_start|>user\n{body}{case.question}<|im_end|>\n<|im_start|>assistant\n"

    def _video_positions(self, case: Case, ids: Any, grid: Any) -> Any:
        """(3, 1, n) rotary positions of a video as Qwen2.5-VL was trained: what follows a video begins after the
        largest of its positions, the times included.

        transformers 5.3 and later continue after the largest *spatial* position instead, so that words may stand before
        the pictures they follow; up to 5.2, and wherever a video is short, both are the same.
        """
        torch = self._torch
        merge = self._processor.merge_size
        rows, columns = int(grid[1]) // merge, int(grid[2]) // merge
        patch = int((ids[0] == self._model.config.video_token_id).nonzero()[0])
        per_second = self._manifest.time.tokens_per_second
        times = torch.tensor([int(seconds * per_second) for seconds in case.seconds])
        block = torch.stack(torch.meshgrid(times, torch.arange(rows), torch.arange(columns), indexing="ij"))
        block = block.reshape(3, -1) + patch
        before = torch.arange(patch).expand(3, -1)
        left = ids.shape[1] - patch - block.shape[1]
        after = (int(block.max()) + 1 + torch.arange(left)).expand(3, -1)
        return torch.cat([before, block, after], dim=1)[:, None, :]

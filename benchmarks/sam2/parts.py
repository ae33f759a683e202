"""Part by part: a module of torch against its graph in ONNX Runtime, on the same numbers, in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import Interleaved, Ratio
from benchmarks.sam2.original import Original
from benchmarks.sam2.race import race
from scene_r1_engines.sam2.manifest import GraphFile, Sam2Manifest
from scene_r1_engines.sam2.module import Module, host

Tensors = tuple[Any, ...]
FRAMES = 64
"""Of the film that memory attention is asked about: enough that the ages of pointers are told as in any long one."""


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """One part both ways. original: the outputs as tensors of torch, in the graph's order. feeds: of the graph."""

    name: str
    original: Callable[[], Tensors]
    module: Module
    graph: GraphFile
    feeds: Mapping[str, NDArray[Any]]

    def ours(self) -> tuple[NDArray[Any], ...]:
        takes = {spec.name for spec in self.graph.takes}  # graphs of SAM 2.0 lack some
        given = self.module.run({name: value for name, value in self.feeds.items() if name in takes})
        return tuple(host(given[spec.name]) for spec in self.graph.gives)

    def error(self) -> float:
        """The greatest difference of an output, over the greatest number in that output of torch."""
        pairs = zip(self.original(), self.ours(), strict=True)
        return max(float(np.abs(a.numpy() - b).max() / np.abs(a.numpy()).max()) for a, b in pairs)


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """One part, timed. error: see Pair."""

    name: str
    times: Interleaved
    error: float

    def ratio(self, clock: str = "cpu") -> Ratio:
        """How many times as long the graph takes as torch; `cpu` is of all threads."""
        return self.times.ratio("ours", "torch", "wall" if clock == "wall" else "cpu")

    def as_dict(self) -> dict[str, Any]:
        """For result.json: every round, in seconds."""
        said: dict[str, Any] = {"relative_error": self.error, "rounds": self.times.rounds}
        for name, timing in self.times.timings.items():
            said[f"{name}_wall_s"], said[f"{name}_cpu_s"] = list(timing.wall_ms / 1e3), list(timing.cpu_ms / 1e3)
        return said | {"cpu_vs_torch": self.ratio().median, "wall_vs_torch": self.ratio("wall").median}


def compared(
    original: Original, manifest: Sam2Manifest, modules: Mapping[str, Module], memories: Sequence[int], rounds: int,
    warmup_rounds: int, seed: int,
) -> Iterator[Compared]:  # fmt: skip
    """Every part in turn; memory attention at each of the numbers of memories, with as many pointers."""
    with original.torch.inference_mode():
        for pair in _pairs(original, manifest, modules, memories, seed):
            error = pair.error()
            candidates = {"torch": pair.original, "ours": pair.ours}
            yield Compared(pair.name, race(candidates, rounds, warmup_rounds=warmup_rounds, seed=seed), error)


def _pairs(
    original: Original, manifest: Sam2Manifest, modules: Mapping[str, Module], memories: Sequence[int], seed: int
) -> Iterator[Pair]:
    """The parts as the predictor calls them; what it calls for two parts at once is cut where the graphs are cut."""
    torch, model = original.torch, original.model
    side, near = manifest.input_px, manifest.input_px // 16
    drawn = np.random.default_rng([seed, side])

    def noise(*shape: int) -> NDArray[np.float32]:
        return drawn.standard_normal(shape, np.float32)

    def pair(name: str, call: Callable[[], Tensors], feeds: Mapping[str, NDArray[Any]]) -> Pair:
        part = name.split(" ")[0]
        return Pair(name, call, modules[part], manifest.graphs[part], feeds)

    image = noise(1, 3, side, side)
    seen = torch.from_numpy(image)
    yield pair("image_encoder", lambda: tuple(model.forward_image(seen)["backbone_fpn"]), {"image": image})

    encoded = model.forward_image(seen)
    s0, s1, feat = encoded["backbone_fpn"]
    _, flat, places, sizes = model._prepare_backbone_features(encoded)
    pictures = {"s0": s0.numpy(), "s1": s1.numpy(), "feat": feat.numpy()}
    one = np.ones(1, np.float32)

    low = noise(1, 1, side // 4, side // 4)
    nothing = {"coords": np.zeros((1, 2, 2), np.float32), "labels": np.full((1, 2), -1, np.int32)}
    flags = {"has_mask": 0 * one, "multimask": one, "alone": 0 * one}
    yield pair(
        "mask_decoder", lambda: _decoded(torch, model, feat, [s0, s1]), pictures | nothing | flags | {"mask_in": low}
    )

    score, logits = torch.ones(1, 1), torch.from_numpy(low)

    def remembered() -> Tensors:
        whole = torch.nn.functional.interpolate(logits, (side, side), mode="bilinear", align_corners=False)
        return (model._encode_new_memory(flat, sizes, whole, score, False)[0],)

    masks = {"feat": feat.numpy(), "mask": low, "score": score.numpy(), "binarize": 0 * one}
    yield pair("memory_encoder", remembered, masks)

    for count in memories:
        mem, ptr = noise(1, count, manifest.memory.channels, near, near), noise(1, count, 256)
        place = model.memory_encoder.position_encoding(torch.from_numpy(mem[:, 0]))
        frames = [
            {
                "maskmem_features": torch.from_numpy(mem[:, i]),
                "maskmem_pos_enc": [place],
                "obj_ptr": torch.from_numpy(ptr[:, i]),
            }
            for i in range(count)
        ]
        yield pair(
            f"memory_attention {count}",
            partial(_attended, model, flat, places, sizes, frames),
            {"feat": feat.numpy(), **_recalled(manifest, mem, ptr)},
        )


def _decoded(torch: Any, model: Any, feat: Any, high: list[Any]) -> Tensors:
    """A tracked frame through `_forward_sam_heads` up to the chosen mask; it is enlarged where it is remembered."""
    sparse, dense = model.sam_prompt_encoder(
        points=(torch.zeros(1, 1, 2), -torch.ones(1, 1, dtype=torch.int32)), boxes=None, masks=None
    )
    masks, ious, tokens, score = model.sam_mask_decoder(
        image_embeddings=feat,
        image_pe=model.sam_prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=True,
        repeat_image=False,
        high_res_features=high,
    )
    best = ious.argmax(-1)
    there = (score > 0).float()
    pointer = there * model.obj_ptr_proj(tokens[[0], best]) + (1.0 - there) * model.no_obj_ptr
    hidden = torch.full_like(masks[:, :1], -1024.0)
    low = torch.where(score[:, :, None, None] > 0, masks[[0], best][:, None], hidden)
    return low, ious[[0], best][:, None], pointer, score


def _attended(model: Any, flat: Any, places: Any, sizes: Any, frames: list[dict[str, Any]]) -> Tensors:
    """Frame 0 was prompted, the others were tracked; the next one looks back at all of them."""
    given = {"cond_frame_outputs": {0: frames[0]}, "non_cond_frame_outputs": dict(enumerate(frames[1:], 1))}
    found = model._prepare_memory_conditioned_features(
        len(frames), False, flat[-1:], places[-1:], sizes[-1:], given, FRAMES
    )
    return (found,)


def _recalled(manifest: Sam2Manifest, mem: NDArray[np.float32], ptr: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    """The same for the graph: the prompted frame's memory first, then from the farthest to the nearest; of pointers
    the prompted frame's first, then from the nearest to the farthest."""
    count = mem.shape[1]
    rows = [manifest.memory.slots - 1, *range(count - 2, -1, -1)]
    order = [0, *range(count - 1, 0, -1)]
    ages = np.array([count, *range(1, count)], np.float32) / (manifest.memory.pointers - 1)
    return {"mem": mem, "tpos": np.array(rows, np.int32), "ptr": np.ascontiguousarray(ptr[:, order]), "ptr_t": ages}

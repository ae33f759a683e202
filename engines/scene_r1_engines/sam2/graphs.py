"""The four graphs of a SAM2 as calls with names, whichever backend runs them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scene_r1_engines.errors import BadModelFile, EngineFailed
from scene_r1_engines.sam2.manifest import PARTS, Sam2Manifest
from scene_r1_engines.sam2.memory_bank import Recall
from scene_r1_engines.sam2.module import Module, Value, host
from scene_r1_engines.sam2.picture import to_square
from scene_r1_engines.sam2.prompt_points import ModelPrompt

Plane = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Features:
    """One encoded picture, S = input_px: s0 (1, 32, S/4, S/4), s1 (1, 64, S/8, S/8), feat (1, 256, S/16, S/16) float32;
    where the backend can, they stay on its device."""

    s0: Value
    s1: Value
    feat: Value

    @property
    def nbytes(self) -> int:
        return self.s0.nbytes + self.s1.nbytes + self.feat.nbytes


@dataclass(frozen=True, slots=True)
class Decoded:
    """Masks of B objects. low: (B, S/4, S/4) float32 logits, -1024 where hidden. iou: (B,) float32, as the model rates
    its mask. pointer: (B, 256) float32. score: (B,) float32, logit of being in the picture."""

    low: Plane
    iou: Plane
    pointer: Plane
    score: Plane


class Graphs:
    """The model: encodes pictures, decodes masks, remembers them and attends to what it remembers.

    modules: by the names of PARTS; owned by whoever opened them. Raises BadModelFile where one is missing.
    """

    def __init__(self, manifest: Sam2Manifest, modules: Mapping[str, Module]) -> None:
        for part in PARTS:
            if part not in modules:
                raise BadModelFile(manifest.graphs[part].file, f"the graph of the {part} was not opened")
        self.manifest = manifest
        self._modules = {part: modules[part] for part in PARTS}
        # Graphs of other generations of the model lack some inputs; specs are read once, not on every frame.
        self._takes = {part: frozenset(spec.name for spec in graph.takes) for part, graph in manifest.graphs.items()}

    @property
    def side(self) -> int:
        return self.manifest.input_px

    def encode(self, image: NDArray[np.uint8]) -> Features:
        """The features of a picture (H, W, 3) uint8 RGB."""
        square = to_square(image, self.side, self.manifest.mean, self.manifest.std)
        out = self._run("image_encoder", {"image": square}, keep=("s0", "s1", "feat"))
        return Features(out["s0"], out["s1"], out["feat"])

    def decode(
        self, feat: Value, of: Features, asked: Sequence[ModelPrompt], alone: bool, choose: bool = True
    ) -> Decoded:
        """Masks of objects, one for each of `asked`; all have equally many points.

        feat: (B, 256, S/16, S/16), what memory attention gave, or (1, …) the picture's own for all. alone: whether
        `feat` is to be told that there is no memory. choose: whether masks may be chosen among several, as the model's
        own rules say by the number of points. Raises EngineFailed where the model gives no numbers.
        """
        n, quarter = len(asked), self.side // 4
        rules = self.manifest.masks
        several = choose and (alone or rules.track_multimask)
        multimask = [several and rules.multimask_least <= one.said <= rules.multimask_most for one in asked]
        blank = np.zeros((quarter, quarter), np.float32)
        feeds = {
            "feat": repeated(feat, n),
            "s0": repeated(of.s0, n),
            "s1": repeated(of.s1, n),
            "coords": np.stack([one.coords for one in asked]),
            "labels": np.stack([one.labels for one in asked]),
            "mask_in": np.stack([blank if one.mask_in is None else one.mask_in for one in asked])[:, None],
            "has_mask": np.array([one.mask_in is not None for one in asked], np.float32),
            "multimask": np.array(multimask, np.float32),
            "alone": np.full(n, alone, np.float32),
        }
        out = {name: host(value) for name, value in self._run("mask_decoder", feeds).items()}
        decoded = Decoded(out["low"][:, 0], out["iou"].reshape(n), out["ptr"], out["score"].reshape(n))
        if not (np.isfinite(decoded.low).all() and np.isfinite(decoded.score).all() and np.isfinite(decoded.iou).all()):
            raise EngineFailed(
                f"{self.manifest.mask_decoder.file}: the masks are not finite, as where half precision overflows; "
                "use the graphs in fp32"
            )
        return decoded

    def remember(self, of: Features, masks: Plane, score: Plane, binarize: bool) -> NDArray[np.float16]:
        """Memories (B, C, S/16, S/16) of masks (B, h, w) logits on a picture. score: (B,) as of Decoded."""
        n = len(masks)
        feeds: dict[str, Value] = {
            "feat": repeated(of.feat, n),
            "mask": masks[:, None],
            "score": score[:, None].astype(np.float32),
            "binarize": np.full(n, binarize, np.float32),
        }
        return host(self._run("memory_encoder", feeds)["mem"]).astype(np.float16)

    def attend(self, of: Features, recalls: Sequence[Recall]) -> Value:
        """The picture's features (B, 256, S/16, S/16) in the light of what is recalled of B objects, whose banks are
        of one structure. Raises DeviceOutOfMemory."""
        first = recalls[0]
        feeds: dict[str, Value] = {
            "feat": repeated(of.feat, len(recalls)),
            "mem": np.stack([recall.memories for recall in recalls]),
            "tpos": np.array(first.rows, np.int32),
            "ptr": np.stack([recall.pointers for recall in recalls]),
            "ptr_t": np.array(first.ages, np.float32),
        }
        return self._run("memory_attention", feeds, keep=("feat_mem",))["feat_mem"]

    def _run(self, part: str, feeds: Mapping[str, Value], keep: Collection[str] = ()) -> dict[str, Value]:
        takes = self._takes[part]
        return self._modules[part].run({name: value for name, value in feeds.items() if name in takes}, keep)


def repeated(value: Value, n: int) -> Value:
    """(1, …) for each of n objects; what has n already is left as it is. One object's features stay on the device."""
    if value.shape[0] == n:
        return value
    return np.repeat(host(value), n, axis=0)

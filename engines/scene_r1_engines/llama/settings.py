"""The settings of the llama.cpp reasoner."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace

from scene_r1_engines.errors import BadConfig

KV_TYPES = ("auto", "f32", "f16", "q8_0", "q4_0")
QUESTION_ROOM = 1024
"""Tokens that the words of one question may have, beside the instruction around them and what it may generate."""


@dataclass(frozen=True, slots=True)
class LlamaSettings:
    """model: the folder with a manifest. keyframes: the most that are held; the context is sized for them.
    image_pixels: what a keyframe is resized to, at most; bounded by the manifest's own limits.

    kv_type: of the KV cache; q8_0 and q4_0 need flash_attention. auto: q8_0 where layers are on a GPU, else f16, which
    takes 1.9 times the memory and on a CPU a third of the time. gpu_layers: on the GPU, -1 = all (none where
    llama.cpp was built without one). threads: None leaves one core to the camera. batch: tokens a decode step.
    answer_tokens: the most that one question may generate, whatever its Limits allow.

    encode_after_s: a keyframe is encoded once it has survived so long. encode_every_s: and no more often than this.
    late_encodes: pending keyframes that a question encodes before it is answered.
    cache: a folder in which embeddings and the prefix are kept between runs; None keeps nothing.
    """

    model: str
    keyframes: int = 16
    image_pixels: int = 448 * 448
    kv_type: str = "auto"
    flash_attention: bool = True
    gpu_layers: int = -1
    threads: int | None = None
    batch: int = 512
    answer_tokens: int = 1024
    encode_after_s: float = 2.0
    encode_every_s: float = 1.0
    late_encodes: int = 2
    cache: str | None = None
    verify_files: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.keyframes <= 1024:
            raise BadConfig(f"keyframes must be in 1..1024, got {self.keyframes}")
        if not 784 <= self.image_pixels <= 1 << 26:
            raise BadConfig(f"image_pixels must be in 784..{1 << 26}, got {self.image_pixels}")
        if self.kv_type not in KV_TYPES:
            raise BadConfig(f"kv_type must be one of {', '.join(KV_TYPES)}, got {self.kv_type!r}")
        if self.kv_type in ("q8_0", "q4_0") and not self.flash_attention:
            raise BadConfig(f"kv_type {self.kv_type} needs flash_attention = true")
        if self.threads is not None and not 1 <= self.threads <= 1024:
            raise BadConfig(f"threads must be in 1..1024, got {self.threads}")
        if not 16 <= self.batch <= 1 << 16:
            raise BadConfig(f"batch must be in 16..{1 << 16}, got {self.batch}")
        if not 16 <= self.answer_tokens <= 4096:
            raise BadConfig(f"answer_tokens must be in 16..4096, got {self.answer_tokens}")
        for name in ("encode_after_s", "encode_every_s"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0.0):
                raise BadConfig(f"{name} must be 0 or more seconds, got {value!r}")
        if self.late_encodes < 0:
            raise BadConfig(f"late_encodes must be 0 or more, got {self.late_encodes}")
        if self.gpu_layers < -1:
            raise BadConfig(f"gpu_layers must be -1 for all, or 0 or more, got {self.gpu_layers}")
        if self.cache is not None and not self.cache.strip():
            raise BadConfig("cache must name a folder; leave it out to keep nothing between runs")

    @property
    def working_threads(self) -> int:
        return self.threads or max(1, len(os.sched_getaffinity(0)) - 1)

    def resolved(self, on_gpu: bool) -> LlamaSettings:
        """The same with what `auto` stands for. on_gpu: whether any layer runs there."""
        if self.kv_type != "auto":
            return self
        return replace(self, kv_type="q8_0" if on_gpu and self.flash_attention else "f16")

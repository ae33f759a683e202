"""The settings of the model that is asked, and of what a question may take, as the configuration file says them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from scene_r1_engines.errors import BadConfig
from scene_r1_engines.limits import Limits, never
from scene_r1_engines.llama.settings import LlamaSettings
from scene_r1_engines.reasoner import REASONERS
from scene_r1_engines.settings_file import nearest

ISOLATIONS = ("process", "inline")


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Of the reasoner `openai`; each as in its own settings. url and model have no default: "" names none."""

    url: str = ""
    model: str = ""
    api_key_env: str = ""
    grounding_pixels: int | None = 896 * 896
    min_pixels: int = 56 * 56
    patch_multiple: int = 28
    box_space: str = "abs_resized"
    constrain: str = "json_schema"
    logprobs: bool = True
    picture: str = "jpeg"
    jpeg_quality: int = 92
    connect_timeout_s: float = 5.0
    timeout_s: float = 120.0
    retries: int = 3
    environment_proxy: bool = False

    def settings(self, keyframes: int, image_pixels: int) -> Any:
        """An OpenAiSettings. Raises BadConfig, also where no server is named."""
        for name, option in (("url", "--url"), ("model", "--model-name")):
            if not getattr(self, name):
                raise BadConfig(f"the reasoner openai needs {option}, or reasoner.server.{name} in the settings")
        kind = import_module("scene_r1_engines.openai.settings").OpenAiSettings
        own = {name: getattr(self, name) for name in self.__slots__}
        return kind(keyframes=keyframes, image_pixels=image_pixels, **own)


@dataclass(frozen=True, slots=True)
class ReasonerConfig:
    """name: of a reasoner in the table of engines. isolation: "process" runs a native engine in a process of its own,
    so that it cannot take the camera down with it; "inline" in this one. A server is asked from this one anyway.
    niceness: how much that process gives way to the one with the camera, as nice(1) counts, 0..19.

    The rest as in LlamaSettings (image_pixels for both): its model is named where it is opened, `keyframes` is
    keyframes.k, and its `answer_tokens` is limits.max_tokens.
    """

    name: str = "llama_cpp"
    isolation: str = "process"
    niceness: int = 10
    image_pixels: int = 448 * 448
    kv_type: str = "auto"
    flash_attention: bool = True
    gpu_layers: int = -1
    threads: int | None = None
    batch: int = 512
    encode_after_s: float = 2.0
    encode_every_s: float = 1.0
    late_encodes: int = 2
    cache: str | None = None
    verify_files: bool = True
    server: ServerConfig = field(default_factory=ServerConfig)

    def __post_init__(self) -> None:
        if self.name not in REASONERS:
            raise BadConfig(f"there is no reasoner {self.name[:60]!r}; {nearest(self.name, REASONERS)}")
        if self.isolation not in ISOLATIONS:
            raise BadConfig(f"isolation must be one of {', '.join(ISOLATIONS)}, got {self.isolation[:40]!r}")
        nice = self.niceness
        if isinstance(nice, bool) or not isinstance(nice, int) or not 0 <= nice <= 19:
            raise BadConfig(f"niceness must be a whole number in 0..19, got {nice!r}")
        self.llama("", 1, 512)  # it knows what it takes
        if self.server != ServerConfig():
            named = ServerConfig("http://localhost", "any")
            given = {name: getattr(self.server, name) or getattr(named, name) for name in ("url", "model")}
            rest = {name: getattr(self.server, name) for name in self.server.__slots__ if name not in given}
            ServerConfig(**given, **rest).settings(1, self.image_pixels)

    def llama(self, model: str, keyframes: int, answer_tokens: int) -> LlamaSettings:
        """The settings of the llama.cpp reasoner. model: a folder with a manifest. Raises BadConfig."""
        return LlamaSettings(
            model=model,
            keyframes=keyframes,
            image_pixels=self.image_pixels,
            kv_type=self.kv_type,
            flash_attention=self.flash_attention,
            gpu_layers=self.gpu_layers,
            threads=self.threads,
            batch=self.batch,
            answer_tokens=max(16, answer_tokens),
            encode_after_s=self.encode_after_s,
            encode_every_s=self.encode_every_s,
            late_encodes=self.late_encodes,
            cache=self.cache,
            verify_files=self.verify_files,
        )


@dataclass(frozen=True, slots=True)
class LimitsConfig:
    """max_tokens, think_tokens, think_s: as in Limits, for each call of the model; think_tokens = 0: no thinking.

    search_s: as in Limits; 0: only keyframes of the time that the model said are looked through. timeout_s: of a whole
    question, over all its calls; None: as long as it takes. settle_s: the longest that the end of a recording waits for
    its keyframes to be encoded.
    """

    max_tokens: int = 512
    think_tokens: int = 256
    think_s: float = 20.0
    search_s: float = 10.0
    timeout_s: float | None = 300.0
    settle_s: float = 1800.0

    def __post_init__(self) -> None:
        Limits(None, self.max_tokens, self.think_tokens, self.think_s, search_s=self.search_s)
        for name, seconds in (("timeout_s", self.timeout_s), ("settle_s", self.settle_s)):
            if seconds is not None and not (math.isfinite(seconds) and 0.0 < seconds <= 1e6):
                raise BadConfig(f"{name} must be above 0 and at most 1000000 seconds, got {seconds!r}")

    def from_now(self, cancelled: Callable[[], bool] = never) -> Limits:
        """The limits of a question that is asked now. cancelled: as in Limits."""
        deadline = None if self.timeout_s is None else time.monotonic_ns() + round(self.timeout_s * 1e9)
        return Limits(deadline, self.max_tokens, self.think_tokens, self.think_s, cancelled, self.search_s)

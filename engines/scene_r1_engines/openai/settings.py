"""The settings of the reasoner that asks a server."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from scene_r1_engines.errors import BadConfig
from scene_r1_engines.manifest import BOX_SPACES, TimeRules, check_instructions

CONSTRAINTS = ("json_schema", "json_object", "text")
PICTURE_FORMATS = ("jpeg", "png")


@dataclass(frozen=True, slots=True)
class PromptTexts:
    """What the model is told. system: the system message; "" leaves it out. when, where, answer: the instruction of
    each task with one `{question}` in it, to be used as it is; "" is the default, which also says the form of the
    answer."""

    system: str = "You are a helpful assistant."
    when: str = ""
    where: str = ""
    answer: str = ""

    def __post_init__(self) -> None:
        check_instructions(self.when, self.where, self.answer)


@dataclass(frozen=True, slots=True)
class OpenAiSettings:
    """url: of the API's base, such as "http://127.0.0.1:8000/v1". model: as the server names it.
    api_key_env: the environment variable that holds the key, "" = no key. The key itself is never a setting.

    keyframes: the most that are held. image_pixels: what a keyframe is resized to, at most. grounding_pixels: `where`
    looks at its frame again at this many pixels; None: at what is held. patch_multiple, min_pixels, box_space, time: as
    the server's model has them, see `manifest`; time can only be said as text.
    picture: "jpeg" (with jpeg_quality) or "png", how pictures travel.

    constrain: how the server is told the form of an answer. "json_schema": as OpenAI, vLLM and llama-server have it.
    "json_object": with a `schema` beside it, as llama-cpp-python's own server has it. "text": not at all; the model is
    asked for it, and what it writes is parsed. logprobs: ask for the tokens' probabilities.

    connect_timeout_s: to reach the server. timeout_s: for its whole answer. retries: after the first attempt, where the
    server cannot be reached or says that it is busy; retry_wait_s: before the first of them, doubling. A server that
    took timeout_s is not asked again: it is at work already. environment_proxy: go through the proxy that the
    environment names.
    """

    url: str
    model: str
    api_key_env: str = ""
    keyframes: int = 16
    image_pixels: int = 448 * 448
    grounding_pixels: int | None = 896 * 896
    min_pixels: int = 56 * 56
    patch_multiple: int = 28
    box_space: str = "abs_resized"
    time: TimeRules = field(default_factory=TimeRules)
    prompts: PromptTexts = field(default_factory=PromptTexts)
    constrain: str = "json_schema"
    logprobs: bool = True
    picture: str = "jpeg"
    jpeg_quality: int = 92
    connect_timeout_s: float = 5.0
    timeout_s: float = 120.0
    retries: int = 3
    retry_wait_s: float = 0.5
    environment_proxy: bool = False

    def __post_init__(self) -> None:
        _check_url(self.url)
        if not 1 <= len(self.model) <= 256 or not self.model.isprintable():
            raise BadConfig(f"model must be the server's name for it, got {self.model[:80]!r}")
        if self.api_key_env and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,63}", self.api_key_env):
            # Not shown: who puts the key itself here must not find it in a log.
            raise BadConfig("api_key_env must be the name of an environment variable, not the key itself")
        if not 1 <= self.keyframes <= 1024:
            raise BadConfig(f"keyframes must be in 1..1024, got {self.keyframes}")
        if not 4 <= self.patch_multiple <= 256:
            raise BadConfig(f"patch_multiple must be in 4..256, got {self.patch_multiple}")
        if not self.patch_multiple**2 <= self.min_pixels <= self.image_pixels <= 1 << 26:
            raise BadConfig(
                f"patch_multiple² <= min_pixels <= image_pixels <= {1 << 26} must hold, "
                f"got {self.min_pixels} and {self.image_pixels}"
            )
        if self.grounding_pixels is not None and not self.min_pixels <= self.grounding_pixels <= 1 << 26:
            raise BadConfig(f"grounding_pixels must be in {self.min_pixels}..{1 << 26}, got {self.grounding_pixels}")
        for name, known in (("box_space", BOX_SPACES), ("constrain", CONSTRAINTS), ("picture", PICTURE_FORMATS)):
            value = getattr(self, name)
            if value not in known:
                raise BadConfig(f"{name} must be one of {', '.join(known)}, got {value[:40]!r}")
        if self.time.encoding != "text":
            raise BadConfig("time.encoding must be text: a server cannot be given rotary positions")
        if not 1 <= self.jpeg_quality <= 100:
            raise BadConfig(f"jpeg_quality must be in 1..100, got {self.jpeg_quality}")
        for name in ("connect_timeout_s", "timeout_s", "retry_wait_s"):
            seconds = getattr(self, name)
            if not (math.isfinite(seconds) and 0.0 < seconds <= 3600.0):
                raise BadConfig(f"{name} must be above 0 and at most 3600 seconds, got {seconds!r}")
        if not 0 <= self.retries <= 20:
            raise BadConfig(f"retries must be in 0..20, got {self.retries}")


def _check_url(url: str) -> None:
    """Raises BadConfig unless it is a plain http or https address. It may hold a password, so it is not shown."""
    advice = "url must be the API's base, such as http://127.0.0.1:8000/v1"
    if not url.isascii() or not url.isprintable() or " " in url or len(url) > 2000:
        raise BadConfig(f"{advice}: this one has characters that no address has, or too many")
    try:
        parts = urlsplit(url)
        there = bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise BadConfig(f"{advice}: this one has no valid host or port") from None
    if parts.scheme not in ("http", "https") or not there:
        raise BadConfig(f"{advice}: this one is not http:// or https:// with a host")
    if "@" in parts.netloc:
        raise BadConfig(f"{advice}, without a name or password in it: put the key into an environment variable")
    if "?" in url or "#" in url:
        raise BadConfig(f"{advice}, without ? and #")

"""The keyframes of a reasoner: each goes through the vision tower once, and a KV prefix holds those that did."""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from scene_r1_engines.errors import BadFrame, EngineFailed
from scene_r1_engines.llama.call import Call
from scene_r1_engines.llama.context import LlamaContext, Stopped
from scene_r1_engines.llama.embedding_cache import EmbeddingCache
from scene_r1_engines.llama.model import Embedded, LlamaModel
from scene_r1_engines.llama.picture import check_picture, resized
from scene_r1_engines.llama.prefix import Prefix
from scene_r1_engines.llama.settings import LlamaSettings
from scene_r1_engines.llama.watchlist import Watched, Watchlist
from scene_r1_engines.manifest import ImageRules

Size = tuple[int, int]
"""(height, width) of a picture as the model sees it."""


class Keyframes:
    """The embeddings are what is always valid; the prefix is brought up to date from the first keyframe that changed.

    watchlist: what is held. encodes: images through the vision tower since the start. cache: None keeps nothing between
    runs.
    """

    def __init__(
        self,
        settings: LlamaSettings,
        rules: ImageRules,
        model: LlamaModel,
        context: LlamaContext,
        prefix: Prefix,
        cache: EmbeddingCache | None,
    ) -> None:
        self.watchlist = Watchlist(settings, rules)
        self.encodes = 0
        self._late_encodes = settings.late_encodes
        self._rules = rules
        self._model = model
        self._context = context
        self._prefix = prefix
        self._cache = cache

    def settle(self, now_s: float | None, deadline_ns: int | None) -> bool:
        """As Reasoner.settle. At the end of a stream it also writes the cache, where there is one."""

        def enough() -> bool:
            return deadline_ns is not None and time.monotonic_ns() >= deadline_ns

        while (one := self.watchlist.due(now_s)) is not None:
            self._encode(one, now_s)
            if enough():
                return False
        wanted = self.watchlist.encoded()
        shown = [one.shown for one in wanted]
        if not self._prefix.is_current(shown):
            if enough():
                return False
            if self._cache is not None and not self._prefix.shown:
                self._cache.load_prefix(self._prefix, self._context, wanted)
            if not self._prefix.update(shown, self.embedding, enough=enough):
                return False
        if now_s is None and self._cache is not None:
            if enough():
                return False
            self._cache.save_prefix(self._context, wanted)
        return True

    def ready(self, call: Call) -> list[Watched]:
        """The keyframes that a question is put to, in order of time, after a few that were still pending have been
        encoded. Raises Stopped."""
        for one in self.watchlist.pending()[: self._late_encodes]:
            if call.stop():
                raise Stopped
            self._encode_late(one, call)
        return self.watchlist.encoded()

    def bring_up_to_date(self, wanted: list[Watched], call: Call) -> None:
        """Make the prefix that of these keyframes. Raises Stopped."""
        with call.stage("prefix"):
            self._prefix.update([one.shown for one in wanted], self.embedding, stop=call.stop)

    def look(self, one: Watched, image: NDArray[np.uint8] | None, pixels: int, call: Call) -> tuple[Embedded, Size]:
        """What `where` looks at, and its size: the keyframe's image, where it is given again, at so many pixels, if
        that is more than was encoded; else what was encoded. Raises BadFrame for another picture's image."""
        if image is not None:
            if check_picture(image, one.keyframe_id).shape[:2] != one.size:
                height, width = one.size
                raise BadFrame(
                    f"keyframe {one.keyframe_id} was watched as a picture of {width} x {height} pixels, now it has "
                    f"{image.shape[1]} x {image.shape[0]}: give the same picture"
                )
            size = self.watchlist.picture_size(*one.size, pixels)
            if size[0] * size[1] > one.picture_size[0] * one.picture_size[1]:
                with call.stage("encode"):
                    embedded = self._through_tower(resized(image, size))
                call.encodes += 1
                return embedded, size
        if one.embedded is None:
            self._encode_late(one, call)
        return self.embedding(one.keyframe_id), one.picture_size

    def embedding(self, keyframe_id: int) -> Embedded:
        """That of a keyframe which was encoded."""
        embedded = self.watchlist[keyframe_id].embedded
        assert embedded is not None
        return embedded

    def _encode_late(self, one: Watched, call: Call) -> None:
        with call.stage("encode"):
            if self._encode(one, None):
                call.encodes += 1
                call.late_encodes += 1

    def _encode(self, one: Watched, now_s: float | None) -> bool:
        """Give a keyframe its embedding; returns whether the vision tower had to run for it."""
        assert one.picture is not None
        embedded = None if self._cache is None else self._cache.get(one.digest, self._model.width)
        ran = embedded is None
        if embedded is None:
            embedded = self._through_tower(one.picture)
            if self._cache is not None:
                self._cache.put(one.digest, embedded)
        self.watchlist.note_encoded(one, embedded, now_s)
        return ran

    def _through_tower(self, picture: NDArray[np.uint8]) -> Embedded:
        embedded = self._model.encode(picture)
        self.encodes += 1
        multiple = self._rules.patch_multiple
        if (embedded.ny * multiple, embedded.nx * multiple) != picture.shape[:2]:
            raise EngineFailed(
                f"the vision tower made {embedded.nx} x {embedded.ny} tokens of {picture.shape[1]} x "
                f"{picture.shape[0]} pixels, not one for each {multiple} x {multiple}: its boxes would be wrong"
            )
        return embedded

"""The two files of a model, loaded: a tokenizer, a vision tower, and weights that contexts are made of."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scene_r1_engines.errors import BadModelFile, EngineFailed
from scene_r1_engines.llama.library import library

ALL_LAYERS = 1 << 20
IMAGE_CHUNK = 1


@dataclass(frozen=True, slots=True, eq=False)
class Embedded:
    """One picture after the vision tower. rows: (ny * nx, d) float32, row-major over the merged patches; d is what the
    text model takes in (with deepstack several times its width)."""

    rows: NDArray[np.float32]
    nx: int
    ny: int


class LlamaModel:
    """Loads text and mmproj. Raises BadModelFile where llama.cpp refuses them. A context manager.

    Not for several threads at once. threads: for the vision tower. max_image_tokens: the largest picture that will be
    encoded; pictures come in already resized, so that llama.cpp's own resizing (which letterboxes) has nothing to do.
    """

    def __init__(
        self, text: Path, mmproj: Path, gpu_layers: int = 0, threads: int = 1, max_image_tokens: int = 4096
    ) -> None:
        self._lib = library()
        llama = self._lib.llama
        self.handle = self._vision = None
        self._lib.last_words()  # those of another model would be misleading
        wants = llama.llama_model_default_params()
        wants.n_gpu_layers = ALL_LAYERS if gpu_layers < 0 else gpu_layers
        self.handle = llama.llama_model_load_from_file(os.fsencode(text), wants)
        if not self.handle:
            raise BadModelFile(text, f"llama.cpp cannot load it: {self._lib.last_words() or 'it does not say why'}")
        try:
            self._refuse_recurrent(text)
            self._load_vision(mmproj, gpu_layers != 0, threads, max_image_tokens)
        except BaseException:
            self.close()
            raise
        self.vocab = llama.llama_model_get_vocab(self.handle)
        self.n_vocab = int(llama.llama_vocab_n_tokens(self.vocab))
        self.width = int(llama.llama_model_n_embd_inp(self.handle))
        self.most_positions = int(llama.llama_model_n_ctx_train(self.handle))
        self._room = ctypes.create_string_buffer(512)

    def _refuse_recurrent(self, text: Path) -> None:
        llama = self._lib.llama
        if llama.llama_model_is_recurrent(self.handle) or llama.llama_model_is_hybrid(self.handle):
            raise BadModelFile(
                text,
                "is a recurrent or hybrid model: a keyframe cannot be taken out of its state again. Use a model with "
                "attention alone, such as Qwen2.5-VL or Qwen3-VL",
            )

    def _load_vision(self, mmproj: Path, use_gpu: bool, threads: int, max_image_tokens: int) -> None:
        mtmd = self._lib.mtmd
        wants = mtmd.mtmd_context_params_default()
        wants.use_gpu = use_gpu
        wants.n_threads = threads
        wants.print_timings = False
        wants.warmup = False
        wants.image_min_tokens = 1
        wants.image_max_tokens = max_image_tokens
        self._vision = mtmd.mtmd_init_from_file(os.fsencode(mmproj), self.handle, wants)
        if not self._vision:
            raise BadModelFile(mmproj, f"llama.cpp cannot load it: {self._lib.last_words() or 'it does not say why'}")
        if not mtmd.mtmd_support_vision(self._vision) or not mtmd.mtmd_decode_use_mrope(self._vision):
            raise BadModelFile(mmproj, "is no vision tower of the Qwen-VL kind (pictures with M-RoPE positions)")

    def tokens(self, text: str, special: bool = False) -> list[int]:
        """Token ids. special: whether `<|im_start|>` and the like in it are the tokens of that name; False takes them
        as the words they are, which is how anything from outside must be tokenised."""
        if not text:
            return []
        data = text.encode()
        room = (ctypes.c_int32 * (len(data) + 8))()
        count = self._lib.llama.llama_tokenize(self.vocab, data, len(data), room, len(room), False, special)
        if count < 0:
            raise EngineFailed(f"llama.cpp could not tokenise a text of {len(data)} bytes")
        return list(room[:count])

    def piece(self, token: int) -> bytes:
        """The bytes that a token stands for; may be part of a character."""
        llama = self._lib.llama
        while (count := llama.llama_token_to_piece(self.vocab, token, self._room, len(self._room), 0, True)) < 0:
            self._room = ctypes.create_string_buffer(-count)
        return ctypes.string_at(self._room, count)

    def encode(self, image: NDArray[np.uint8]) -> Embedded:
        """A picture through the vision tower. image: (H, W, 3) uint8 RGB, sides multiples of the patch. Raises
        EngineFailed."""
        mtmd = self._lib.mtmd
        image = np.ascontiguousarray(image)
        height, width = image.shape[:2]
        pixels = image.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
        chunks, bitmap = mtmd.mtmd_input_chunks_init(), mtmd.mtmd_bitmap_init(width, height, pixels)
        try:
            marker = mtmd.mtmd_default_marker()
            prompt = mtmd.mtmd_input_text(marker, len(marker), False, True)
            bitmaps = (mtmd.mtmd_bitmap_p_ctypes * 1)(bitmap)
            if mtmd.mtmd_tokenize(self._vision, chunks, ctypes.byref(prompt), bitmaps, 1) != 0:
                raise EngineFailed(f"llama.cpp could not preprocess a picture: {self._lib.last_words()}")
            for place in range(mtmd.mtmd_input_chunks_size(chunks)):
                chunk = mtmd.mtmd_input_chunks_get(chunks, place)
                if mtmd.mtmd_input_chunk_get_type(chunk) == IMAGE_CHUNK:
                    return self._encode_chunk(chunk)
            raise EngineFailed("llama.cpp made no image tokens of a picture")
        finally:
            mtmd.mtmd_input_chunks_free(chunks)
            mtmd.mtmd_bitmap_free(bitmap)

    def _encode_chunk(self, chunk: object) -> Embedded:
        mtmd = self._lib.mtmd
        if mtmd.mtmd_decode_use_non_causal(self._vision, chunk):
            raise EngineFailed("this model attends to pictures without order, which the engine does not do")
        if mtmd.mtmd_encode_chunk(self._vision, chunk) != 0:
            raise EngineFailed(f"the vision tower failed: {self._lib.last_words()}")
        picture = mtmd.mtmd_input_chunk_get_tokens_image(chunk)
        nx, ny = mtmd.mtmd_image_tokens_get_nx(picture), mtmd.mtmd_image_tokens_get_ny(picture)
        if nx * ny != mtmd.mtmd_input_chunk_get_n_tokens(chunk):
            raise EngineFailed(f"the vision tower gave tokens that are no grid of {nx} x {ny}")
        rows = np.ctypeslib.as_array(mtmd.mtmd_get_output_embd(self._vision), (nx * ny, self.width)).copy()
        rows.flags.writeable = False
        return Embedded(rows, int(nx), int(ny))

    def close(self) -> None:
        """Free everything; contexts made of this model must be closed before."""
        if self._vision:
            self._lib.mtmd.mtmd_free(self._vision)
            self._vision = None
        if self.handle:
            self._lib.llama.llama_model_free(self.handle)
            self.handle = None

    def __enter__(self) -> LlamaModel:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

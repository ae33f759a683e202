"""Calibration data of an importance matrix: a folder of texts and pictures, cut into passes of bounded size."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from scene_r1_engines.errors import BadFrame, BadInput, BadModelFile, MissingExtra
from scene_r1_engines.llama.picture import fit, resized

logger = logging.getLogger(__name__)

CHUNK_TOKENS = 512
"""As llama-imatrix has it."""
FEWEST_TOKENS = 16
"""A shorter rest of a text is left out; llama-imatrix does not count so few either."""
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg")
PICTURE_PIXELS = 448 * 448
"""What the runtime resizes keyframes to, so that the model is calibrated on what it will see."""
MOST_PICTURE_PIXELS = 1 << 26
LONGEST_PROMPT = 2000
PROMPT = "Describe the room, and where each thing is."
PIECE_CHARACTERS = 1 << 20
"""A text is read and tokenised in pieces of so many, so that a large file takes no more memory than a small one."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """One pass. tokens: ids. picture: (H, W, 3) uint8 RGB, sides multiples of the model's patches, or None."""

    tokens: tuple[int, ...]
    picture: NDArray[np.uint8] | None = None


class Words(Protocol):
    """What is asked of a tokenizer of transformers."""

    def __call__(self, text: str, *, add_special_tokens: bool, verbose: bool) -> Any: ...

    def apply_chat_template(self, conversation: Any, *, add_generation_prompt: bool, tokenize: bool) -> Any: ...


@dataclass(frozen=True, slots=True)
class PictureRules:
    """How the model takes pictures. checkpoint: named in errors. multiple: of both sides, one token is that square.
    pad: the word whose copies stand for a picture."""

    checkpoint: Path
    multiple: int
    min_pixels: int
    pad: str


@dataclass(frozen=True, slots=True)
class Calibration:
    """Files of a folder, sorted: pictures with their prompts (None: the default one), and the other texts."""

    folder: Path
    pictures: tuple[tuple[Path, Path | None], ...]
    texts: tuple[Path, ...]

    def chunks(self, words: Words, rules: PictureRules, most: int) -> Iterator[Chunk]:
        """At most `most` passes: each picture is one, and what is left is shared out among the texts.

        Raises BadInput for a file that cannot be used; one file at a time is in memory.
        """
        left = most
        for path, prompt in self.pictures[:most]:
            yield _picture_chunk(path, prompt, words, rules)
            left -= 1
        for index, text in enumerate(self.texts):
            share = -(-left // (len(self.texts) - index))
            for chunk in _text_chunks(text, words, share):
                yield chunk
                left -= 1


def read_calibration(folder: Path) -> Calibration:
    """What a folder offers; contents are looked at later. `a.txt` beside `a.png` is its prompt, not a text.

    Raises BadInput where there is nothing to calibrate with.
    """
    if not folder.is_dir():
        raise BadInput(f"{folder} is not a folder: name one with texts (*.txt) and pictures (*.png, *.jpg)")
    files = sorted(path for path in folder.iterdir() if path.is_file())
    texts = {path.stem: path for path in files if path.suffix == ".txt"}
    pictures = [path for path in files if path.suffix.lower() in PICTURE_SUFFIXES]
    prompts = {path.stem for path in pictures}
    if not texts and not pictures:
        raise BadInput(
            f"{folder} has no *.txt, *.png or *.jpg: put texts and pictures of what the model will see there"
        )
    return Calibration(
        folder,
        tuple((path, texts.get(path.stem)) for path in pictures),
        tuple(path for stem, path in texts.items() if stem not in prompts),
    )


def _text_chunks(path: Path, words: Words, most: int) -> Iterator[Chunk]:
    rest: list[int] = []
    given = 0
    try:
        with path.open(encoding="utf-8", newline="") as file:
            while given < most and (piece := file.read(PIECE_CHARACTERS)):
                rest.extend(words(piece, add_special_tokens=False, verbose=False)["input_ids"])
                whole = min(len(rest) // CHUNK_TOKENS, most - given)
                for begin in range(0, whole * CHUNK_TOKENS, CHUNK_TOKENS):
                    yield Chunk(tuple(rest[begin : begin + CHUNK_TOKENS]))
                given += whole
                del rest[: whole * CHUNK_TOKENS]
    except UnicodeDecodeError as error:
        raise BadInput(f"{path} is not UTF-8 text (byte {error.start}): save it as UTF-8 or take it away") from None
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror or error}") from None
    if given < most and len(rest) >= FEWEST_TOKENS:
        yield Chunk(tuple(rest))
    elif given == 0:
        logger.warning("%s is left out: it has %d tokens, fewer than %d", path, len(rest), FEWEST_TOKENS)


def _picture_chunk(path: Path, prompt: Path | None, words: Words, rules: PictureRules) -> Chunk:
    picture = _picture(path, rules)
    text = PROMPT if prompt is None else _prompt(prompt)
    if rules.pad in text:
        raise BadInput(f"{prompt} holds {rules.pad}, which stands for a picture: take it out")
    message = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]}
    where = rules.checkpoint / "tokenizer_config.json"
    try:
        said = str(words.apply_chat_template([message], add_generation_prompt=True, tokenize=False))
    except (ValueError, TypeError, KeyError) as error:
        raise BadModelFile(where, f"its chat template does not take a picture: {error}") from None
    if said.count(rules.pad) != 1:
        raise BadModelFile(where, f"its chat template writes {rules.pad} {said.count(rules.pad)} times, not once")
    tokens = picture.shape[0] * picture.shape[1] // rules.multiple**2
    ids = words(said.replace(rules.pad, rules.pad * tokens), add_special_tokens=False, verbose=False)["input_ids"]
    return Chunk(tuple(ids), picture)


def _prompt(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(LONGEST_PROMPT + 1).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} cannot be read as UTF-8 text: {error}") from None
    if not 0 < len(text) <= LONGEST_PROMPT:
        raise BadInput(f"{path}: a picture's prompt must have 1 to {LONGEST_PROMPT} characters")
    return text


def _picture(path: Path, rules: PictureRules) -> NDArray[np.uint8]:
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise MissingExtra("export", "reading calibration pictures", str(error)) from None
    try:
        with Image.open(path) as file:
            if file.width * file.height > MOST_PICTURE_PIXELS:
                raise BadInput(f"{path} has {file.width} x {file.height} pixels, more than {MOST_PICTURE_PIXELS}")
            pixels = np.asarray(ImageOps.exif_transpose(file).convert("RGB"), np.uint8)
    except (OSError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadInput(f"{path} is no picture that can be read: {error}") from None
    height, width = pixels.shape[:2]
    try:
        return resized(pixels, fit(height, width, rules.multiple, rules.min_pixels, PICTURE_PIXELS))
    except BadFrame as error:
        raise BadInput(f"{path}: {error}") from None

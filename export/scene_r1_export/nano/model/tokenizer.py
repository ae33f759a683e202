"""The words of the small model: whole words and whole numbers are one token each, all other text is bytes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from scene_r1_export.fixtures.chat_template import WITHOUT_DEFAULT_SYSTEM
from scene_r1_export.fixtures.tokenizer import SPECIAL

SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How Llama 3 cuts text into words. Qwen's cuts numbers into digits, and a coordinate is to be one token here."""
PRE_TOKENIZER = "llama-bpe"
"""llama.cpp's name of it; a word of the vocabulary is then one token whatever the merges are."""
MOST_NUMBER = 999
TAGS = ("<think>", "</think>", "<answer>", "</answer>")
MARKS = (
    "\n", " ", ".", ",", ":", ";", "?", "!", "'", '"', "[", "]", "{", "}", '{"', '"}', '":', '],', ': [', ' [', ' "',
    '",',
    " (", ")", "-", "/", ".\n", "?\n",
)  # fmt: skip
"""Of questions and of JSON."""


def train_tokenizer(texts: Iterable[str]) -> Tokenizer:
    """A tokenizer whose vocabulary is every word of these texts, with and without a blank before it, every number up
    to 999, the bytes and the special tokens; the same for the same set of words."""
    splitter = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    words = {word for text in texts for word in re.findall(r"[A-Za-z]+", text)}
    spaced = {f" {word}" for word in words}
    pieces = {piece for text in (*words, *spaced, *MARKS) for piece, _ in splitter.pre_tokenize_str(text)}
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = list(_number_merges())
    numbers = [str(n) for n in range(10, MOST_NUMBER + 1)]
    more = sorted(pieces - set(alphabet) - set(numbers))
    vocabulary = {piece: id for id, piece in enumerate((*alphabet, *numbers, *more))}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, ignore_merges=True))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = splitter
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in SPECIAL])
    tokenizer.add_tokens([AddedToken(name, special=False, normalized=False) for name in TAGS])
    return tokenizer


def write_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write tokenizer.json and tokenizer_config.json."""
    tokenizer.save(str(folder / "tokenizer.json"))
    settings: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_bos_token": False,
        "add_prefix_space": False,
        "additional_special_tokens": [name for name in SPECIAL if name != "<|endoftext|>"],
        "bos_token": None,
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|im_end|>",
        "errors": "replace",
        "model_max_length": 4096,
        "pad_token": "<|endoftext|>",
        "split_special_tokens": False,
        "unk_token": None,
        "chat_template": WITHOUT_DEFAULT_SYSTEM,
    }
    text = json.dumps(settings, indent=2, ensure_ascii=False) + "\n"
    (folder / "tokenizer_config.json").write_text(text, encoding="utf-8")


def _number_merges() -> Iterator[tuple[str, str]]:
    """Every way in which pairs can make a number of up to three digits."""
    for n in range(10, MOST_NUMBER + 1):
        digits = str(n)
        yield from ((digits[:i], digits[i:]) for i in range(1, len(digits)) if digits[i] != "0" or i == len(digits) - 1)

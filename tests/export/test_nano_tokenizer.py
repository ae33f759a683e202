"""Whole words and whole numbers are one token each, and every text comes back from its tokens."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.export.nano_parts import EXCHANGES, language, words
from tokenizers import Tokenizer

from scene_r1_export.fixtures.tokenizer import SPECIAL
from scene_r1_export.nano.model.tokenizer import TAGS, train_tokenizer
from scene_r1_export.nano.words import GRID, NOT_FOUND, TIME, Language, box_answer, window_answer

PARTS = st.one_of(
    st.text(max_size=12),
    st.integers(0, 99999).map(str),
    st.sampled_from([*TAGS, " ", "\n", "mug", " red", '{"bbox_2d": [', "12s: ", "é", "\u0301", "🚀"]),
)


def test_every_number_up_to_999_is_one_token_wherever_it_stands() -> None:
    numbers = language().numbers
    assert len(set(numbers)) == 1000
    for n in (0, 7, 10, 105, 100, 336, 999):
        for text in (f"{n}s: ", f"[{n}, {n},", f" {n}"):
            assert language().tokens(text).count(numbers[n]) == text.count(str(n)), text


@given(st.lists(PARTS, max_size=8).map("".join))
@settings(max_examples=150, deadline=None)
def test_a_text_comes_back_from_its_tokens(text: str) -> None:
    text = unicodedata.normalize("NFC", text)
    if not any(name in text for name in SPECIAL):
        assert language().text(language().tokens(text)) == text


def test_words_are_one_token_with_a_blank_before_them_and_without() -> None:
    for word in ("mug", "red", "Where", "table", "assistant", "seen"):
        assert len(language().tokens(word)) == len(language().tokens(f" {word}")) == 1, word
    assert len(language().tokens("xylophonist")) == len("xylophonist")  # nobody says it: bytes


def test_an_exchange_is_little_more_than_its_words() -> None:
    said = language().said(EXCHANGES[0])
    assert len(said.ids) < 60
    for name in (*TAGS, "<|im_end|>"):
        assert len(language().tokens(name)) == 1


def test_the_same_words_make_the_same_tokenizer_in_any_order() -> None:
    texts = ["find the mug", "how many balls?", "the red ball"]
    again = train_tokenizer([*reversed(texts), "the mug"])
    assert again.to_str() == train_tokenizer(texts).to_str()
    assert Tokenizer.from_str(words().to_str()).get_vocab() == words().get_vocab()


def test_special_tokens_are_not_shown_but_tags_are() -> None:
    ids = language().tokens("<think>a</think><|im_end|>")
    assert language().text(ids) == "<think>a</think>"


def test_what_needs_a_token_and_has_none_is_named() -> None:
    broken = Tokenizer.from_str(train_tokenizer(["a"]).to_str().replace("<|vision_start|>", "<|vision_begun|>"))
    with pytest.raises(ValueError, match=r"^'<\|vision_start\|>' is \d+ tokens$"):
        Language(broken)


@given(
    st.tuples(*[st.floats(0, 335, allow_nan=False)] * 2),
    st.tuples(*[st.floats(0.5, 300, allow_nan=False)] * 2),
)
@settings(max_examples=100, deadline=None)
def test_an_answered_box_has_an_inside_and_lies_on_the_grid(at: tuple[float, float], size: tuple[float, float]) -> None:
    height, width = 252, 336
    x, y = min(at[0], width - 1.0), min(at[1], height - 1.0)
    parts = box_answer((x, y, min(x + size[0], width), min(y + size[1], height)), "red mug", (height, width))
    x0, y0, x1, y1 = (part for part in parts if isinstance(part, int))
    assert 0 <= x0 < x1 <= width
    assert 0 <= y0 < y1 <= height
    assert all(value % GRID == 0 for value in (x0, y0, x1, y1))
    tokens = [id for part in parts for id in language().tokens(str(part))]
    assert tokens == language().tokens("".join(map(str, parts)))  # the model never sees a cut that text would not have


def test_times_and_windows_are_cut_as_the_whole_text_is() -> None:
    for start, end in ((0, 1), (9, 10), (99, 341)):
        parts = window_answer(start, end)
        pieces = [id for part in parts for id in language().tokens(str(part))]
        assert pieces == language().tokens(f"{start}s to {end}s")
    assert language().tokens(TIME.said(12.4)) == language().tokens("12s: ")
    assert "".join(NOT_FOUND) == "not found"

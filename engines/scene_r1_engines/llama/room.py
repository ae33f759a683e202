"""How much context a reasoner needs: counted once when it is opened, so that no question finds it full."""

from __future__ import annotations

import math

from scene_r1_engines.answer_format.numbers import BOUND
from scene_r1_engines.answer_format.prompts import Prompts
from scene_r1_engines.errors import BadConfig
from scene_r1_engines.llama.conversation import Conversation
from scene_r1_engines.llama.settings import QUESTION_ROOM, LlamaSettings
from scene_r1_engines.manifest import ImageRules

MARKS = 128
"""Cells for the words that are written for the model, and for what joining two texts adds to their tokens."""


def shown_tokens(settings: LlamaSettings, rules: ImageRules) -> int:
    """The most tokens of a keyframe's picture."""
    return min(max(settings.image_pixels, rules.min_pixels), rules.max_pixels) // rules.patch_multiple**2


def largest_tokens(settings: LlamaSettings, rules: ImageRules) -> int:
    """The most tokens of any picture that goes through the vision tower."""
    return max(shown_tokens(settings, rules), (rules.grounding_pixels or 0) // rules.patch_multiple**2)


def context_cells(
    settings: LlamaSettings, rules: ImageRules, conversation: Conversation, prompts: Prompts, most_positions: int
) -> int:
    """Cells for all keyframes with the longest question that is let through, its answer, and a picture looked at alone.

    most_positions: of the model. Raises BadConfig when they do not suffice, even where all pictures are square.
    """
    shown = shown_tokens(settings, rules)
    around = conversation.tokens_around()
    told = (prompts.when_text("", 0.0, BOUND - 3.0), prompts.where_text(""), prompts.answer_text(""))
    asked = max(len(conversation.question(text)) for text in told) + QUESTION_ROOM + settings.answer_tokens + MARKS
    opening = conversation.head().cells
    pictures = 1 if conversation.is_video else settings.keyframes  # those of a video share their rows and columns
    positions = opening + pictures * (around + math.isqrt(shown)) + asked
    if positions > most_positions:
        raise BadConfig(
            f"{settings.keyframes} keyframes of {shown} tokens and a question take {positions} positions; the model "
            f"was trained for {most_positions}: hold fewer keyframes, or make image_pixels or answer_tokens smaller"
        )
    # the opening stands twice: before the keyframes, and before a picture that is looked at alone
    cells = 2 * opening + settings.keyframes * (shown + around) + largest_tokens(settings, rules) + asked
    return -(-cells // 256) * 256

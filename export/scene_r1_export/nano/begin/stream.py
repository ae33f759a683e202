"""What all of the first weights agree on: directions of the residual stream, and strengths of scores."""

import math

from scene_r1_export.nano.model.sizes import Sizes

START, FIRST, ROW, COLUMN, STEADY, WORD = range(6)
"""Directions that nothing else begins in: the mark of `<|vision_start|>`, the mark of the chat's first token, a token's
place, and one that is the same for all tokens of pictures and one for all words: these two tell them apart, and norms
leave tokens of a kind alike."""
OWN = [START, FIRST, ROW, COLUMN, STEADY, WORD]
STEADY_STRENGTH = 4.0
WORD_STRENGTH = 3.0
"""Of the two, in root mean squares of the rest."""
KEY = 3.0
"""Of all pairs of a key that is looked for by its distance."""
OTHERS = -15.0
"""Score of tokens that are not meant."""
FARTHEST = 420
"""Positions that are thought of: a walk of thirty pictures."""


def steady_in(sizes: Sizes) -> float:
    """What a norm makes of the STEADY part of a picture's token."""
    return math.sqrt(sizes.width) * STEADY_STRENGTH / math.hypot(1.0, STEADY_STRENGTH)


def word_in(sizes: Sizes) -> float:
    """What a norm makes of the WORD part of a word."""
    return math.sqrt(sizes.width) * WORD_STRENGTH / math.hypot(1.0, WORD_STRENGTH)

"""How sure an answer is, as one number in [0, 1]."""

from __future__ import annotations

import math
from collections.abc import Sequence


def confidence(
    when: float, where: Sequence[float], agree: int, views: int, spread_m: float, size: tuple[float, float, float]
) -> float:
    """`when * g * agree / (views + 1) * 1 / (1 + spread_m / side_m)`.

    when: the model's confidence in the time. g: the geometric mean of `where`, its confidences in the 2D boxes that
    agree. agree: views that agree, of `views` in which it pointed at something. side_m: the geometric mean of the
    box's sides `size`, metres. So one view alone is worth 1/2, two of two 2/3, three of four 3/5; a spread as large as
    the thing halves it again.

    It rises with when, each of where, agree and size, and falls with views and spread_m. It orders answers; it is not
    a probability, nobody has calibrated it.
    """
    if not where or agree < 1 or views < agree:
        return 0.0
    bounded = [min(max(p, 0.0), 1.0) for p in (when, *where)]
    g = math.exp(sum(math.log(p) for p in bounded[1:]) / len(where)) if min(bounded[1:]) > 0.0 else 0.0
    side_m = math.prod(size) ** (1.0 / 3.0)
    return bounded[0] * g * (agree / (views + 1)) / (1.0 + spread_m / side_m)

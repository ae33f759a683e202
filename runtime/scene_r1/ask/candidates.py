"""Which keyframes of a time window the reasoner is asked to find the thing in."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from scene_r1.memory import Keyframe

MOST_FRAMES = 4
"""Keyframes of the window that are asked about at most, each a call of the model: four outvote a wrong one."""


def candidates(
    keyframes: Sequence[Keyframe], window_s: tuple[float, float], seconds: Callable[[Keyframe], float]
) -> list[Keyframe]:
    """Up to MOST_FRAMES keyframes inside the window, both ends included, spread evenly over those that are; those in
    the middle of it come first, where the thing is most likely whole in the picture.

    Where none lies inside, the one nearest to the window: the model spoke of a time between two keyframes. Empty only
    where there are no keyframes. seconds: of a keyframe, on the window's clock.
    """
    start, end = window_s
    inside = [keyframe for keyframe in keyframes if start <= seconds(keyframe) <= end]
    if not inside:
        return sorted(keyframes, key=lambda one: _off_s(seconds(one), window_s))[:1]
    inside.sort(key=seconds)
    if len(inside) > MOST_FRAMES:
        inside = [inside[round(i * (len(inside) - 1) / (MOST_FRAMES - 1))] for i in range(MOST_FRAMES)]
    middle = (len(inside) - 1) / 2
    return [inside[i] for i in sorted(range(len(inside)), key=lambda i: abs(i - middle))]


def further(
    keyframes: Sequence[Keyframe],
    window_s: tuple[float, float],
    seconds: Callable[[Keyframe], float],
    asked: Sequence[Keyframe],
) -> list[Keyframe]:
    """The keyframes that were not asked, those inside the window and next to it first."""
    middle_s = sum(window_s) / 2.0
    left = [keyframe for keyframe in keyframes if keyframe not in asked]
    left.sort(key=lambda one: (_off_s(seconds(one), window_s), abs(seconds(one) - middle_s)))
    return left


def _off_s(time_s: float, window_s: tuple[float, float]) -> float:
    """How far outside the window a time lies; 0 inside."""
    return max(window_s[0] - time_s, time_s - window_s[1], 0.0)

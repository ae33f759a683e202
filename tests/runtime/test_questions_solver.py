"""Who fits a question: read in hand-made rooms where everybody can see it."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.runtime.asked_blocks import TOP, Block, standing

from scene_r1.rooms.questions import SeenWalk, make_questions
from scene_r1.rooms.questions.answers import answer
from scene_r1.rooms.questions.meaning import Meaning, Noun, Relation
from scene_r1.rooms.questions.naming import could_be_called, could_have_color, listed, plural
from scene_r1.rooms.questions.phrases import a, several
from scene_r1.rooms.questions.sightings import Sightings
from scene_r1.rooms.questions.solver import Solver
from scene_r1_engines.errors import BadInput

CUP = (0.12, 0.12, 0.12)
LAPTOP = Noun("laptop")


def laptop(x: float = 0.0, y: float = 0.0) -> Block:
    return ("laptop", "white", (0.2, 0.15, 0.15), (x, y, TOP))


def mug(color: str, x: float, y: float = 0.0, z: float = TOP, size: tuple[float, float, float] = CUP) -> Block:
    return ("mug", color, size, (x, y, z))


def meant(seen: SeenWalk, relation: Relation | None, *anchors: Noun, noun: Noun = Noun("mug")) -> str | None:  # noqa: B008
    """The colour of what a find question means; None when it is not one thing."""
    thing = Solver.of(seen).only(Meaning("find", noun, relation, anchors))
    return None if thing is None else thing.color


def test_left_and_right_are_told_by_the_picture_and_need_a_clear_margin() -> None:
    seen = standing(laptop(), mug("red", -0.5), mug("blue", 0.5))
    assert meant(seen, "left_of", LAPTOP) == "red"
    assert meant(seen, "right_of", LAPTOP) == "blue"
    assert meant(standing(laptop(), mug("red", -0.22), mug("blue", 0.5)), "left_of", LAPTOP) is None
    assert meant(standing(laptop(), mug("red", -0.5), mug("blue", -0.25)), "left_of", LAPTOP) is None, "a rival"


def test_behind_and_in_front_are_told_by_depth() -> None:
    seen = standing(laptop(0.0, -0.05), mug("red", 0.2, 0.36), mug("blue", -0.2, -0.38))
    assert meant(seen, "behind", LAPTOP) == "red"
    assert meant(seen, "in_front_of", LAPTOP) == "blue"
    assert meant(standing(laptop(), mug("red", 0.2, 0.1), mug("blue", -0.2, -0.3)), "behind", LAPTOP) is None


def test_on_and_under_the_table_are_two_places() -> None:
    seen = standing(laptop(), mug("red", -0.5), mug("blue", 0.3, 0.0, 0.0))
    assert meant(seen, "on", Noun("table")) == "red"
    assert meant(seen, "under", Noun("table")) == "blue"
    half_out = standing(laptop(), mug("red", -0.5), mug("blue", 0.8, 0.0, 0.0))
    assert meant(half_out, "under", Noun("table")) is None, "half of it stands in the open"


def test_next_to_wants_every_rival_much_further_away() -> None:
    assert meant(standing(laptop(-0.6), mug("red", -0.35), mug("blue", 0.7)), "next_to", LAPTOP) == "red"
    assert meant(standing(laptop(-0.6), mug("red", -0.3), mug("blue", 0.05)), "next_to", LAPTOP) is None
    below = standing(laptop(-0.6), mug("red", -0.6, 0.0, 0.45), mug("blue", 0.7))
    assert meant(below, "next_to", LAPTOP) is None, "above and below are not beside"


def test_the_closest_and_the_farthest_are_so_by_a_clear_margin() -> None:
    seen = standing(laptop(-0.6), mug("red", -0.3), mug("blue", 0.6))
    assert meant(seen, "closest_to", LAPTOP) == "red"
    assert meant(seen, "farthest_from", LAPTOP) == "blue"
    assert meant(standing(laptop(), mug("red", -0.4), mug("blue", 0.45)), "closest_to", LAPTOP) is None


def test_between_is_on_the_way_and_not_at_its_ends() -> None:
    ends = (laptop(-0.6), ("bowl", "green", CUP, (0.6, 0.0, TOP)))
    seen = standing(*ends, mug("red", 0.05), mug("blue", 0.0, 1.2, 0.0))
    assert meant(seen, "between", LAPTOP, Noun("bowl")) == "red"
    assert meant(standing(*ends, mug("red", -0.3), mug("blue", 0.3)), "between", LAPTOP, Noun("bowl")) is None


def test_sizes_are_compared_only_when_they_clearly_differ() -> None:
    big = (0.2, 0.2, 0.2)
    seen = standing(mug("red", -0.4, size=big), mug("blue", 0.4))
    assert [meant(seen, r) for r in ("largest", "smallest", "tall", "short", "big")] == [
        "red", "blue", "red", "blue", "red"]  # fmt: skip
    alike = standing(mug("red", -0.4, size=(0.14, 0.14, 0.14)), mug("blue", 0.4))
    assert [meant(alike, r) for r in ("largest", "smallest", "tall")] == [None, None, None]


def test_a_plain_name_is_fair_only_when_no_other_thing_may_be_meant_by_it() -> None:
    assert meant(standing(laptop(), mug("red", 0.4)), None) == "red"
    assert meant(standing(laptop(), mug("red", 0.4), clutter=["cup"]), None) is None, "a cup may be called a mug"
    assert meant(standing(mug("teal", 0.4), mug("green", -0.4)), None, noun=Noun("mug", "green")) is None
    assert meant(standing(mug("red", 0.4), mug("green", -0.4)), None, noun=Noun("mug", "green")) == "green"
    lamp = standing(("lamp", "red", CUP, (0.0, 0.0, TOP)))
    assert meant(lamp, None, noun=Noun("lamp")) is None, "there is one under the ceiling"
    assert meant(lamp, None, noun=Noun("lamp", "red")) == "red"


def test_a_count_is_given_only_when_each_was_seen_or_hidden_for_certain() -> None:
    seen = standing(mug("red", -0.4), mug("blue", 0.4), laptop())
    assert answer(Solver.of(seen), Meaning("count", Noun("mug"))) == "2"
    half = replace(seen, visible=(replace(seen.visible[0], fraction=0.2), *seen.visible[1:]))
    assert answer(Solver.of(half), Meaning("count", Noun("mug"))) is None
    images = [np.where(image == 0, -1, image).astype(np.int16) for image in seen.instance]
    gone = replace(seen, instance=images, visible=(replace(seen.visible[0], fraction=0.0), *seen.visible[1:]))
    assert answer(Solver.of(gone), Meaning("count", Noun("mug"))) == "1"


def test_comparisons_are_answered_by_name_and_refused_when_close() -> None:
    solver = Solver.of(standing(laptop(-0.6), mug("red", -0.3), ("bowl", "green", CUP, (0.6, 0.0, TOP))))
    assert answer(solver, Meaning("closer", LAPTOP, anchors=(Noun("bowl"), Noun("mug")))) == "the mug"
    assert answer(solver, Meaning("distance", anchors=(LAPTOP, Noun("bowl")))) == "1.0"
    assert answer(solver, Meaning("taller", anchors=(Noun("bowl"), Noun("mug")))) is None
    assert answer(solver, Meaning("bigger", anchors=(Noun("bowl"), LAPTOP))) == "the laptop"


@given(st.lists(st.integers(0, 400), min_size=30, max_size=30), st.floats(0.05, 0.6))
@settings(max_examples=40, deadline=None)
def test_windows_hold_every_long_stretch_and_nothing_else(pixels: list[int], step: float) -> None:
    seen = standing(mug("red", 0.0), frames=30)
    images = []
    for count in pixels:
        image = np.full((120, 160), -1, np.int16)
        image[10 : 10 + count // 20, 10:30] = 0  # rows of 20 pixels
        images.append(image)
    sightings = Sightings.of(replace(seen, instance=images, times_s=np.arange(30) * step))
    windows = sorted(sightings.windows_s(0))
    clear = [i for i, count in enumerate(pixels) if (count // 20) * 20 >= 19.2 and count // 20 >= 3.5]
    assert [s.frame for s in sightings.clear(0)] == clear
    assert all(start >= 0.0 and end <= 29 * step and end - start >= 0.5 - 1e-5 for start, end in windows)
    assert all(b[0] - a[1] > 1.0 for a, b in pairwise(windows)), "gaps of a second are bridged"
    for i in clear:
        inside = any(start <= i * step <= end for start, end in windows)
        neighbours = [j for j in clear if abs(j - i) * step <= 0.25]
        assert inside or len(neighbours) * step < 1.0
    ends = {round(t, 5) for window in windows for t in window}
    assert all(any(abs(t - i * step) <= step / 2 + 1e-5 for i in clear) for t in ends)


@given(st.sampled_from(["mug", "beach ball", "ball", "box", "toy car", "waste bin"]), st.text("abc ", max_size=8))
def test_a_thing_is_always_called_by_its_own_name(name: str, other: str) -> None:
    assert could_be_called(name, name)
    assert could_be_called(f"{other.strip()} {name}".strip(), name)
    assert plural(name) != name


def test_words_are_put_as_people_put_them() -> None:
    assert could_be_called("beach ball", "ball")
    assert not could_be_called("ball", "beach ball")
    assert could_be_called("bookcase", "book")
    assert not could_be_called("mug", "bowl")
    assert could_have_color("table", None, "white")
    assert not could_have_color("table", None, "red")
    assert (a(Noun("mug", "orange")), several(Noun("box")), several(Noun(None, "red"))) == (
        "an orange mug", "boxes", "red objects")  # fmt: skip
    assert listed(["a", "b", "c"]) == "a, b and c"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"instance": []}, "without frames"),
        ({"poses": np.zeros((2, 4, 4))}, r"poses \(6, 4, 4\)"),
        ({"times_s": np.zeros(6)}, "grow from frame to frame"),
        ({"times_s": np.array([0, 1, 2, 3, 4, np.nan])}, "finite"),
        ({"poses": np.full((6, 4, 4), np.nan)}, "poses must be finite"),
        ({"instance": [np.zeros((3, 3), np.int16)] * 6}, "frame 0: an instance image"),
        ({"instance": [np.full((120, 160), 77, np.int16)] * 6}, "an id that no thing has: 77"),
        ({"instance": [np.zeros((120, 160), np.float32)] * 6}, "whole numbers"),
        ({"instance": [np.full((120, 160), 9999, np.int16)] * 6}, "ids that no thing has: 9999"),
        ({"visible": ()}, "every object"),
    ],
)
def test_a_walk_whose_parts_disagree_is_refused_by_name(change: dict[str, object], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        make_questions(replace(standing(mug("red", 0.0)), **change), "room", 6)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("count", "seed", "scene"), [(0, 0, "a"), (1001, 0, "a"), (1.5, 0, "a"), (6, -1, "a"), (6, 0, "")]
)
def test_impossible_requests_are_refused(count: int, seed: int, scene: str) -> None:
    with pytest.raises(BadInput):
        make_questions(standing(mug("red", 0.0)), scene, count, seed)

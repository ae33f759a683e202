"""Questions about rooms: each has one answer, and everything that is said about it is so."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from tests.runtime.asked_walks import (
    SEEDS,
    beside,
    box_of,
    clear_frames,
    fitting,
    gap,
    gap_to,
    objects,
    solver,
    stretches,
    walk,
)

from scene_r1.rooms import RoomObject, visibility
from scene_r1.rooms.model.material import COLORS
from scene_r1.rooms.model.splits import split_of
from scene_r1.rooms.questions import FIND_FAMILIES, VQA_FAMILIES, SeenWalk, make_questions
from scene_r1.rooms.questions.draft import Draft, is_held_out
from scene_r1.rooms.questions.make import draft_questions
from scene_r1.rooms.questions.meaning import PICTURE_RELATIONS, Noun
from scene_r1.rooms.questions.naming import plural

pytest.importorskip("embreex")
Asked = list[tuple[SeenWalk, Draft]]


@pytest.fixture(scope="module")
def asked() -> Asked:
    """Two dozen questions of every walk: of nearly all forms that it offers."""
    return [(walk(seed), draft) for seed in SEEDS for draft in draft_questions(solver(seed), 24, seed)]


def of(asked: Asked, *families: str) -> Asked:
    chosen = [(seen, draft) for seen, draft in asked if draft.family in families]
    assert len(chosen) > len(SEEDS) // 4, f"hardly any questions of {families}"
    return chosen


def noun_in(words: str) -> Noun:
    """What `red mug`, `mug` or `red object` stands for."""
    color, _, shape = words.partition(" ")
    if color in COLORS:
        return Noun(None if shape in ("object", "thing") else shape, color)
    return Noun(None if words in ("object", "thing") else words)


def test_every_find_question_means_one_object_by_a_plain_reading_of_the_boxes(asked: Asked) -> None:
    for seen, draft in of(asked, "attribute", "relation"):
        assert fitting(seen, draft.meaning) == {draft.target}, f"room {seen.room.seed}: {draft.text}"


def test_what_is_asked_for_as_absent_is_nowhere_in_the_room_seen_or_not(asked: Asked) -> None:
    for seen, draft in of(asked, "absent"):
        meaning = draft.meaning
        assert fitting(seen, meaning) == set(), f"room {seen.room.seed}: {draft.text}"
        if meaning.relation is None:
            words = {piece.name for piece in (*seen.room.furniture, *seen.room.clutter)}
            assert meaning.noun.shape not in words, draft.text
        else:
            assert objects(seen, meaning.noun), f"{draft.text}: only the place is wrong"


def test_a_relation_is_needed_because_two_seen_objects_are_called_the_same(asked: Asked) -> None:
    for seen, draft in of(asked, "relation"):
        rivals = [thing for thing in objects(seen, draft.meaning.noun) if clear_frames(seen, thing.id)]
        assert len(rivals) >= 2, f"room {seen.room.seed}: {draft.text}"


def test_left_and_behind_hold_in_every_picture_that_shows_both(asked: Asked) -> None:
    checked = 0
    for seen, draft in of(asked, "relation"):
        if draft.meaning.relation in PICTURE_RELATIONS and draft.target is not None:
            ((anchor, _),) = box_of(seen, draft.meaning.anchors[0])
            offsets = beside(seen, draft.target, anchor)
            assert len(offsets) >= 2
            for right, deeper in offsets:
                held = {"left_of": -right >= 0.15, "right_of": right >= 0.15, "behind": deeper >= 0.25,
                        "in_front_of": -deeper >= 0.25}  # fmt: skip
                assert held[draft.meaning.relation], f"room {seen.room.seed}: {draft.text}"
            checked += 1
    assert checked, "no relation of the picture in twenty rooms"


def test_boxes_and_windows_are_those_of_the_pictures_and_targets_are_worth_asking() -> None:
    for seed in SEEDS[::2]:
        seen = walk(seed)
        for question in make_questions(seen, f"room-{seed}", 9, seed):
            if question.target is None:
                assert (question.windows_s, question.boxes_2d, question.box_3d, question.name) == ((), {}, None, "")
                continue
            thing = seen.room.object(question.target)
            shown = clear_frames(seen, thing.id)
            assert dict(question.boxes_2d) == shown
            assert {(round(a, 6), round(b, 6)) for a, b in question.windows_s} == stretches(seen, thing.id)
            assert (question.name, question.box_3d) == (thing.name, thing.box)
            assert question.held_out == is_held_out(Noun(thing.shape, thing.color))
            pixels = [
                sum(int((seen.instance[f] == thing.id).sum()) for f in shown if a <= seen.times_s[f] <= b)
                for a, b in question.windows_s
            ]
            assert pixels == sorted(pixels, reverse=True), "the best window comes first"
            assert seen.visible[thing.id].fraction >= 0.5
            assert len(shown) >= 3
            largest = max(max(box[2] - box[0], box[3] - box[1]) for box in shown.values())
            assert largest >= seen.intrinsics.width / 16


def test_answers_are_those_of_the_scene_graph(asked: Asked) -> None:
    for seen, draft in of(asked, "count", "color", "existence", "closer", "bigger", "room_size", "distance"):
        meaning, label = draft.meaning, f"room {seen.room.seed}: {draft.text} {draft.answer}"
        fits = objects(seen, meaning.noun)
        a, b = [box_of(seen, noun)[0][1] for noun in meaning.anchors] if len(meaning.anchors) == 2 else (None, None)
        if draft.family == "count":
            fractions = [seen.visible[thing.id].fraction for thing in fits]
            assert all(f >= 0.4 or f < 0.02 for f in fractions), label
            assert draft.answer == str(sum(f >= 0.4 for f in fractions)) != "0", label
        elif draft.family == "color":
            assert {seen.room.object(id).color for id in fitting(seen, meaning)} == {draft.answer}, label
        elif draft.family == "existence":
            assert (draft.answer == "yes") == bool(fits), label
        elif draft.family == "room_size":
            assert float(draft.answer) == pytest.approx(seen.room.size_m[0] * seen.room.size_m[1], abs=0.051)
        elif draft.family == "distance" and a and b:
            assert float(draft.answer) == pytest.approx(gap(a, b), abs=0.051), label
            assert gap(a, b) >= 0.3
        elif a and b:
            first = draft.answer == draft.choices[0]
            if draft.family == "closer":
                away = [gap_to(seen, objects(seen, noun)[0], meaning.noun) for noun in meaning.anchors]
                assert max(away) >= 1.4 * min(away), label
                assert first == (away[0] < away[1]), label
            else:
                sizes = [box.size[2] if draft.form == "taller" else np.prod(box.size) for box in (a, b)]
                assert max(sizes) >= 1.5 * min(sizes), label
                assert first == (sizes[0] > sizes[1]), label
        if draft.choices:
            assert draft.answer in draft.choices


def test_every_sentence_of_a_rationale_is_true(asked: Asked) -> None:
    for seen, draft in asked:
        subject = None if draft.target is None else seen.room.object(draft.target)
        if draft.family == "color":
            subject = seen.room.object(min(fitting(seen, draft.meaning)))
        assert re.search(r"\d", draft.rationale), draft.rationale
        for said in re.findall(r"[^.]+(?:\.\d[^.]*)*\.", draft.rationale):
            assert_true(said.strip(), seen, draft, subject)


def assert_true(said: str, seen: SeenWalk, draft: Draft, subject: RoomObject | None) -> None:
    """Read one sentence by itself and hold it against boxes and pictures."""
    label, meaning = f"room {seen.room.seed}: {said} ({draft.rationale})", draft.meaning
    spoken = objects(seen, meaning.noun) if subject is None else [subject]
    named = r"(?:^|(?:\b[Tt]he|\b[Aa]n?|shows|,|\band) )((?!(?:The )?camera)(?:\w+ ){1,4}?)(?:(?:is |are )?in view )?"
    timed = re.findall(named + r"at ([\d.]+) to ([\d.]+) s", said)
    assert len(timed) == len(re.findall(r" at [\d.]+ to [\d.]+ s", said)), f"a time of nothing: {label}"
    for words, start, end in timed:
        ids = [thing.id for thing in spoken]  # of what is on the furniture that the camera passes
        if "passes" not in said:
            ids = [id for id, _ in box_of(seen, noun_in(re.sub("^(the|an?) ", "", words.strip().lower())))]
        windows = [window for id in ids for window in stretches(seen, id)]
        assert any(abs(a - float(start)) <= 0.051 and abs(b - float(end)) <= 0.051 for a, b in windows), label
    if match := re.match(r"The camera passes the (.+) at ([\d.]+) to ([\d.]+) s\.", said):
        ((id, _),) = box_of(seen, Noun(match[1]))
        shown = clear_frames(seen, id)
        carried = [t for t in spoken if t.support == id]
        assert any(
            all(f in shown for f in clear_frames(seen, t.id) if float(match[2]) <= seen.times_s[f] <= float(match[3]))
            for t in carried
        ), label
    elif re.search(r"on the floor\.$", said):
        assert any(thing.support < 0 for thing in spoken), label
    elif match := re.match(r"No (.+) in the room (?:is|are) (\w+)\.", said):
        assert not objects(seen, Noun(match[1], match[2])), label
    elif match := re.match(r"There (?:is|are) no (.+)\.", said):
        assert not objects(seen, noun_in(match[1])), label
    elif match := re.match(r"(?:It|They) (?:is|are) ([\d.]+) m from the (.+?)(?:, (nearer|further) .*)?\.$", said):
        assert gap_to(seen, spoken[0], noun_in(match[2])) == pytest.approx(float(match[1]), abs=0.051), label
    elif match := re.match(r"From .* the camera shows (\d+) objects\.", said):
        assert int(match[1]) == sum(bool(clear_frames(seen, thing.id)) for thing in seen.room.objects), label
    elif match := re.match(r"None of them (?:is|are) (?:an? )?(.+)\.", said):
        assert not objects(seen, noun_in(match[1])), label
    elif match := re.match(r"The walls are ([\d.]+) m and ([\d.]+) m apart\.", said):
        assert [float(m) for m in match.groups()] == pytest.approx(seen.room.size_m[:2], abs=0.0051), label
    elif match := re.match(r"That makes ([\d.]+) (?:square|.*?)", said):
        assert match[1].removesuffix(".") == draft.answer, label
    elif match := re.match(r"Their nearest sides are ([\d.]+) m apart", said):
        assert match[1] == draft.answer, label
    elif match := re.match(r"From the (.+) the (.+) (?:is|are) ([\d.]+) m away and the (.+) ([\d.]+) m\.", said):
        for words, metres in ((match[2], match[3]), (match[4], match[5])):
            (thing,) = objects(seen, noun_in(words))
            assert gap_to(seen, thing, noun_in(match[1])) == pytest.approx(float(metres), abs=0.0051), label
    elif match := re.match(r"The (.+) (?:is|are) ([\d.]+) m high and the (.+) ([\d.]+) m\.", said):
        for words, metres in ((match[1], match[2]), (match[3], match[4])):
            assert objects(seen, noun_in(words))[0].box.size[2] == pytest.approx(float(metres), abs=0.0051), label
    elif match := re.match(r"The (.+) fills? about ([\d.]+) litres and the (.+) ([\d.]+)\.", said):
        for words, litres in ((match[1], match[2]), (match[3], match[4])):
            size = objects(seen, noun_in(words))[0].box.size
            assert 1000 * np.prod(size) == pytest.approx(float(litres), abs=0.051), label
    elif match := re.match(r"(?:It|They) (?:is|are) (\w+)\.$", said):
        assert spoken[0].color == match[1], label
    elif match := re.match(r"(?:A |An |The )?(.+) in view at .* (?:is|are) (?:an? )?(\w[\w ]*)\.$", said):
        noun, told = noun_in(match[1].lower()), match[2]
        both = Noun(told, noun.color) if noun.shape is None else Noun(noun.shape, told)
        assert objects(seen, both), label
    elif match := re.search(r"(?:is|are) on (?:the|an?) ([\w ]+)\.$", said):
        carriers = {piece.id for piece in seen.room.furniture if piece.name == match[1]}
        others = [thing for thing in objects(seen, meaning.noun) if thing is not subject]
        if said.startswith("No "):
            assert not any(thing.support in carriers for thing in others), label
        else:
            assert any(thing.support in carriers for thing in spoken), label
    elif re.search(r"(?:is|are) on it\.$", said):
        assert any(thing.support >= 0 for thing in spoken), label
    else:  # what is left says again what the question said, and that was checked against the boxes
        assert re.match(
            r"(In the picture|(It|They) (is|are) (further|nearer|under|between)|No other |The other |No .* (is|are) "
            r"(on|under|next to) the|From .* sees no |The camera shows|.* (is|are) in view at )", said
        ), f"an unknown sentence: {label}"  # fmt: skip


def test_a_question_says_what_it_means(asked: Asked) -> None:
    for _, draft in asked:
        text = draft.text.lower()
        for noun in (draft.meaning.noun, *draft.meaning.anchors):
            for word in (noun.shape, noun.color):
                assert word is None or word in text or plural(word) in text, f"{word!r} is not in {draft.text!r}"
        assert draft.text[0].isupper()
        assert draft.text[-1] in ".?"
        assert not re.search(r"[{}]|\s\s|\b(the|a) (the|a|an)\b|\ba [aeiou]", text), draft.text


def test_a_quarter_of_the_find_questions_is_absent_and_the_families_are_shared_evenly() -> None:
    families: Counter[str] = Counter()
    for i, seed in enumerate(SEEDS):
        for turn in range(4):
            families.update(draft.family for draft in draft_questions(solver(seed), 6, 1000 * (i + 1) + turn))
    finds = sum(families[family] for family in FIND_FAMILIES)
    assert finds == pytest.approx(2 / 3 * sum(families.values()), rel=0.05)
    assert families["absent"] == pytest.approx(finds / 4, rel=0.08)
    assert 0.7 < families["attribute"] / families["relation"] < 1.5
    assert all(families[family] > 0 for family in VQA_FAMILIES)


def test_yes_and_no_are_as_frequent_and_so_are_first_and_second(asked: Asked) -> None:
    words = Counter(draft.answer for _, draft in of(asked, "existence"))
    assert 0.4 <= words["yes"] / sum(words.values()) <= 0.6
    pairs = [draft for _, draft in of(asked, "closer", "bigger")]
    first = sum(draft.answer == draft.choices[0] for draft in pairs)
    assert 0.3 <= first / len(pairs) <= 0.7


def test_the_same_arguments_give_the_same_questions_and_another_seed_gives_others() -> None:
    seen = walk(SEEDS[0])
    first, again = make_questions(seen, "room-0", 6, 5), make_questions(seen, "room-0", 6, 5)
    assert first == again
    assert len({question.id for question in first}) == len(first) == 6
    assert {question.scene for question in first} == {"room-0"}
    assert [q.text for q in make_questions(seen, "room-0", 6, 6)] != [q.text for q in first]


def test_questions_never_deny_a_pair_that_training_must_not_know(asked: Asked) -> None:
    for seen, draft in of(asked, "absent", "existence"):
        if split_of(seen.room.seed) != "test" and draft.answer != "yes":
            assert not is_held_out(draft.meaning.noun), draft.text


def test_a_walk_that_shows_nothing_gives_no_question_about_things_it_might_have_shown() -> None:
    seen = walk(SEEDS[0])
    blank = replace(
        seen,
        instance=[np.full_like(image, -1) for image in seen.instance],
        visible=tuple(replace(v, fraction=0.0, nearest_m=float("inf")) for v in seen.visible),
    )
    questions = make_questions(blank, "dark", 12, 1)
    assert questions
    assert {question.family for question in questions} <= {"absent", "room_size", "existence"}
    assert all(question.answer != "yes" for question in questions)
    assert len(questions) < 12


def test_the_whole_walk_counts_for_what_was_seen() -> None:
    seen = walk(SEEDS[1])
    camera = (seen.intrinsics, seen.intrinsics, np.eye(4))
    assert seen.visible == visibility(seen.room, seen.poses, camera)

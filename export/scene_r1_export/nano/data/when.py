"""Questions about a walk: when is the thing seen, how many are there, which is bigger?"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from scene_r1.rooms.questions.meaning import Noun
from scene_r1.rooms.questions.naming import listed
from scene_r1_export.nano.data.shard import Asked, Named, RoomShard, Thing
from scene_r1_export.nano.data.sights import Picture
from scene_r1_export.nano.data.where import SILENT, ask, meant
from scene_r1_export.nano.words import NOT_FOUND, Exchange, said_seconds, window_answer
from scene_r1_export.rewards import AnswerTruth, WhenTruth


def about_walk(room: RoomShard, pictures: Sequence[Picture], count: int, rng: np.random.Generator) -> list[Exchange]:
    """Up to `count` exchanges about these pictures of a walk, in order of time."""
    things = {thing.id: thing for thing in room.things}
    windows = {asked.target: asked.windows_s for asked in room.questions if asked.target is not None}
    said = []
    for _ in range(count):
        if rng.random() < 0.3 and windows:
            target = list(windows)[int(rng.integers(len(windows)))]
            thing = things[target]
            if sum((o.name, o.color) == (thing.name, thing.color) for o in room.things) == 1:
                question = ask(Noun(thing.name, thing.color), rng)
                said.append(when(pictures, target, windows[target], question, f"the {name(thing)}", things, rng))
                continue
        asked = room.questions[int(rng.integers(len(room.questions)))]
        if asked.task == "find":
            said.append(when(pictures, asked.target, asked.windows_s, asked.text, meant(asked), things, rng))
        else:
            answered = answer(asked, pictures, things, rng)
            said += [] if answered is None else [answered]
    return said


def when(
    pictures: Sequence[Picture],
    target: int | None,
    windows_s: Sequence[tuple[float, float]],
    question: str,
    it: str,
    things: dict[int, Thing],
    rng: np.random.Generator,
) -> Exchange:
    """The exchange about when a thing is seen: in the best stretch of which there are pictures."""
    silent = rng.random() < SILENT
    # The span that the runtime's grammar allows: whole seconds around the pictures.
    first = math.floor(pictures[0].seconds)
    last = max(math.ceil(pictures[-1].seconds), first + 1)
    shown = [picture.seconds for picture in pictures if target is not None and picture.clearly(target)]
    seen = [(max(start, first), min(end, last)) for start, end in windows_s if start < last and end > first]
    for start, end in seen:
        inside = [seconds for seconds in shown if start - 0.5 <= seconds <= end + 0.5]
        if not inside or target is None:
            continue
        thing = things[target]
        moments = ends(inside)
        thought = f"It is the {name(thing)}, in view {span(moments)}."
        begin = min(max(round(start), first), last - 1)
        finish = min(max(round(end), begin + 1), last)
        truth = WhenTruth(tuple(seen), pictures[0].seconds, last)
        answer, looks = window_answer(begin, finish), () if silent else ((target,),) * len(moments)
        return Exchange("when", question, None if silent else thought, answer, truth, looks)
    truth = WhenTruth((), pictures[0].seconds, last)
    return Exchange("when", question, None if silent else f"I do not see {it}.", NOT_FOUND, truth)


def answer(
    asked: Asked, pictures: Sequence[Picture], things: dict[int, Thing], rng: np.random.Generator
) -> Exchange | None:
    """The exchange about a question that words answer; None where these pictures do not show enough of it."""
    thought = ""
    if asked.kind in ("count", "color", "existence"):
        seen = [(thing, first(thing.id, pictures)) for thing in things.values() if _fits(thing, asked.noun)]
        if asked.kind == "color" and asked.noun.id is not None:
            seen = [pair for pair in seen if pair[0].id == asked.noun.id]
        shown = [(thing, seconds) for thing, seconds in seen if seconds is not None]
        wanted = {"count": int(asked.answer) if asked.answer.isdigit() else 0, "color": 1}
        if asked.kind == "count" and len(shown) != wanted["count"]:
            return None
        if (asked.kind == "color" and not shown) or (
            asked.kind == "existence" and bool(shown) != (asked.answer == "yes")
        ):
            return None
        if asked.kind == "color" and shown[0][0].color != asked.answer:
            return None
        told = [f"a {name(thing)} at {said_seconds(seconds)}" for thing, seconds in shown]
        thought = f"I see {listed(told)}." if told else "I see none."
        seen_things = tuple((thing.id,) for thing, _ in shown)
    else:
        parts = [(anchor, None if anchor.id is None else first(anchor.id, pictures)) for anchor in asked.anchors]
        if any(seconds is None for _, seconds in parts):
            return None
        told = [f"the {called(anchor)} at {said_seconds(at)}" for anchor, at in parts if at is not None]
        thought = f"I see {listed(told)}." if told else "I look at the walls."
        seen_things = tuple((anchor.id,) for anchor in asked.anchors if anchor.id is not None) if told else ()
    silent = rng.random() < SILENT
    truth = AnswerTruth(asked.answer, asked.answer_kind)  # type: ignore[arg-type]
    looks = () if silent else seen_things
    return Exchange("answer", asked.text, None if silent else thought, (asked.answer,), truth, looks)


def ends(moments: Sequence[float]) -> list[float]:
    """The first and the last of them, or the only one: what one must look at to say how long something is in view."""
    return [moments[0], moments[-1]] if said_seconds(moments[0]) != said_seconds(moments[-1]) else [moments[0]]


def span(moments: Sequence[float]) -> str:
    """`from 3s to 8s`, or `at 3s`."""
    said = [said_seconds(moment) for moment in moments]
    return f"from {said[0]} to {said[1]}" if len(said) > 1 else f"at {said[0]}"


def first(id: int, pictures: Sequence[Picture]) -> float | None:
    """When a thing is first clearly seen."""
    return next((picture.seconds for picture in pictures if picture.clearly(id)), None)


def name(thing: Thing) -> str:
    """`red mug`."""
    return " ".join(word for word in (thing.color, thing.name) if word)


def called(noun: Named) -> str:
    """`red mug`, `mug`, `red object`."""
    return " ".join(word for word in (noun.color, noun.shape or "object") if word)


def _fits(thing: Thing, noun: Named) -> bool:
    return (
        thing.kind == "object"
        and (not noun.shape or thing.name == noun.shape)
        and (not noun.color or thing.color == noun.color)
    )

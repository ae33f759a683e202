"""Why an answer is right, in one to three short sentences of what the walk shows: each of them true by the solver."""

from __future__ import annotations

from scene_r1.rooms.questions.graph import Thing
from scene_r1.rooms.questions.meaning import Meaning, Noun, Relation
from scene_r1.rooms.questions.naming import listed
from scene_r1.rooms.questions.phrases import a, bare, be, is_plural, several, the
from scene_r1.rooms.questions.solver import Solver

RELATED: dict[Relation, str] = {
    # {it}, {is}: pronoun and verb of what was asked for. {rival}: what else the noun fits. {m}: metres to the anchor.
    "left_of": "In the picture {it} {is} left of {a}.",
    "right_of": "In the picture {it} {is} right of {a}.",
    "behind": "{It} {is} further from the camera than {a}.",
    "in_front_of": "{It} {is} nearer to the camera than {a}.",
    "on": "No other {rival} is on {a}.",
    "under": "{It} {is} under {a}.",
    "next_to": "{It} {is} {m} m from {a}.",
    "between": "{It} {is} between {a} and {b}.",
    "closest_to": "{It} {is} {m} m from {a}, nearer than any other {rival}.",
    "farthest_from": "{It} {is} {m} m from {a}, further than any other {rival}.",
    "largest": "No other {rival} is as large.",
    "smallest": "No other {rival} is as small.",
    "tall": "The other {rival} is shorter.",
    "short": "The other {rival} is taller.",
    "big": "The other {rival} is smaller.",
    "small": "The other {rival} is bigger.",
}


def seconds(window_s: tuple[float, float]) -> str:
    """`3 to 7.2 s`."""
    first, last = (f"{t:.1f}".removesuffix(".0") for t in window_s)
    return f"{first} to {last} s"


def when(solver: Solver, thing: Thing) -> str:
    """The best stretch in which a thing is seen, in words."""
    return seconds(solver.sightings.windows_s(thing.id)[0])


def place(solver: Solver, thing: Thing, words: str, plural: bool = False) -> str:
    """When a thing is seen, and on what it stands. words: what to call it, with its article."""
    is_, it = ("are", "they") if plural else ("is", "it")
    carrier = solver.graph.supporter(thing)
    if carrier is None:
        return f"{_capital(words)} {is_} in view at {when(solver, thing)}. {_capital(it)} {is_} on the floor."
    alone = solver.named(Noun(carrier.name)) == [carrier]
    if alone and _passes(solver, carrier, thing):
        return f"The camera passes the {carrier.name} at {when(solver, thing)}. {_capital(words)} {is_} on it."
    on = the(Noun(carrier.name)) if alone else a(Noun(carrier.name))
    return f"{_capital(words)} {is_} in view at {when(solver, thing)}. {_capital(it)} {is_} on {on}."


def found(solver: Solver, meaning: Meaning, thing: Thing) -> str:
    """Of a find question: when and where the thing is, and what the question says of it."""
    noun = Noun(thing.name, thing.color)
    text = place(solver, thing, the(noun), is_plural(noun))
    if meaning.relation is None:
        return text
    anchors = [solver.named(anchor)[0] for anchor in meaning.anchors]
    words = [the(anchor) for anchor in meaning.anchors] + ["", ""]
    gap = f"{solver.graph.gap_m(thing, anchors[0]):.1f}" if anchors else ""
    it = "they" if is_plural(noun) else "it"
    tail = RELATED[meaning.relation].format(
        it=it, It=_capital(it), a=words[0], b=words[1], m=gap, rival=bare(meaning.noun), **{"is": be(noun)}
    )
    return f"{text} {tail}"


def missing(solver: Solver, meaning: Meaning) -> str:
    """Of something that is not there: what is there instead."""
    noun = meaning.noun
    if meaning.relation is not None:
        there = _shown(solver, noun)
        where = f"{meaning.relation.replace('_', ' ')} {the(meaning.anchors[0])}"
        if there is not None:
            return f"{place(solver, there, a(noun), is_plural(noun))} No {bare(noun)} {be(noun)} {where}."
        return f"{_whole_walk(solver)} the camera sees no {bare(noun)} {where}."
    same_shape = _shown(solver, Noun(noun.shape))
    if noun.color and same_shape is not None:
        first = f"{_capital(a(Noun(noun.shape)))} in view at {when(solver, same_shape)} {be(noun)} {same_shape.color}."
        return f"{first} No {noun.shape} in the room {be(noun)} {noun.color}."
    same_color = _shown(solver, Noun(None, noun.color)) if noun.color else None
    if same_color is not None:
        kind = Noun(same_color.name)
        first = f"{_capital(a(Noun(None, noun.color)))} in view at {when(solver, same_color)} is {a(kind)}."
        return f"{first} There {be(noun)} no {bare(noun)}."
    number = sum(bool(solver.sightings.clear(thing.id)) for thing in solver.graph.objects)
    if number > 1:
        return f"{_whole_walk(solver)} the camera shows {number} objects. None of them {be(noun)} {a(noun)}."
    return f"{_whole_walk(solver)} the camera sees no {bare(noun)}."


def counted(solver: Solver, noun: Noun, things: list[Thing]) -> str:
    """Of a count: each thing and when it is seen."""
    each = [f"{a(Noun(thing.name, thing.color))} at {when(solver, thing)}" for thing in things]
    number = len(things)
    total = f"{number} {several(noun) if number > 1 else bare(noun)}"
    return f"The camera shows {listed(each)}. That makes {total}."


def colored(solver: Solver, meaning: Meaning, thing: Thing) -> str:
    """Of a colour: where the thing is, and the colour."""
    noun = Noun(thing.name)
    words = the(noun) if meaning.relation is None else a(noun)
    it = "They" if is_plural(noun) else "It"
    return f"{place(solver, thing, words, is_plural(noun))} {it} {be(noun)} {thing.color}."


def compared(solver: Solver, meaning: Meaning) -> str:
    """Of two things: when the first is seen, and the figures of both."""
    one, two = (solver.named(noun)[0] for noun in meaning.anchors)
    first, second = (the(noun) for noun in meaning.anchors)
    verb = be(meaning.anchors[0])
    seen = f"{_capital(first)} {verb} in view at {when(solver, one)}, {second} at {when(solver, two)}."
    if meaning.kind == "distance":
        return f"{seen} Their nearest sides are {solver.graph.gap_m(one, two):.1f} m apart."
    if meaning.kind == "closer":
        to = solver.named(meaning.noun)[0]
        gaps = [solver.graph.gap_m(thing, to) for thing in (one, two)]
        return f"{seen} From {the(meaning.noun)} {first} {verb} {gaps[0]:.2f} m away and {second} {gaps[1]:.2f} m."
    if meaning.kind == "taller":
        return f"{seen} {_capital(first)} {verb} {one.height_m:.2f} m high and {second} {two.height_m:.2f} m."
    fill = "fill" if is_plural(meaning.anchors[0]) else "fills"
    litres = [1000.0 * thing.volume_m3 for thing in (one, two)]
    return f"{seen} {_capital(first)} {fill} about {litres[0]:.1f} litres and {second} {litres[1]:.1f}."


def measured(solver: Solver, area: str) -> str:
    """Of the room's floor: its sides."""
    width, depth, _ = solver.graph.room.size_m
    return f"The walls are {width:.2f} m and {depth:.2f} m apart. That makes {area} square metres."


def _passes(solver: Solver, carrier: Thing, thing: Thing) -> bool:
    """Whether the carrier is in the picture whenever the thing is, in its best stretch."""
    best = solver.sightings.windows_s(thing.id)[0]
    frames = {seen.frame for seen in solver.sightings.clear(carrier.id)}
    return all(seen.frame in frames for seen in solver.sightings.within(thing.id, best))


def _shown(solver: Solver, noun: Noun) -> Thing | None:
    """The object of that name that the walk shows best."""
    things = [thing for thing in solver.called(noun) if solver.seen_well(thing)]
    return max(things, key=lambda thing: (solver.share_seen(thing), -thing.id), default=None)


def _whole_walk(solver: Solver) -> str:
    times = solver.sightings.times_s
    return f"From {seconds((float(times[0]), float(times[-1])))}"


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]

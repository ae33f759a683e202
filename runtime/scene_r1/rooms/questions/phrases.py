"""All words of the questions: what things and relations are called, and the many ways to ask."""

from __future__ import annotations

from scene_r1.rooms.questions.meaning import Meaning, Noun, Relation
from scene_r1.rooms.questions.naming import PLURAL_ONLY, plural

FIND = (
    "Where {is} {it}?",
    "Find {it}.",
    "Show me {it}.",
    "Can you find {it}?",
    "Where can I find {it}?",
    "I am looking for {it}.",
    "Where in the room {is} {it}?",
    "Point to {it}.",
    "Locate {it} in this room.",
    "Where did you see {it}?",
)
RELATIONS: dict[Relation, tuple[str, ...]] = {
    # {noun}: what is asked for, without its article. {a}, {b}: the anchors, with theirs.
    "left_of": ("{noun} left of {a}", "{noun} to the left of {a}", "{noun} on the left of {a}"),
    "right_of": ("{noun} right of {a}", "{noun} to the right of {a}", "{noun} on the right of {a}"),
    "behind": ("{noun} behind {a}", "{noun} that {is} behind {a}"),
    "in_front_of": ("{noun} in front of {a}", "{noun} that {is} in front of {a}"),
    "on": ("{noun} on {a}", "{noun} that {is} on {a}", "{noun} on top of {a}"),
    "under": ("{noun} under {a}", "{noun} below {a}", "{noun} underneath {a}", "{noun} on the floor under {a}"),
    "next_to": ("{noun} next to {a}", "{noun} beside {a}", "{noun} that {is} next to {a}"),
    "between": ("{noun} between {a} and {b}", "{noun} that {is} between {a} and {b}"),
    "closest_to": ("{noun} closest to {a}", "{noun} nearest to {a}", "{noun} that {is} closest to {a}"),
    "farthest_from": ("{noun} farthest from {a}", "{noun} that {is} farthest from {a}", "{noun} furthest from {a}"),
    "largest": ("largest {noun}", "biggest {noun}"),
    "smallest": ("smallest {noun}", "littlest {noun}"),
    "tall": ("tall {noun}", "taller {noun}"),
    "short": ("short {noun}", "shorter {noun}"),
    "big": ("big {noun}", "large {noun}", "bigger {noun}"),
    "small": ("small {noun}", "little {noun}", "smaller {noun}"),
}
INSIDE = ("bookcase", "shelf")
"""Furniture that things are also said to stand in, and not on top of."""
COUNT = (
    # Of what the walk shows: the room may hold more.
    "How many {things} do you see?",
    "How many {things} does the camera show?",
    "Count the {things} that come into view.",
    "How many {things} can be seen during the walk?",
    "What is the number of {things} in view during the walk?",
)
COLOR = (
    "What colour {is} {it}?",
    "Which colour {is} {it}?",
    "What is the colour of {it}?",
    "Name the colour of {it}.",
    "{it}: what colour {is} {pronoun}?",
)
EXISTENCE = (
    "{is} there {one} in the room?",
    "Does the room have {one}?",
    "Can {one} be found here?",
    "Did you see {one}?",
    "Is it true that there {is} {one} in this room?",
)
CLOSER = (
    "Which is closer to {to}, {a} or {b}?",
    "What is nearer to {to}: {a} or {b}?",
    "{a} or {b}: which is closer to {to}?",
    "Of {a} and {b}, which is nearer to {to}?",
)
BIGGER = (
    "Which is bigger, {a} or {b}?",
    "What is larger: {a} or {b}?",
    "{a} or {b}: which is bigger?",
    "Of {a} and {b}, which is the larger one?",
)
TALLER = (
    "Which is taller, {a} or {b}?",
    "What is higher from foot to top: {a} or {b}?",
    "{a} or {b}: which is taller?",
    "Of {a} and {b}, which is the taller one?",
)
ROOM_SIZE = (
    "How large is the room's floor, in square metres?",
    "What is the area of the room in square metres?",
    "How many square metres does the room have?",
    "Give the floor area of this room in square metres.",
)
DISTANCE = (
    "How far apart are {a} and {b}, in metres?",
    "What is the distance between {a} and {b} in metres?",
    "How many metres are there between {a} and {b} at their nearest points?",
    "Measure from {a} to {b}: how many metres?",
)


def bare(noun: Noun, generic: str = "object") -> str:
    """A noun without its article: `red mug`, `red object`, `object`."""
    return " ".join(word for word in (noun.color, noun.shape or generic) if word)


def the(noun: Noun) -> str:
    """`the red mug`."""
    return f"the {bare(noun)}"


def a(noun: Noun) -> str:
    """`a red mug`, `an orange mug`, `red headphones`."""
    words = bare(noun)
    return words if is_plural(noun) else f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def several(noun: Noun) -> str:
    """`red mugs`."""
    return " ".join(word for word in (noun.color, plural(noun.shape or "object")) if word)


def is_plural(noun: Noun) -> bool:
    """Whether one of them is spoken of as many."""
    return noun.shape in PLURAL_ONLY


def be(noun: Noun) -> str:
    """`is` or `are`."""
    return "are" if is_plural(noun) else "is"


def described(meaning: Meaning, wording: int, generic: str = "object") -> str:
    """What a meaning describes, with its article: `the mug left of the laptop`.

    wording: any whole number, picks one of the ways. generic: what a noun without a shape is called.
    """
    noun = bare(meaning.noun, generic)
    if meaning.relation is None:
        return f"the {noun}"
    ways = RELATIONS[meaning.relation]
    anchors = [the(anchor) for anchor in meaning.anchors] + ["", ""]
    if meaning.relation == "on" and (meaning.anchors[0].shape or "").split()[-1] in INSIDE:
        ways = ways[:2]
    words = ways[wording % len(ways)].format(noun=noun, a=anchors[0], b=anchors[1], **{"is": be(meaning.noun)})
    return f"the {words}"


def sentence(template: str, noun: Noun = Noun(), **words: str) -> str:  # noqa: B008
    """A template with its words, beginning with a capital letter."""
    pronoun = "they" if is_plural(noun) else "it"
    text = template.format(**{"is": be(noun), "pronoun": pronoun, **words})
    return text[0].upper() + text[1:]

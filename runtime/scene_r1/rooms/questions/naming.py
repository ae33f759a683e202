"""Which words a person might use for which thing: wider than what a thing is really called."""

from __future__ import annotations

from collections.abc import Sequence

ALIKE: tuple[frozenset[str], ...] = tuple(
    frozenset(group.split())
    for group in (
        # Words for things that one person calls the one and another the other: never tell things apart by these.
        "can tin",
        "carton box package packet parcel",
        "crate box basket chest",
        "bucket bin basket pail",
        "teapot kettle jug pitcher",
        "vase jug pitcher",
        "mug cup beaker holder",
        "bowl plate dish tray",
        "stool chair armchair seat ottoman",
        "sofa couch armchair",
        "lamp lantern light",
        "book books magazine notebook paper papers newspaper newspapers",
        "ball globe",
        "cushion pillow",
        "backpack bag rucksack",
        "plant flower",
        "laptop computer notebook",
        "ring hoop",
        "sideboard cabinet cupboard chest dresser",
        "bookcase shelf",
        "table desk",
        "tv television screen monitor",
        "cloth towel blanket",
        "cable cord",
    )
)
CONTAINS = {"bookcase": "book", "shelf": "book"}
"""A row of books is part of the furniture and nobody's object, yet a person may mean one of them."""
COLORS_ALIKE = (frozenset({"teal", "green"}), frozenset({"teal", "blue"}))
"""Seen in a dim room, these are told apart differently by different people."""
ALSO_COLORED = {"plant": ("green",), "laptop": ("black", "blue")}
"""Leaves, keys and screens have a colour of their own whatever the thing is called by."""
COLORLESS = ("white", "black")
"""What furniture and clutter may be called: woods and greys have none of the other colours."""
PLURAL_ONLY = frozenset({"headphones", "scissors", "glasses", "binoculars"})


def could_be_called(name: str, word: str) -> bool:
    """Whether somebody who says `word` may mean a thing called `name`.

    A `beach ball` is a ball but a ball is no `beach ball`; a `kettle` and a `teapot` are the one or the other.
    """
    name, word = name.lower(), word.lower()
    if name == word or name.endswith(word):
        return True
    head = name.split()[-1]
    if CONTAINS.get(name) == word or CONTAINS.get(head) == word:
        return True
    names, words = {name, head}, {word, word.split()[-1]}
    if head == word.split()[-1]:
        return " " not in word  # both are balls: only the plain word means either
    return any(group & names and group & words for group in ALIKE)


def could_have_color(name: str, color: str | None, word: str) -> bool:
    """Whether somebody who says the colour `word` may mean a thing of that name and colour (None: it has none)."""
    if color is None:
        return word in COLORLESS
    if color == word or word in ALSO_COLORED.get(name.split()[-1], ()):
        return True
    return any({color, word} <= group for group in COLORS_ALIKE)


def plural(shape: str) -> str:
    """Several of a shape: `box` gives `boxes`."""
    if shape in PLURAL_ONLY:
        return shape
    if shape.endswith(("s", "x", "ch", "sh")):
        return shape + "es"
    if shape.endswith("y") and shape[-2] not in "aeiou":
        return shape[:-1] + "ies"
    return shape + "s"


def listed(names: Sequence[str]) -> str:
    """`a, b and c`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"

"""What a question means, apart from how it is put."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

PictureRelation = Literal["left_of", "right_of", "behind", "in_front_of"]
PlaceRelation = Literal["on", "under", "next_to", "between"]
DistanceRelation = Literal["closest_to", "farthest_from"]
SizeRelation = Literal["largest", "smallest"]
SizeWord = Literal["tall", "short", "big", "small"]
Relation = Literal[PictureRelation, PlaceRelation, DistanceRelation, SizeRelation, SizeWord]
PICTURE_RELATIONS: tuple[PictureRelation, ...] = get_args(PictureRelation)
PLACE_RELATIONS: tuple[PlaceRelation, ...] = get_args(PlaceRelation)
DISTANCE_RELATIONS: tuple[DistanceRelation, ...] = get_args(DistanceRelation)
SIZE_RELATIONS: tuple[SizeRelation, ...] = get_args(SizeRelation)
SIZE_WORDS: tuple[SizeWord, ...] = get_args(SizeWord)
RELATIONS: tuple[Relation, ...] = (*PICTURE_RELATIONS, *PLACE_RELATIONS, *DISTANCE_RELATIONS, *SIZE_RELATIONS)

Kind = Literal[
    "find", "absent", "count", "color", "existence", "closer", "bigger", "taller", "room_size", "distance"
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Noun:
    """What a thing is called: by its shape (or a piece of furniture's name), by its colour, by both, or `object`."""

    shape: str | None = None
    color: str | None = None


@dataclass(frozen=True, slots=True)
class Meaning:
    """A question's sense. noun: what is asked for. relation, anchors: where it is, told by other things.

    closer: which of the two `anchors` is closer to `noun`. bigger, taller: which of the two `anchors` is. distance:
    between the two `anchors`. room_size: nothing but its kind.
    """

    kind: Kind
    noun: Noun = Noun()
    relation: Relation | None = None
    anchors: tuple[Noun, ...] = ()

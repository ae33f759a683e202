"""How long each letter of a graph's shapes may be: what engines are built for, and what any backend may be fed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scene_r1_engines.errors import BadConfig, BadInput
from scene_r1_engines.sam2.manifest import PARTS, Sam2Manifest, TensorSpec

Shape = tuple[int, ...]
Letters = dict[str, int]


@dataclass(frozen=True, slots=True)
class Extent:
    """The least, the usual and the most of one letter. TensorRT chooses its kernels for the usual."""

    least: int
    usual: int
    most: int

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.usual <= self.most:
            raise BadConfig(f"1 <= least <= usual <= most must hold, got {self.least}, {self.usual}, {self.most}")


def extents_of(manifest: Sam2Manifest, part: str) -> dict[str, Extent]:
    """What each letter of a part's shapes may be.

    B is 1 in the image encoder: pictures come one at a time, all objects share what one leaves, and an engine for more
    would reserve as many times its working memory. H and W, of a mask that is remembered, go from what the decoder
    gives up to the whole input. Raises BadConfig for an unknown part.
    """
    if part not in PARTS:
        raise BadConfig(f"there is no part {part[:40]!r}: the parts are {', '.join(PARTS)}")
    most, small = manifest.profiles, manifest.input_px // 4
    return {
        "B": Extent(1, 1, 1 if part == "image_encoder" else most.objects),
        "N": Extent(2, min(3, most.points), most.points),
        "M": Extent(1, min(manifest.memory.slots, most.memories), most.memories),
        "P": Extent(1, min(manifest.memory.pointers, most.pointers), most.pointers),
        "H": Extent(small, small, manifest.input_px),
        "W": Extent(small, small, manifest.input_px),
    }


@dataclass(frozen=True, slots=True)
class InputProfile:
    """The shapes of one input that an engine is built for: the least, the usual, the most."""

    name: str
    least: Shape
    usual: Shape
    most: Shape

    def __str__(self) -> str:
        return " ".join((self.name, *("x".join(map(str, shape)) for shape in (self.least, self.usual, self.most))))


def profile_of(takes: Sequence[TensorSpec], extents: Mapping[str, Extent]) -> tuple[InputProfile, ...]:
    """The shapes of every input of a graph. Raises BadConfig for a letter that nobody knows."""
    rows = []
    for spec in takes:
        unknown = [one for one in spec.shape if isinstance(one, str) and one not in extents]
        if unknown:
            raise BadConfig(f"{spec}: the letter {unknown[0]} is none of {', '.join(extents)}: export the model again")
        ends = [extents[one] if isinstance(one, str) else Extent(one, one, one) for one in spec.shape]
        rows.append(
            InputProfile(
                spec.name,
                tuple(end.least for end in ends),
                tuple(end.usual for end in ends),
                tuple(end.most for end in ends),
            )
        )
    return tuple(rows)


def said_profile(profile: Sequence[InputProfile]) -> str:
    """A profile as one line, such as `mem 1x1x64x64x64 1x7x64x64x64 4x15x64x64x64; …`."""
    return "; ".join(map(str, profile))


def letters_of(takes: Sequence[TensorSpec], shapes: Mapping[str, Shape], extents: Mapping[str, Extent]) -> Letters:
    """What each letter is in these feeds. shapes: of every input, by name.

    Raises BadInput for an input that is missing or unknown, for one of another shape, for a letter that is two numbers
    at once, and for one beyond its extent.
    """
    known = {spec.name for spec in takes}
    if missing := sorted(known - shapes.keys()):
        raise BadInput(f"the input {missing[0]} is missing: feed {', '.join(sorted(known))}")
    if unknown := sorted(shapes.keys() - known):
        raise BadInput(f"there is no input {unknown[0][:60]!r}: feed {', '.join(sorted(known))}")
    letters: Letters = {}
    for spec in takes:
        shape = shapes[spec.name]
        if len(shape) != len(spec.shape):
            raise BadInput(f"{spec.name} must have the shape {_said(spec)}, got {shape}")
        for wanted, got in zip(spec.shape, shape, strict=True):
            if isinstance(wanted, int):
                if got != wanted:
                    raise BadInput(f"{spec.name} must have the shape {_said(spec)}, got {shape}")
                continue
            if letters.setdefault(wanted, got) != got:
                raise BadInput(f"{spec.name} has {wanted} = {got}, another input {wanted} = {letters[wanted]}")
            allowed = extents[wanted]
            if not allowed.least <= got <= allowed.most:
                raise BadInput(
                    f"{spec.name} has {wanted} = {got}, {allowed.least} to {allowed.most} is taken: "
                    "feed less, or raise that in [profiles] of the manifest (and build its engines again)"
                )
    return letters


def shape_of(spec: TensorSpec, letters: Mapping[str, int]) -> Shape:
    """The shape of an output once the letters are known. Raises BadConfig where one is not."""
    try:
        return tuple(letters[one] if isinstance(one, str) else one for one in spec.shape)
    except KeyError as error:
        raise BadConfig(f"{spec}: no input says what {error.args[0]} is: export the model again") from None


def _said(spec: TensorSpec) -> str:
    return "x".join(map(str, spec.shape))

"""How rooms were made: what decides, with a room's seed, every byte of it."""

from __future__ import annotations

from dataclasses import dataclass

from scene_r1.rooms.capture.recording import VERSION
from scene_r1.rooms.dataset.fields import Fields
from scene_r1_engines.errors import BadInput, BadRecording

FORMAT = 1
"""Of the files in the folder: raised when an older reader would misread them."""
LEAST_SIDE_PX, LARGEST_SIDE_PX = 32, 4096
MOST_FRAMES = 100_000
MOST_PIXELS = 1 << 29
"""Of all colour images of one room: while it is made, the instance images of the whole walk are in memory (1 GiB)."""
MOST_QUESTIONS = 1000
FULL_WIDTH_PX = 640


@dataclass(frozen=True, slots=True)
class RoomsSettings:
    """size: (width, height) of both images. frames: of each walk, `rate_hz` a second. questions: at most, of each
    room. generator: the version of the program that made them. Raises BadInput for what cannot be."""

    size: tuple[int, int] = (320, 240)
    frames: int = 120
    rate_hz: float = 4.0
    questions: int = 6
    generator: int = VERSION

    def __post_init__(self) -> None:
        if len(self.size) != 2 or not all(_whole(side, LEAST_SIDE_PX, LARGEST_SIDE_PX) for side in self.size):
            raise BadInput(
                f"size must be (width, height) of {LEAST_SIDE_PX}..{LARGEST_SIDE_PX} pixels each, got {self.size!r}"
            )
        if not _whole(self.frames, 1, MOST_FRAMES):
            raise BadInput(f"frames must be a whole number in 1..{MOST_FRAMES}, got {self.frames!r}")
        if self.frames * self.size[0] * self.size[1] > MOST_PIXELS:
            raise BadInput(
                f"{self.frames} frames of {self.size[0]}x{self.size[1]} are more than {MOST_PIXELS} pixels: "
                "take fewer, or smaller ones"
            )
        if isinstance(self.rate_hz, bool) or not 0.1 <= self.rate_hz <= 1000.0:
            raise BadInput(f"rate_hz must be in 0.1..1000, got {self.rate_hz!r}")
        if not _whole(self.questions, 0, MOST_QUESTIONS):
            raise BadInput(f"questions must be a whole number in 0..{MOST_QUESTIONS}, got {self.questions!r}")

    @property
    def noise_scale(self) -> float:
        """For `noisy_depth`: what makes the error in metres that of a D4xx at its full width, whatever the size."""
        return self.size[0] / FULL_WIDTH_PX

    @property
    def duration_s(self) -> float:
        """Of a walk, its last frame's own time included."""
        return self.frames / self.rate_hz

    def to_json(self) -> dict[str, object]:
        """What `settings_of` reads back."""
        return {
            "generator": self.generator,
            "size": list(self.size),
            "frames": self.frames,
            "rate_hz": self.rate_hz,
            "questions": self.questions,
        }

    def differences(self, other: RoomsSettings) -> str:
        """In words, for people: `size [320, 240], not [640, 480]`."""
        mine, theirs = self.to_json(), other.to_json()
        return ", ".join(f"{key} {mine[key]}, not {theirs[key]}" for key in mine if mine[key] != theirs[key])


def settings_of(fields: Fields) -> RoomsSettings:
    """Settings said in a file, all keys of `to_json` read and no others. Raises BadRecording."""
    width, height = fields.wholes("size", 2, LEAST_SIDE_PX, LARGEST_SIDE_PX)
    try:
        return RoomsSettings(
            size=(width, height),
            frames=fields.whole("frames", 1, MOST_FRAMES),
            rate_hz=fields.number("rate_hz", 0.1, 1000.0),
            questions=fields.whole("questions", 0, MOST_QUESTIONS),
            generator=fields.whole("generator", 1, 1 << 31),
        )
    except BadInput as error:
        raise error if isinstance(error, BadRecording) else fields.fault(str(error)) from None


def _whole(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high

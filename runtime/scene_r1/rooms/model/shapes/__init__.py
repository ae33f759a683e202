"""The objects of a room: each a function of its colour and a random generator, standing at the origin on z = 0."""

from __future__ import annotations

from scene_r1.rooms.model.material import COLORS
from scene_r1.rooms.model.shapes import desk, floor, play, tableware
from scene_r1.rooms.model.shapes.tones import Color, Shape
from scene_r1_engines.errors import BadInput

__all__ = ["LARGE", "SHAPES", "SMALL", "SOFT", "Color", "Shape", "shape_number", "srgb"]

SMALL: dict[str, Shape] = {
    # what stands on tables and boards
    "mug": tableware.mug,
    "bottle": tableware.bottle,
    "bowl": tableware.bowl,
    "can": tableware.can,
    "book": desk.book,
    "carton": desk.carton,
    "laptop": desk.laptop,
    "lamp": desk.desk_lamp,
    "ball": play.small_ball,
    "ring": play.ring,
    "vase": tableware.vase,
    "teapot": tableware.teapot,
    "cooking pot": tableware.cooking_pot,
    "candle": tableware.candle,
    "hat": tableware.hat,
    "clock": desk.alarm_clock,
    "headphones": desk.headphones,
    "radio": desk.radio,
    "gift": desk.gift,
    "toy car": play.toy_car,
    "teddy bear": play.teddy_bear,
    "toy rocket": play.toy_rocket,
    "drum": play.drum,
}
LARGE: dict[str, Shape] = {
    # what stands on the floor
    "chair": floor.chair,
    "stool": floor.stool,
    "crate": floor.crate,
    "plant": floor.plant,
    "beach ball": play.big_ball,
    "cone": play.cone,
    "basket": floor.basket,
    "bucket": floor.bucket,
    "backpack": floor.backpack,
    "suitcase": floor.suitcase,
    "watering can": floor.watering_can,
    "cushion": floor.cushion,
}
SOFT = ("cushion", "teddy bear", "hat", "backpack")
"""What lies on sofas and armchairs."""
SHAPES: tuple[str, ...] = (
    "mug",
    "bottle",
    "bowl",
    "can",
    "book",
    "carton",
    "laptop",
    "lamp",
    "ball",
    "ring",
    "vase",
    "chair",
    "stool",
    "crate",
    "plant",
    "beach ball",
    "cone",
    "teapot",
    "cooking pot",
    "candle",
    "hat",
    "clock",
    "headphones",
    "radio",
    "gift",
    "toy car",
    "teddy bear",
    "toy rocket",
    "drum",
    "basket",
    "bucket",
    "backpack",
    "suitcase",
    "watering can",
    "cushion",
)
"""All shapes in the order of their numbers, for ever: a new one is appended."""


def srgb(color: str) -> Color:
    """The sRGB of a colour's name."""
    return COLORS[color]


def shape_number(shape: str) -> int:
    """The number of a shape, as `held_out` takes it. Raises BadInput for an unknown one."""
    if shape not in SHAPES:
        raise BadInput(f"no shape is called {shape!r}; known: {', '.join(SHAPES)}")
    return SHAPES.index(shape)

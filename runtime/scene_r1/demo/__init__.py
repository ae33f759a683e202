"""The demo's parts: a recorded room, three questions about it, and how right the answers are."""

from scene_r1.demo.given_box import GivenBox, given_boxes
from scene_r1.demo.judged import Judged, asked
from scene_r1.demo.picture import sheet
from scene_r1.demo.told import given_line, lines
from scene_r1.demo.walk import Walked, chosen, walk_through

__all__ = [
    "GivenBox",
    "Judged",
    "Walked",
    "asked",
    "chosen",
    "given_boxes",
    "given_line",
    "lines",
    "sheet",
    "walk_through",
]

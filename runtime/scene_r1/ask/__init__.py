"""From a question to an answer: when is it seen, where in the picture, and which one object in 3D that is."""

from scene_r1.ask.ask import find, in_words
from scene_r1.ask.inquiry import Inquiry, Scene

__all__ = ["Inquiry", "Scene", "find", "in_words"]

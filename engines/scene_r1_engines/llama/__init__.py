"""A reasoning vision-language model on llama.cpp: keyframes are encoded once, questions cost their own tokens."""

from scene_r1_engines.llama.reasoner import LlamaReasoner
from scene_r1_engines.llama.settings import LlamaSettings

__all__ = ["LlamaReasoner", "LlamaSettings"]

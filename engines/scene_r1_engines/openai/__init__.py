"""The Reasoner over an OpenAI-compatible server (vLLM, llama-server, TensorRT Edge-LLM), for models that are too large
for the device. What a keyframe shows leaves the device when a question is asked, and only then."""

from scene_r1_engines.openai.reasoner import OpenAiReasoner
from scene_r1_engines.openai.settings import OpenAiSettings, PromptTexts

__all__ = ["OpenAiReasoner", "OpenAiSettings", "PromptTexts"]

"""What the model is told for each task."""

from __future__ import annotations

from dataclasses import dataclass

from scene_r1_engines.answer_format.bounds import Seconds
from scene_r1_engines.manifest import PromptRules

# Short on purpose: what a question adds to the keyframes is decoded before the first word of its answer.
WHEN = (
    "These are pictures of one recording of a room, from {start}s to {end}s. When is this seen: {question}\n"
    "Think inside <think></think>, then give the span in whole seconds as <answer>5s to 10s</answer>, "
    "or <answer>not found</answer>."
)
WHERE = (
    "Where is this in the picture: {question}\n"
    "Think inside <think></think>, then give its box as "
    '<answer>{"bbox_2d": [x1, y1, x2, y2], "label": "what it is"}</answer>, or <answer>not found</answer>.'
)
ANSWER = (
    "These are pictures of one recording of a room. {question}\n"
    "Think inside <think></think>, then answer in a few words inside <answer></answer>."
)


@dataclass(frozen=True, slots=True)
class Prompts:
    """The instruction of each task, in Scene-R1's manner. Each holds one {question}; `when` may also hold {start} and
    {end}, the recording's span in whole seconds. Other braces stand for themselves, in the question as well."""

    when_template: str = WHEN
    where_template: str = WHERE
    answer_template: str = ANSWER

    @classmethod
    def of(cls, rules: PromptRules) -> Prompts:
        """Those of a model's manifest, with the default where it says nothing."""
        return cls(rules.when or WHEN, rules.where or WHERE, rules.answer or ANSWER)

    def when_text(self, question: str, start_s: float, end_s: float) -> str:
        """When is it seen? start_s, end_s: the recording's span. Raises BadInput for a span that is none."""
        seconds = Seconds.of(start_s, end_s)
        template = self.when_template.replace("{start}", str(seconds.first)).replace("{end}", str(seconds.last))
        return _asked(template, question)

    def where_text(self, question: str) -> str:
        """Where is it in this picture?"""
        return _asked(self.where_template, question)

    def answer_text(self, question: str) -> str:
        """A free question."""
        return _asked(self.answer_template, question)


def _asked(template: str, question: str) -> str:
    return template.replace("{question}", question)  # last, and not str.format: braces in a question are only braces

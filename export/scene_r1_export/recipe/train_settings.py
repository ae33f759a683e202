"""A GRPO run in one TOML file."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from scene_r1_engines.errors import BadConfig

PRECISIONS = ("bfloat16", "float32")


@dataclass(frozen=True, slots=True)
class LoraSettings:
    """A low-rank adapter on the layers of the text model, in place of all its weights. rank: 0 tunes all weights.
    alpha: its scale is alpha / rank. dropout: of the adapter."""

    rank: int = 0
    alpha: float = 32.0
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.rank <= 1024:
            raise BadConfig(f"rank must be in 0..1024, got {self.rank}")
        if not (math.isfinite(self.alpha) and self.alpha > 0.0 and 0.0 <= self.dropout < 1.0):
            raise BadConfig(f"alpha above 0 and dropout in 0..1 must hold, got {self.alpha} and {self.dropout}")


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """model: a checkpoint's folder. data: what `recipe data` made. out: where the run goes.

    group: answers to each prompt, against whose mean each is judged. prompts: of one step. micro_batch: answers that
    one pass of one process holds. iterations: updates of each step's answers; the ratio to the old policy is clipped
    to 1 +- epsilon. beta: weight of the KL divergence from the model that training began with; 0 keeps no second
    model. format_weight, task_weight: of the two rewards. max_tokens: of an answer. freeze_vision: the vision tower
    stays as it is. save_every: steps between two states from which a run can go on.
    """

    model: str
    data: str
    out: str
    group: int = 8
    prompts: int = 8
    micro_batch: int = 1
    iterations: int = 1
    steps: int = 500
    learning_rate: float = 1e-6
    warmup_steps: int = 10
    beta: float = 0.04
    epsilon: float = 0.2
    temperature: float = 1.0
    max_tokens: int = 256
    format_weight: float = 1.0
    task_weight: float = 1.0
    precision: str = "bfloat16"
    gradient_checkpointing: bool = True
    freeze_vision: bool = True
    save_every: int = 100
    seed: int = 0
    lora: LoraSettings = field(default_factory=LoraSettings)

    def __post_init__(self) -> None:
        for name in ("model", "data", "out"):
            if not getattr(self, name).strip():
                raise BadConfig(f"{name} must name a folder")
        for name in ("group", "prompts", "micro_batch", "iterations", "steps", "max_tokens", "save_every"):
            if not 1 <= getattr(self, name) <= 1 << 24:
                raise BadConfig(f"{name} must be a whole number from 1 on, got {getattr(self, name)}")
        if self.group < 2:
            raise BadConfig("group must be 2 or more: an answer is judged against the others of its group")
        if not 0 <= self.warmup_steps <= self.steps or self.seed < 0:
            raise BadConfig("0 <= warmup_steps <= steps and seed >= 0 must hold")
        for name in ("learning_rate", "epsilon", "temperature"):
            value = getattr(self, name)
            if not (math.isfinite(value) and 0.0 < value <= 100.0):
                raise BadConfig(f"{name} must be above 0, got {value}")
        for name in ("beta", "format_weight", "task_weight"):
            value = getattr(self, name)
            if not (math.isfinite(value) and 0.0 <= value <= 100.0):
                raise BadConfig(f"{name} must be 0 or more, got {value}")
        if self.format_weight == self.task_weight == 0.0:
            raise BadConfig("format_weight and task_weight are both 0: nothing would be learned")
        if self.precision not in PRECISIONS:
            raise BadConfig(f"precision must be one of {', '.join(PRECISIONS)}, got {self.precision[:40]!r}")

    def accumulation(self, processes: int) -> int:
        """Passes of one process in one step. Raises BadConfig where the answers of a step cannot be shared out."""
        answers, at_once = self.group * self.prompts, self.micro_batch * processes
        if answers % at_once:
            raise BadConfig(
                f"group x prompts = {answers} answers must be a multiple of micro_batch x processes = {at_once}"
            )
        return answers // at_once

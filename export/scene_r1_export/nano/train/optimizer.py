"""How weights are moved: Muon for the matrices inside, AdamW for the rest, and a rate that holds and then falls."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn


class Optimizer:
    """Muon and AdamW as one. Muon needs about half the pictures here that AdamW alone does.

    matrices: parameters of two dimensions inside the network. others: embeddings, norms, biases, heads, which move at
    a share of the rate.
    """

    def __init__(
        self, matrices: Iterable[nn.Parameter], others: Iterable[nn.Parameter], rate: float, share: float = 1.0
    ) -> None:
        self.rate = rate
        self._shares: list[float] = []
        self._parts: list[Any] = []
        self._all: list[nn.Parameter] = []
        for parameters, kind in ((list(matrices), "muon"), (list(others), "adamw")):
            if not parameters:
                continue
            self._all += parameters
            self._shares.append(1.0 if kind == "muon" else share)
            if kind == "muon":
                self._parts.append(Muon(parameters, rate))
            else:
                self._parts.append(torch.optim.AdamW(parameters, lr=rate, betas=(0.9, 0.98), weight_decay=0.01))

    def step(self, share: float, clip: float = 1.0) -> float:
        """One step at `share` of the rate, then gradients are forgotten. Returns their norm before clipping."""
        norm = nn.utils.clip_grad_norm_(self._all, clip)
        for part, own in zip(self._parts, self._shares, strict=True):
            for group in part.param_groups:
                group["lr"] = self.rate * share * own
            part.step()
            part.zero_grad(set_to_none=True)
        return float(norm)

    def state_dict(self) -> list[Any]:
        """For `load_state_dict`."""
        return [part.state_dict() for part in self._parts]

    def load_state_dict(self, states: list[Any]) -> None:
        """Go on where another one of the same parameters was."""
        for part, state in zip(self._parts, states, strict=True):
            part.load_state_dict(state)


class Muon(torch.optim.Optimizer):
    """Momentum whose every step is made orthogonal (Jordan et al. 2024), scaled so that AdamW's rates fit (Liu et al.
    2025). torch's own works in bfloat16, which a CPU without such instructions takes a hundred times as long for."""

    def __init__(self, parameters: list[nn.Parameter], lr: float, momentum: float = 0.95, decay: float = 0.02) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "decay": decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step along the gradients."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                momentum = state["momentum"]
                momentum.lerp_(parameter.grad, 1.0 - group["momentum"])
                update = orthogonal(parameter.grad.lerp(momentum, group["momentum"]))
                parameter.mul_(1.0 - group["lr"] * group["decay"])
                parameter.add_(update, alpha=-group["lr"] * 0.2 * max(parameter.shape) ** 0.5)


def orthogonal(matrix: Tensor, rounds: int = 5) -> Tensor:
    """Near the orthogonal matrix that is nearest to it: Newton and Schulz's iteration of the fifth order."""
    flat = matrix.shape[0] <= matrix.shape[1]
    x: Tensor = matrix if flat else matrix.T
    x = x / (x.norm() + 1e-7)
    for _ in range(rounds):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x if flat else x.T


def share_of_rate(step: int, warm: int, fall_from: int | None, fall_to: int | None) -> float:
    """Warm-up, then 1, then from step `fall_from` down to 0.02 at `fall_to`."""
    share = min(1.0, (step + 1) / warm)
    if fall_from is not None and fall_to is not None and step >= fall_from:
        share *= max(0.02, 1.0 - (step - fall_from) / max(1, fall_to - fall_from))
    return share

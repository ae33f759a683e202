"""How weights are moved, and that a training which was stopped goes on as if it had not been."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.export.nano_parts import language, put_room, small_room, words

from scene_r1_engines.errors import BadInput
from scene_r1_export.nano.checkpoint import new_model
from scene_r1_export.nano.data.views import Views
from scene_r1_export.nano.model.sizes import TINY
from scene_r1_export.nano.state import read_state, write_state
from scene_r1_export.nano.train.language import LanguageTraining, Teacher
from scene_r1_export.nano.train.optimizer import Muon, Optimizer, orthogonal, share_of_rate
from scene_r1_export.nano.train.vision import VisionTraining, train_vision


@pytest.mark.parametrize("shape", [(32, 96), (96, 32), (64, 64)])
@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_muons_steps_are_nearly_orthogonal(shape: tuple[int, int], scale: float) -> None:
    torch.manual_seed(0)
    rows, columns = shape
    left, _ = torch.linalg.qr(torch.randn(rows, min(shape)))
    right, _ = torch.linalg.qr(torch.randn(columns, min(shape)))
    matrix = (left * torch.linspace(0.2, 1.0, min(shape))) @ right.T * scale
    near = orthogonal(matrix)
    values = torch.linalg.svdvals(near)
    assert near.shape == shape
    assert 0.6 < float(values.min()) <= float(values.max()) < 1.3
    # The same directions: the nearest orthogonal matrix is left @ right.T.
    likeness = (near * (left @ right.T)).sum() / (near.norm() * (left @ right.T).norm())
    assert float(likeness) > 0.97


def test_muon_goes_down_and_forgets_no_parameter_without_a_gradient() -> None:
    torch.manual_seed(0)
    wanted = torch.randn(8, 12)
    weight, idle = torch.nn.Parameter(torch.zeros(8, 12)), torch.nn.Parameter(torch.ones(2, 2))
    optimizer = Muon([weight, idle], lr=0.2)
    losses = []
    for _ in range(120):
        loss = (weight - wanted).square().mean()
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.1 * losses[0]
    assert torch.equal(idle, torch.ones(2, 2))


def test_the_rate_warms_up_holds_and_falls() -> None:
    shares = [share_of_rate(step, 10, 50, 100) for step in range(120)]
    assert shares[0] == 0.1
    assert shares[:10] == sorted(shares[:10])
    assert shares[9:50] == [1.0] * 41
    assert shares[50:100] == sorted(shares[50:100], reverse=True)
    assert shares[75] == pytest.approx(0.5)
    assert shares[99:] == [pytest.approx(0.02)] * 21
    assert {share_of_rate(step, 10, None, 100) for step in range(10, 120)} == {1.0}


def test_a_step_moves_at_its_share_of_the_rate_and_forgets_gradients() -> None:
    moved = []
    for share in (1.0, 0.25):
        torch.manual_seed(1)
        inner, other = torch.nn.Parameter(torch.zeros(4, 4)), torch.nn.Parameter(torch.zeros(3))
        optimizer = Optimizer([inner], [other], 0.01)
        ((inner * torch.randn(4, 4)).sum() + other.sum()).backward()
        norm = optimizer.step(share)
        assert norm > 1.0  # before it was clipped
        assert inner.grad is None
        assert other.grad is None
        moved.append(torch.cat((inner.detach().flatten(), other.detach())))
    assert torch.allclose(moved[1], 0.25 * moved[0], atol=1e-7)


def stage(folder: Path, kind: str, *stops: int) -> tuple[dict[str, Any], list[dict[str, float]]]:
    """The state that a stage leaves which is stopped at these steps, and its log."""
    state, said = folder / f"{kind}-{len(stops)}.pt", list[str]()
    for number, steps in enumerate(stops):
        model = new_model(TINY, words(), seed=number)  # the second's weights are forgotten
        if kind == "vision":
            views = Views(folder / "rooms")
            views.refresh()
            made = VisionTraining(steps, batch=2, side=112, zoom=(1.0, 1.2), warm=1)
            train_vision(model.model.visual, views, 0.7, made, state, said.append)
        else:
            teacher = Teacher(model, TINY, language(), [small_room()], state)
            small = LanguageTraining(
                steps, pictures=2, questions=2, drills=2, walks=0.5, fewest=2, most=3, see_from=1, warm=1
            )
            teacher.train(small, said.append)
    return read_state(state), [json.loads(line) for line in said]


def tensors(value: Any, name: str = "") -> dict[str, torch.Tensor]:
    """All tensors of a state by their place in it."""
    if isinstance(value, torch.Tensor):
        return {name: value}
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    return {inner: one for key, part in parts for inner, one in tensors(part, f"{name}/{key}").items()}


@pytest.mark.parametrize("kind", ["vision", "language"])
def test_two_steps_and_two_more_are_four(kind: str, tmp_path: Path) -> None:
    put_room(tmp_path / "rooms")
    (once, log), (twice, longer) = stage(tmp_path, kind, 4), stage(tmp_path, kind, 2, 4)
    assert (once["step"], twice["step"]) == (4, 4)
    ours, theirs = tensors(once), tensors(twice)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert torch.allclose(theirs[name], value, atol=1e-5), name
    assert [line["step"] for line in log] == [4]
    assert [line["step"] for line in longer] == [2, 4]
    begun = new_model(TINY, words()).state_dict()
    where = ("visual", "") if kind == "vision" else ("model", "model.visual.")
    weight = "blocks.0.attn.qkv.weight"
    first = begun[f"model.visual.{weight}"]
    assert float((once[where[0]][where[1] + weight] - first).abs().max()) > 1e-4


@pytest.mark.parametrize("content", [b"", b"weights", b"PK\x03\x04 cut off"])
def test_a_damaged_state_is_refused_by_name(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "vision.pt"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=r"vision\.pt: damaged .*run its stage again"):
        read_state(path)


def test_a_file_of_something_else_is_no_state(tmp_path: Path) -> None:
    path = tmp_path / "language.pt"
    torch.save({"weights": torch.zeros(2)}, path)
    with pytest.raises(BadInput, match=r"language\.pt: not a state"):
        read_state(path)
    write_state(path, {"step": 3, "weights": torch.ones(2)})
    assert read_state(path)["step"] == 3
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadInput, match=r"language\.pt: damaged"):
        read_state(path)

"""The training loop: a run that was killed and resumed is the run that was not."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from difflens_widgets.tiny.training import loop as _loop
from difflens_widgets.tiny.training.cores import parts_of
from difflens_widgets.tiny.training.loop import StageConfig, _backward, fit

CONFIG = StageConfig(steps=200, batch=4, learning_rate=1e-2, warmup=10, checkpoint_seconds=0)


class Killed(Exception):
    pass


def train(folder: Path, kill_at: int | None = None) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))

    def loss_of_step(step: int, generator: torch.Generator) -> torch.Tensor:
        if step == kill_at:
            raise Killed
        x = torch.randn(CONFIG.batch, 3, generator=generator)
        return (model(x) - x.prod(1, keepdim=True)).square().mean()

    return fit(model, loss_of_step, CONFIG, folder, "toy")


def test_resumed_equals_unbroken(tmp_path) -> None:
    unbroken = train(tmp_path / "a")
    with pytest.raises(Killed):
        train(tmp_path / "b", kill_at=130)
    resumed = train(tmp_path / "b")
    assert (tmp_path / "a/toy.jsonl").read_text() == (tmp_path / "b/toy.jsonl").read_text()
    for ours, theirs in zip(resumed.parameters(), unbroken.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_gradients_by_parts_are_those_of_the_whole_batch(parts) -> None:
    """Each part in a thread of its own; the number of threads is put back."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
    frozen = nn.Linear(1, 1).requires_grad_(False)
    model.append(frozen)
    x = torch.randn(8, 3)

    def loss_of(rows: slice) -> torch.Tensor:
        return (model(x[rows]) - x[rows].prod(1, keepdim=True)).square().mean()

    whole = _backward(loss_of(slice(None)), model)
    expected = {name: parameter.grad for name, parameter in model.named_parameters()}
    model.zero_grad(set_to_none=True)
    threads = torch.get_num_threads()
    assert _backward([partial(loss_of, slice(part, None, parts)) for part in range(parts)], model) == pytest.approx(
        whole
    )
    assert torch.get_num_threads() == threads
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            torch.testing.assert_close(parameter.grad, expected[name])
            assert parameter.grad.abs().max() > 0
        else:
            assert parameter.grad is None


@pytest.mark.parametrize("parts", [1, 2])
def test_a_step_by_parts_is_that_of_the_whole_batch_also_for_pictures_that_lie_row_by_row(parts) -> None:
    """Their convolutions' gradients lie otherwise in memory than the weights; AdamW's fused step mixed them up."""
    moved = []
    for by_parts in (False, True):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.SiLU(), nn.Conv2d(8, 8, 3))
        x = torch.randn(4, 8, 8, 3).permute(0, 3, 1, 2)

        def loss_of(rows: slice, model: nn.Module = model, x: torch.Tensor = x) -> torch.Tensor:
            return model(x[rows]).square().mean()

        optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)
        calls = [partial(loss_of, slice(part, None, parts)) for part in range(parts)]
        _backward(calls if by_parts else loss_of(slice(None)), model)
        optimizer.step()
        moved.append([parameter.detach() for parameter in model.parameters()])
    for ours, theirs in zip(*moved, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_part_that_fails_is_told_and_leaves_the_threads_as_they_were() -> None:
    model = nn.Linear(3, 1)

    def fails() -> torch.Tensor:
        raise Killed

    threads = torch.get_num_threads()
    with pytest.raises(Killed):
        _backward([lambda: model(torch.ones(1, 3)).sum(), fails], model)
    assert torch.get_num_threads() == threads


def test_a_finished_stage_is_not_trained_again(tmp_path) -> None:
    first = train(tmp_path)
    again = train(tmp_path, kill_at=0)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))


def test_it_learns_and_the_curve_is_on_disk(tmp_path) -> None:
    train(tmp_path)
    curve = [json.loads(line) for line in (tmp_path / "toy.jsonl").read_text().splitlines()]
    assert [point["step"] for point in curve] == [50, 100, 150, 200]
    assert curve[-1]["loss"] < curve[0]["loss"]
    assert not list(tmp_path.glob("*.part"))


def test_parts_are_computed_as_precisely_as_the_device_does_best(tmp_path, monkeypatch) -> None:
    """Autocast is a thread's own, and parts have threads of their own."""
    monkeypatch.setattr(_loop, "_computes_in_bfloat16", lambda device: True)
    model, seen = nn.Linear(3, 1), []

    def loss_of_part() -> torch.Tensor:
        answer = model(torch.ones(2, 3))
        seen.append(answer.dtype)
        return answer.float().square().mean()

    fit(model, lambda step, generator: [loss_of_part] * 2, replace(CONFIG, steps=2), tmp_path, "toy")
    assert seen == [torch.bfloat16] * 4


@pytest.mark.parametrize(("cores", "parts"), [(1, 1), (2, 2), (3, 2), (4, 4), (16, 4)])
def test_parts_are_of_one_size(monkeypatch, cores, parts) -> None:
    """The loss is the mean of theirs: a smaller one's rows would weigh more."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: cores)
    assert parts_of(torch.device("cpu")) == parts
    assert parts_of(torch.device("cuda")) == 1

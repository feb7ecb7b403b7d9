"""Muon: its steps are orthogonal and as long as they should be, torch's own agrees, and a killed run is resumed."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from difflens_widgets.tiny.training.loop import StageConfig, _optimizers, fit
from difflens_widgets.tiny.training.muon import Muon, orthogonal

CONFIG = StageConfig(steps=100, batch=16, learning_rate=1e-2, warmup=10, checkpoint_seconds=0, muon=("1.", "2."))


@pytest.mark.parametrize("shape", [(24, 24), (16, 90), (90, 16)])
def test_singular_vectors_stay_and_values_come_near_to_one(shape) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    u, before, v = torch.linalg.svd(matrix, full_matrices=False)
    turned = u.T @ orthogonal(matrix) @ v.T
    assert before.max() / before.min() > 2
    assert ((turned.diag() > 0.6) & (turned.diag() < 1.3)).all()
    assert (turned - turned.diag().diag()).abs().max() < 1e-3


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch has none before 2.9")
def test_steps_are_those_of_torchs_own() -> None:
    """That one computes in bfloat16: only nearly."""
    torch.manual_seed(0)
    ours = nn.Parameter(torch.randn(24, 60))
    theirs, start = deepcopy(ours), ours.detach().clone()
    options = {"lr": 0.01, "weight_decay": 0.1}
    steps = (Muon([ours], **options), torch.optim.Muon([theirs], adjust_lr_fn="match_rms_adamw", **options))
    for _ in range(3):
        gradient = torch.randn(24, 60)
        for parameter, optimizer in zip((ours, theirs), steps, strict=True):
            parameter.grad = gradient.clone()
            optimizer.step()
    assert (ours - theirs).norm() < 0.02 * (ours - start).norm()


def test_a_convolution_is_a_matrix_with_a_row_for_each_output() -> None:
    torch.manual_seed(0)
    kernel = nn.Parameter(torch.zeros(8, 4, 3, 3))
    kernel.grad = torch.randn_like(kernel)
    Muon([kernel], lr=0.01, weight_decay=0.0).step()
    expected = -0.01 * 0.2 * 36**0.5 * orthogonal(kernel.grad.flatten(1))
    torch.testing.assert_close(kernel.detach().flatten(1), expected)


def test_it_has_the_named_matrices_and_adam_the_rest() -> None:
    model = _model()
    adam, muon = _optimizers(model, CONFIG)
    assert [len(group["params"]) for group in muon.param_groups] == [2]
    assert muon.param_groups[0]["params"][0] is model[1].weight
    assert sum(len(group["params"]) for group in adam.param_groups) == len(list(model.parameters())) - 2
    assert [type(each) for each in _optimizers(model, replace(CONFIG, muon=()))] == [torch.optim.AdamW]


class _Killed(Exception):
    pass


def _model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 1), nn.Flatten(), nn.Linear(8, 1))


def _train(folder: Path, kill_at: int | None = None, config: StageConfig = CONFIG) -> nn.Module:
    model = _model()

    def loss_of_step(step: int, generator: torch.Generator) -> torch.Tensor:
        if step == kill_at:
            raise _Killed
        x = torch.randn(CONFIG.batch, 1, 5, 5, generator=generator)
        return (model(x) - x.sum((2, 3))).square().mean()

    return fit(model, loss_of_step, config, folder, "toy")


def test_resumed_equals_unbroken(tmp_path) -> None:
    """Its momentum is in the checkpoint."""
    unbroken = _train(tmp_path / "a")
    with pytest.raises(_Killed):
        _train(tmp_path / "b", kill_at=70)
    resumed = _train(tmp_path / "b")
    first, last = (tmp_path / "a/toy.jsonl").read_text().splitlines()
    assert (tmp_path / "b/toy.jsonl").read_text().splitlines() == [first, last]
    assert float(last.split()[-1][:-1]) < float(first.split()[-1][:-1])
    for ours, theirs in zip(resumed.parameters(), unbroken.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_another_optimizers_checkpoint_is_refused(tmp_path) -> None:
    """It would have gone on with no momentum, and not said so."""
    _train(tmp_path, config=replace(CONFIG, muon=()))
    with pytest.raises(ValueError, match="other optimizers"):
        _train(tmp_path)

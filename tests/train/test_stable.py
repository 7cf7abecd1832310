"""The boundary loss, selective clipping and distillation, against numbers made by hand."""

import math

import pytest
import torch
from torch import nn

from slaf.core import SlafError
from slaf.train import Recipe, boundary_loss, clip_selectively, clippable, distillation_loss, train


def test_the_boundary_loss_counts_half_widths_outside() -> None:
    x = torch.tensor([-1.0, 0.0, 3.0, 5.0, -3.0], dtype=torch.float64, requires_grad=True)
    value = boundary_loss(x, -1.0, 3.0)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(2 * math.expm1(1) / 5)
    (slope,) = torch.autograd.grad(value, x)
    assert slope.tolist() == pytest.approx([0, 0, 0, math.e / 2 / 5, -math.e / 2 / 5])


def test_far_out_it_is_straight_and_finite() -> None:
    x = torch.tensor([1e4, 1e30], requires_grad=True)
    value = boundary_loss(x, -1.0, 1.0)
    assert boundary_loss(x[:1], -1.0, 1.0).item() == pytest.approx(math.expm1(5) + math.exp(5) * (1e4 - 1 - 5), rel=1e-5)
    assert torch.isfinite(torch.autograd.grad(value, x)[0]).all()
    assert boundary_loss(torch.zeros(0), -1.0, 1.0).item() == 0


def test_clipping_spares_batch_norm() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
    (1e3 * model(torch.randn(16, 4))).square().sum().backward()
    before = {n: p.grad.clone() for n, p in model.named_parameters()}
    norm = clip_selectively(model, 0.5)
    outside = [n for n in before if not n.startswith("1.")]
    assert norm.item() == pytest.approx(math.sqrt(sum((before[n].square().sum()).item() for n in outside)), rel=1e-5)
    for name, p in model.named_parameters():
        scale = 0.5 / norm.item() if name in outside else 1.0
        assert torch.allclose(p.grad, before[name] * scale, rtol=1e-4)
    assert len(clippable(model)) == 4
    for wrong in (0, -1, math.nan, True, "1"):
        with pytest.raises(SlafError, match="max_norm must be a positive number"):
            clip_selectively(model, wrong)


def test_distillation_keeps_the_teacher_out_of_the_graph() -> None:
    output, teacher = torch.randn(5, 4, 3, requires_grad=True), torch.randn(5, 4, 3, requires_grad=True)
    value = distillation_loss(output, teacher, "kl", temperature=2.0)
    p, q = (teacher / 2).softmax(-1), (output / 2).softmax(-1)
    assert value.item() == pytest.approx(4 * ((p * (p / q).log()).sum(-1).mean()).item(), rel=1e-4)
    value.backward()
    assert output.grad is not None
    assert teacher.grad is None
    with pytest.raises(SlafError, match="distance must be"):
        distillation_loss(output, teacher, "cosine")


def test_the_loop_clips_selectively() -> None:
    x, y = torch.randn(32, 4, generator=torch.Generator().manual_seed(0)), torch.zeros(32, 2)

    def moved(**options: bool) -> dict[str, float]:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))
        before = {n: p.detach().clone() for n, p in model.named_parameters()}
        train(model, (x, y), lambda a, b: 100 * (a - b).square().mean(), Recipe(1, 32, 1e-3, optimizer="sgd", clip=1e-3, **options))
        return {n: (p.detach() - before[n]).norm().item() for n, p in model.named_parameters()}

    plain, selective = moved(), moved(clip_selectively=True)
    assert plain["1.weight"] < 1e-6 < 1e-4 < selective["1.weight"]
    assert selective["2.weight"] < 1e-5
    with pytest.raises(SlafError, match="clip_selectively needs clip"):
        Recipe(1, 32, clip_selectively=True)

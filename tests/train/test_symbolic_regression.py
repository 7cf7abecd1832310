"""From samples to formulas that are known beforehand."""

from __future__ import annotations

import pytest
import sympy
import torch
from torch import Tensor

from slaf import SlafError
from slaf.train import symbolic_regression


def _samples(count: int = 200) -> Tensor:
    return 2 * torch.rand(count, 2, generator=torch.Generator().manual_seed(0)) - 1


def test_a_formula_is_found_in_the_units_of_the_data() -> None:
    x = _samples().double()
    y = 30 + 7 * torch.exp(x[:, :1] + x[:, 1:] ** 2)
    before = torch.get_rng_state()
    found = symbolic_regression(x.numpy(), y.tolist(), hidden=1)
    assert torch.equal(torch.get_rng_state(), before)
    a, b = sympy.symbols("a b", real=True)
    assert found.expressions(["a", "b"]) == [7 * sympy.exp(a + b**2) + 30]
    assert found.nmse < 1e-20
    assert torch.allclose(found.model(2 * x), 30 + 7 * torch.exp(2 * x[:, :1] + 4 * x[:, 1:] ** 2), rtol=1e-8)
    error = (found.network(x) - y).square().mean() / y.var(correction=0)
    assert found.network_nmse < 1e-2
    assert float(error.detach()) < 2 * found.network_nmse + 1e-3  # its least edges are gone since


def test_several_outputs_have_a_formula_each() -> None:
    x = _samples()
    found = symbolic_regression(x, torch.stack([x[:, 0] * 3, x[:, 1] ** 2 - 1], 1), hidden=2)
    a, b = sympy.symbols("x1 x2", real=True)
    assert found.expressions() == [3 * a, b**2 - 1]


@pytest.mark.parametrize(
    ("x", "y", "told"),
    [
        (_samples(), _samples(9), r"x and y must be \(n, features\) and \(n, outputs\) of 10 samples or more; got \(200, 2\) and \(9, 2\)"),
        (_samples(9), _samples(9), "10 samples or more"),
        (_samples(), _samples() / 0, "x and y must be finite"),
        (_samples(), torch.ones(200), "y must vary; an output is constant"),
    ],
)
def test_errors_are_one_sentence(x: Tensor, y: Tensor, told: str) -> None:
    with pytest.raises(SlafError, match=told):
        symbolic_regression(x, y)


def test_other_first_weights_are_tried_where_none_is_exact() -> None:
    generator = torch.Generator().manual_seed(43)
    x = 2 * torch.rand(300, 2, generator=generator, dtype=torch.float64) - 1
    y = x.norm(dim=1)
    assert symbolic_regression(x, y, hidden=2, starts=1, seed=3).nmse > 1e-4
    assert symbolic_regression(x, y, hidden=2, seed=3).nmse < 1e-10
    with pytest.raises(SlafError, match="starts must be 1 or more; got 0"):
        symbolic_regression(x, y, starts=0)

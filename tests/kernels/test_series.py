"""The primitives against float64 references written another way."""

import numpy as np
import pytest
import torch
from numpy.polynomial import chebyshev as npcheb
from numpy.polynomial import polynomial as nppoly

from slaf.bases import basis
from slaf.kernels import moments, series

FAMILIES = {"power": nppoly.polyval, "chebyshev": npcheb.chebval}


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("degree", [0, 1, 2, 5, 9])
def test_series_equals_numpy(name, degree):
    x, c = torch.randn(40, dtype=torch.float64), torch.randn(degree + 1, 1, dtype=torch.float64)
    expected = FAMILIES[name](x.numpy(), c[:, 0].numpy())
    torch.testing.assert_close(series(x, c, None, None, basis(name).recurrence).numpy(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("degree", [1, 2, 6])
def test_series_is_differentiable_twice_in_everything(name, degree):
    recurrence = basis(name).recurrence
    x = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    c = torch.randn(degree + 1, 1, 3, dtype=torch.float64, requires_grad=True)
    center = torch.randn(1, 3, dtype=torch.float64, requires_grad=True)
    rscale = torch.rand(1, 3, dtype=torch.float64).add(0.3).requires_grad_()
    arguments = (x, c, center, rscale)
    assert torch.autograd.gradcheck(lambda *a: series(*a, recurrence), arguments)
    assert torch.autograd.gradgradcheck(lambda *a: series(*a, recurrence), arguments)


@pytest.mark.parametrize("name", FAMILIES)
def test_moments_are_means_of_terms_and_differentiable_twice(name):
    recurrence = basis(name).recurrence
    x = torch.randn(7, 2, 3, dtype=torch.float64, requires_grad=True)
    center = torch.randn(1, 2, 1, dtype=torch.float64, requires_grad=True)
    rscale = torch.rand(1, 2, 1, dtype=torch.float64).add(0.3).requires_grad_()

    def run(x, center, rscale):
        return moments(x, 5, (1, 2, 1), center, rscale, recurrence)

    expected = basis(name).evaluate((x - center) * rscale, 5).mean((0, 2), keepdim=True).movedim(-1, 0)
    torch.testing.assert_close(run(x, center, rscale), expected)
    assert torch.autograd.gradcheck(run, (x, center, rscale))
    assert torch.autograd.gradgradcheck(run, (x, center, rscale))


@pytest.mark.parametrize("name", FAMILIES)
def test_transforms_see_the_right_values(name):
    recurrence = basis(name).recurrence
    x, dx = torch.randn(2, 5, dtype=torch.float64).unbind()
    c = torch.randn(5, 1, dtype=torch.float64)

    def f(x):
        return series(x, c, None, None, recurrence)

    slope = torch.autograd.functional.jacobian(f, x).diagonal()
    torch.testing.assert_close(torch.func.jvp(f, (x,), (dx,))[1], slope * dx)
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, dx)
        torch.testing.assert_close(torch.autograd.forward_ad.unpack_dual(f(dual)).tangent, slope * dx)
    torch.testing.assert_close(torch.func.vmap(lambda v: series(v[None], c, None, None, recurrence)[0])(x), f(x))
    hessian = torch.func.hessian(lambda v: f(v).sum())(x)
    step = 1e-5
    numeric = (f(x + step) - 2 * f(x) + f(x - step)) / step**2
    torch.testing.assert_close(hessian.diagonal(), numeric, rtol=1e-3, atol=1e-3)


def saved_bytes(function):
    total = 0

    def pack(tensor):
        nonlocal total
        total += tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        function()
    return total


@pytest.mark.parametrize("degree", [3, 9])
def test_only_the_input_is_kept_for_backward(degree):
    x = torch.randn(512, 64, requires_grad=True)
    c = torch.randn(degree + 1, 1, 64, requires_grad=True)
    kept = saved_bytes(lambda: series(x, c, None, None, basis("chebyshev").recurrence))
    assert kept <= 1.05 * x.numel() * 4


def test_half_types_compute_in_float32():
    x = torch.linspace(-3, 3, 1001).bfloat16()
    c = torch.tensor([0.1, -1.0, 0.5, 0.7, -0.3]).reshape(5, 1)
    recurrence = basis("power").recurrence
    got = series(x, c, None, None, recurrence)
    exact = series(x.double(), c.double(), None, None, recurrence)
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got, exact.bfloat16(), rtol=2**-7, atol=1e-5)


@pytest.mark.parametrize("name", FAMILIES)
def test_recurrence_tables(name):
    recurrence = basis(name).recurrence
    degree = 7
    u = np.linspace(-1.5, 1.5, 9)
    terms = np.stack([FAMILIES[name](u, np.eye(degree * 2 + 1)[j]) for j in range(degree * 2 + 1)])
    monomials = recurrence.to_monomial(degree) @ u[None] ** np.arange(degree + 1)[:, None]
    np.testing.assert_allclose(monomials, terms[: degree + 1], rtol=1e-10, atol=1e-10)
    products = recurrence.products(degree) @ terms
    np.testing.assert_allclose(products, terms[: degree + 1, None] * terms[None, : degree + 1], rtol=1e-9, atol=1e-9)
    step = 1e-6
    shifted = [np.stack([FAMILIES[name](u + s, np.eye(degree + 1)[j]) for j in range(degree + 1)]) for s in (step, -step)]
    np.testing.assert_allclose(
        recurrence.derivative(degree) @ terms[: degree + 1], (shifted[0] - shifted[1]) / (2 * step), rtol=1e-6, atol=1e-4
    )

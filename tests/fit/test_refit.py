"""A change of variable keeps the function: against rational arithmetic."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from slaf.bases.polynomial import POWERS, Polynomials
from slaf.core import SlafError
from slaf.fit import refit
from slaf.fit.piecewise import CHEBYSHEV


def _exact(p, row, x):
    """p at x in rational arithmetic."""
    u = (x - Fraction(float(p.center[row]))) * Fraction(float(p.rscale[row]))
    terms = [Fraction(1), Fraction(p.recurrence.factors(0)[0]) * u]
    for k in range(1, p.degree):
        a, b = p.recurrence.factors(k)
        terms.append(Fraction(a) * u * terms[-1] - Fraction(b) * terms[-2])
    return sum(Fraction(float(c)) * t for c, t in zip(p.coefficients[row], terms, strict=False))


@given(
    degree=st.integers(1, 12), low=st.floats(-4, 3), width=st.floats(0.1, 6), family=st.sampled_from([POWERS, CHEBYSHEV]),
    to=st.sampled_from([None, POWERS, CHEBYSHEV]), seed=st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=30, deadline=None)
def test_the_function_is_kept(degree, low, width, family, to, seed):
    generator = torch.Generator().manual_seed(seed)
    c = torch.randn(2, degree + 1, generator=generator, dtype=torch.float64)
    old = Polynomials(c, torch.tensor([0.5, -1.0]).double(), torch.tensor([0.25, 0.5]).double(), family)
    new, error = refit(old, (low, low + width), to)
    assert new.recurrence == (to or family)
    for row in (0, 1):
        points = [Fraction(low) + Fraction(width) * Fraction(k, 7) for k in range(8)]
        before = [_exact(old, row, x) for x in points]
        worst = max(abs(b - _exact(new, row, x)) for b, x in zip(before, points, strict=True))
        size = max(1, *(abs(b) for b in before))
        assert float(worst / size) <= error + 1e-11
    assert error < 1e-9


def test_there_and_back():
    c = torch.tensor([[0.3, 1.0, -0.2, 0.05]]).double()
    old = Polynomials(c, torch.zeros(1).double(), torch.ones(1).double() / 3, CHEBYSHEV)
    moved, _ = refit(old, (1.0, 5.0))
    back, _ = refit(moved, (-3.0, 3.0))
    assert torch.allclose(back.coefficients, c, atol=1e-14)


def test_an_empty_interval_is_refused():
    p = Polynomials(torch.ones(1, 2).double(), torch.zeros(1).double(), torch.ones(1).double(), POWERS)
    with pytest.raises(SlafError, match="low < high"):
        refit(p, (2.0, 2.0))

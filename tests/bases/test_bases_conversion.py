"""Exact conversions: polynomials to and from powers, piecewise polynomials to and from their pieces."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from slaf.bases import basis
from slaf.core import SlafError

POLYNOMIAL = ("power", "chebyshev", "legendre", "hermite")
PIECEWISE = ("bspline", "bspline(degree=1)", "bspline(degree=2)", "bspline(degree=5)", "piecewise_linear")
numbers = st.floats(-10, 10, allow_nan=False, width=32)


@settings(deadline=None, max_examples=50)
@given(name=st.sampled_from(POLYNOMIAL), values=st.lists(numbers, min_size=2, max_size=11))
def test_powers_there_and_back(name, values):
    made, c = basis(name), torch.tensor(values, dtype=torch.float64)
    powers = made.to_monomial(c)
    torch.testing.assert_close(made.from_monomial(powers), c, rtol=1e-9, atol=1e-9)
    u = torch.linspace(-1, 1, 21, dtype=torch.float64)
    terms = torch.cat([torch.ones(21, 1, dtype=torch.float64), made.evaluate(u, len(c) - 1)], 1)
    expected = np.polynomial.polynomial.polyval(u.numpy(), powers.numpy())
    np.testing.assert_allclose((terms @ c).numpy(), expected, atol=1e-9, rtol=1e-9)


@settings(deadline=None, max_examples=50)
@given(spec=st.sampled_from(PIECEWISE), values=st.lists(numbers, min_size=6, max_size=16))
def test_pieces_there_and_back(spec, values):
    made, c = basis(spec), torch.tensor(values, dtype=torch.float64)
    count = len(c) - 1
    local = made.to_pieces(c)
    torch.testing.assert_close(made.from_pieces(local, count), c, rtol=1e-7, atol=1e-7)
    edges, width = made.breakpoints(count), made.width(count)
    u = torch.linspace(-2, 2, 101, dtype=torch.float64) + 1e-5
    terms = torch.cat([torch.ones(101, 1, dtype=torch.float64), made.evaluate(u, count)], 1)
    for x, wanted in zip(u.tolist(), (terms @ c).tolist(), strict=True):
        piece = int(np.searchsorted(edges, x))
        anchor = edges[max(piece - 1, 0)]
        got = sum(a * ((x - anchor) / width) ** j for j, a in enumerate(local[piece].tolist()))
        assert abs(got - wanted) <= 1e-8 * max(1.0, abs(wanted))


def test_pieces_of_many_channels_at_once():
    made, c = basis("bspline"), torch.randn(2, 3, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    local = made.to_pieces(c)
    assert local.shape == (2, 3, 11, 4)
    torch.testing.assert_close(made.from_pieces(local, 11), c)


def test_pieces_that_do_not_fit_together_are_refused():
    made = basis("bspline")
    local = made.to_pieces(torch.ones(12, dtype=torch.float64))
    local[4, 0] += 1
    with pytest.raises(SlafError, match="no combination of the 11 terms of basis bspline"):
        made.from_pieces(local, 11)

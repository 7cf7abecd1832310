"""A SLAF over a fixed interval in place of statistics."""

import numpy as np
import pytest
import torch

import slaf
from slaf.core import SlafError
from slaf.testing import check_activation


@pytest.mark.parametrize("spec", ["slaf(degree=7, interval=(-6.0, 8.0))", "slaf(basis=bspline, interval=(-2.0, 5.0), squash=tanh)"])
def test_keeps_the_contract(spec):
    report = check_activation(spec)
    assert report.passed, report


def test_is_a_chebyshev_series_of_the_interval_in_training_too():
    act = slaf.make("slaf(degree=6, interval=(-1.0, 5.0), coefficient_scale=1.0)", num_channels=2, dtype=torch.float64)
    with torch.no_grad():
        act.weight.normal_(generator=torch.Generator().manual_seed(0))
        act.bias.fill_(0.25)
    x = torch.linspace(-1, 5, 101, dtype=torch.float64)[:, None].expand(-1, 2)
    for mode in (True, False):
        y = act.train(mode)(x).detach().numpy()
        for c in range(2):
            series = np.concatenate([[0.25], act.weight[c].detach().numpy()])
            np.testing.assert_allclose(y[:, c], np.polynomial.chebyshev.chebval((x[:, c].numpy() - 2) / 3, series), atol=1e-12)
    assert not list(act.buffers())


def test_starts_near_its_init_on_the_interval():
    act = slaf.make("slaf(degree=9, interval=(-2.0, 6.0), init=silu)")
    x = torch.linspace(-0.6, 4.6, 101)  # two of the three standard deviations
    assert (act(x) - torch.nn.functional.silu(x)).abs().max().item() < 0.01
    assert act.domain == (-2.0, 6.0)
    assert repr(slaf.make(repr(act))) == repr(act)


@pytest.mark.parametrize(
    "arguments", ["interval=(-1.0, 1.0), input=affine", "interval=(-1.0, 1.0), preset=paper_b", "interval=(2.0, 1.0)", "interval=3"]
)
def test_refuses_in_words(arguments):
    with pytest.raises(SlafError, match="interval"):
        slaf.make(f"slaf({arguments})", num_channels=2)

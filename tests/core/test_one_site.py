"""Functions that differ from channel to channel: one of them by itself, as an expression, its turning points, folded."""

import pytest
import sympy
import torch

import slaf
from slaf.core import SlafError

X = sympy.Symbol("x", real=True)
FAMILIES = ["rational(5,4)", "slaf(degree=5)", "apl", "polyrelu", "gp", "extended(rational(5,4), low=-3.0, high=3.0)"]


def apart(spec, **options):
    """Three channels whose parameters differ, in float64 and evaluation mode."""
    torch.manual_seed(0)
    module = slaf.make(spec, **({"num_channels": 3} | options)).double().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(1 + 0.3 * torch.rand_like(parameter)).add_(0.02 * torch.rand_like(parameter))
    return module


@pytest.mark.parametrize("spec", ["prelu", "swish", "srelu", "snake", "frelu", *FAMILIES])
def test_the_expression_is_that_of_the_channel(spec):
    module, x = apart(spec), torch.linspace(-2.5, 2.5, 11, dtype=torch.float64)
    for site in range(3):
        expression = module.expression(site)
        assert expression.free_symbols == {X}
        got = torch.tensor([float(expression.subs({X: v})) for v in x.tolist()], dtype=torch.float64)
        torch.testing.assert_close(got, module.curves(x)[:, site], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("spec", ["frelu", "swish", "shilu", *FAMILIES])
def test_turning_points_of_every_channel_are_where_the_slope_changes_sign(spec):
    module = apart(spec)
    x = torch.linspace(-2, 2, 20001, dtype=torch.float64)
    slope = module.derivative(module._spread(x)).detach().reshape(len(x), -1).sign()
    for site in range(3):
        changes = x[1:][slope[1:, site] * slope[:-1, site] < 0].tolist()
        assert all(min(abs(p - c) for p in module.critical_points(-2, 2, site=site)) < 3e-4 for c in changes)
        assert len(module.critical_points(-2, 2, site=site)) >= len(changes)


def test_turning_points_need_a_site_only_where_channels_differ():
    assert slaf.make("prelu", num_channels=4).critical_points() == []
    alike = slaf.make("rational(5,4, init=gelu)", num_channels=4, channel_dim=2)
    assert alike.critical_points(-3, 3) == alike.critical_points(-3, 3, site=2) == pytest.approx([-0.75], abs=0.05)
    bent = slaf.make("prelu", num_channels=3)
    with torch.no_grad():
        bent.weight.copy_(torch.tensor([0.5, -0.5, 0.1]))
    assert [bent.critical_points(site=n) for n in range(3)] == [[], [0.0], []]
    with pytest.raises(SlafError, match=r"prelu has 3 functions that differ; choose one with site=0 … 2"):
        bent.critical_points()
    for site in (3, -1, True, 0.0):
        with pytest.raises(SlafError, match="site must be an integer from 0 to 2"):
            bent.critical_points(site=site)
        with pytest.raises(SlafError, match="site must be an integer from 0 to 2"):
            bent.expression(site)


@pytest.mark.parametrize("options", [{}, {"share": "group", "groups": 3, "num_channels": 6}, {"num_features": (3, 2)}])
def test_a_module_of_one_function(options):
    module = apart("srelu", **options)
    x = torch.linspace(-3, 3, 41, dtype=torch.float64)
    for site in range(module.sharing.sites):
        one = module.alone(site)
        assert torch.equal(one(x), module.curves(x)[:, site])
        assert not one.training
        assert one.facts.lipschitz == module.facts_of_each()[site * module.sharing.count // module.sharing.sites].lipschitz


@pytest.mark.parametrize("spec", ["prelu", "swish", "frelu"])
def test_one_channel_folds_by_its_own_expression(spec, monkeypatch):
    module = apart(spec)
    # without an expression the proof would evaluate every channel's bounds on every cell, for minutes
    monkeypatch.setattr(type(module), "bounds", None)
    for site in range(3):
        cheap = slaf.fit.fold(module, site=site, pieces=8)
        x = torch.linspace(-4, 4, 4001)
        error = (cheap(x).double() - module.curves(x.double())[:, site]).abs().max()
        assert float(error) <= cheap.error_bound < 0.1


def test_several_slopes_stay_symbols_where_no_site_is_chosen():
    assert {s.name for s in slaf.make("prelu", num_channels=3).expression().free_symbols} == {"x", "weight"}
    assert "weight" in slaf.make("prelu", num_channels=3).latex()
    assert "0.25" in slaf.make("prelu").latex()

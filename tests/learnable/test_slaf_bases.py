"""SLAF over every basis against its definition, and what is derived for those that are no polynomials."""

import copy
import math
import pickle

import numpy as np
import pytest
import sympy
import torch
from torch import nn

import slaf
from slaf.bases import PiecewiseBasis, PolynomialBasis, bases, basis
from slaf.core import SlafError
from slaf.learnable import valid_pairs

OTHERS = [n for n in bases.names() if not isinstance(basis(n), PolynomialBasis)]
PIECEWISE = ["bspline", "bspline(degree=1)", "bspline(degree=2)", "bspline(degree=5)", "piecewise_linear"]
SMOOTH = [n for n in OTHERS if not isinstance(basis(n), PiecewiseBasis)]


def trained(spec, channels=3, dtype=torch.float64):
    """With coefficients and, by channel, statistics of its own."""
    torch.manual_seed(0)
    act = slaf.make(spec, num_channels=channels).to(dtype)
    with torch.no_grad():
        for p in act.parameters():
            p.add_(0.3 * torch.randn_like(p))
    for _ in range(5):
        act(0.7 * torch.arange(channels, dtype=dtype) + (1 + torch.arange(channels, dtype=dtype)) * torch.randn(256, channels, dtype=dtype))
    return act.eval()


def definition(act, x):
    a, b = act.coefficients()
    return (act.terms(x) * a).sum(-1) + b


# -- the pairs -------------------------------------------------------------------------------------------------------------------


def test_pairs_are_strings_of_every_basis_and_kind():
    pairs = valid_pairs()
    assert len(set(pairs)) == len(pairs)
    assert all(slaf.core.canonical(p) == p for p in pairs)
    for name in bases.names():
        own = [p for p in pairs if p.startswith(f"slaf(basis={name}")]
        assert {"identity", "batch", "affine"} == {slaf.make(p, num_channels=3).input for p in own}
        assert any("normalize=batch" in p for p in own) == (name not in OTHERS)


@pytest.mark.parametrize("spec", valid_pairs())
def test_every_pair_computes_its_definition_and_round_trips(spec):
    act = trained(spec)
    x = 2 * torch.randn(200, 3, dtype=torch.float64)
    wanted = definition(act, x).detach()
    torch.testing.assert_close(act(x), wanted, rtol=1e-9, atol=1e-9 * float(wanted.abs().max()))
    again = slaf.make(repr(act)).double().eval()
    assert repr(again) == repr(act)
    again.load_state_dict(act.state_dict())
    for other in (again, copy.deepcopy(act), pickle.loads(pickle.dumps(act))):
        assert torch.equal(other(x), act(x))


@pytest.mark.parametrize("name", ["legendre", "hermite"])
@pytest.mark.parametrize("kind", ["", ", normalize=batch, input=identity", ", squash=tanh", ", normalize=batch, input=batch"])
def test_a_change_of_family_for_evaluation_changes_no_polynomial(name, kind):
    act = trained(f"slaf(basis={name}, degree=9{kind})")
    x = torch.randn(100, 3, dtype=torch.float64)
    wanted = definition(act, x).detach()
    torch.testing.assert_close(act(x), wanted, rtol=1e-9, atol=1e-9 * float(wanted.abs().max()))
    if act.squash == "none":
        torch.testing.assert_close(act.polynomial()(x), wanted, rtol=1e-9, atol=1e-9 * float(wanted.abs().max()))


# -- evaluation ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize(
    ("options", "shape", "count"),
    [
        ("share=layer", (8, 6, 5, 5), 1),
        ("share=channel", (8, 6, 5, 5), 6),
        ("share=group, groups=3", (8, 6, 5, 5), 3),
        ("share=unit, num_features=(6, 5, 5)", (8, 6, 5, 5), 150),
        ("share=channel, channel_dim=-1", (8, 5, 6), 6),
    ],
)
def test_sharing(name, options, shape, count):
    act = slaf.make(f"slaf(basis={name}, {options})", **({} if "num_features" in options else {"num_channels": 6}))
    assert act.weight.shape == (count, basis(name).default_terms)
    with torch.no_grad():
        act.weight.add_(torch.randn_like(act.weight))
    act.eval()
    x = torch.randn(shape)
    a, b = act.coefficients()
    layout = act.sharing.shape(x, act.sharing.sites) if len(a) > 1 else (1,) * x.dim()
    wanted = (act.terms(x.double()) * a.reshape(*layout, -1)).sum(-1) + b.reshape(layout)
    torch.testing.assert_close(act(x).double(), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", OTHERS)
def test_gradients_of_everything_twice(name):
    act = trained(f"slaf(basis={name}, share=channel, gate=True)")
    names, values = zip(*((n, p.detach().clone().requires_grad_()) for n, p in act.named_parameters()), strict=True)
    x = torch.randn(3, 3, dtype=torch.float64, requires_grad=True)

    def f(x, *theta):
        return torch.func.functional_call(act, dict(zip(names, theta, strict=True)), (x,))

    assert torch.autograd.gradcheck(f, (x, *values))
    assert torch.autograd.gradgradcheck(lambda x, *t: f(x, *t) + 0 * x * x, (x, *values), fast_mode=True)


@pytest.mark.parametrize("name", OTHERS)
def test_float32_far_from_zero(name):
    torch.manual_seed(0)
    act = slaf.make(f"slaf(basis={name})", num_channels=2)
    x = 100 + torch.randn(512, 2)
    for _ in range(3):
        y = act(x)
    wide = copy.deepcopy(act).double().eval()
    torch.testing.assert_close(act.eval()(x).double(), wide(x.double()), rtol=0, atol=2e-4)
    torch.testing.assert_close(y, act(x), rtol=0, atol=2e-4)


@pytest.mark.parametrize("name", ["bspline", "gp", "hermite"])
def test_compiled_values_and_gradients_in_training(name):
    torch.manual_seed(0)
    act = slaf.make(f"slaf(basis={name}, share=channel)", num_channels=3)
    twin, x = copy.deepcopy(act), torch.randn(16, 3)
    torch._dynamo.reset()
    results = []
    for module in (act, torch.compile(twin, fullgraph=True, backend="aot_eager")):
        leaf = x.clone().requires_grad_()
        y = module(leaf)
        results.append((y, *torch.autograd.grad(y.square().sum(), [leaf, *module.parameters()])))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", OTHERS)
def test_identity_maps_input_scale_to_the_ends_of_the_domain(name):
    act = slaf.make(f"slaf(basis={name}, input=identity, input_scale=2.0, share=layer)").double()
    ends = torch.tensor([-2.0, 2.0], dtype=torch.float64)
    wanted = act.basis.evaluate(torch.tensor(act.basis.domain, dtype=torch.float64), act.num_terms)
    torch.testing.assert_close(act.terms(ends), wanted)
    torch.testing.assert_close(act(ends), definition(act, ends))


@pytest.mark.parametrize("name", ["bspline", "gp", "hermite"])
def test_the_constant_matrix_moves_but_is_never_narrowed_or_saved(name):
    made = slaf.make(f"slaf(basis={name})", num_channels=2, device="meta")
    assert all(t.device.type == "meta" for t in (*made.parameters(), *made.buffers()))
    made = made.to_empty(device="cpu")
    made.reset_parameters()
    fresh = slaf.make(f"slaf(basis={name})", num_channels=2)
    assert torch.equal(made.mixing.matrix, fresh.mixing.matrix)
    assert fresh.half().mixing.matrix.dtype == torch.float64
    assert not any("mixing" in k for k in fresh.state_dict())
    x = torch.randn(4, 2)
    torch.testing.assert_close(made.eval()(x), slaf.make(f"slaf(basis={name})", num_channels=2).eval()(x))


# -- initialisation --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "error"),
    [
        ("bspline", 5e-4),
        ("bspline(degree=1)", 6e-3),
        ("fourier", 2e-2),
        ("gp", 4e-2),
        ("hermite", 2e-2),
        ("legendre", 2e-2),
        ("piecewise_linear", 8e-3),
        ("rbf", 4e-2),
        ("wavelet", 0.15),
    ],
)
@pytest.mark.parametrize("options", ["", ", input=identity, share=layer", ", gate=True, coefficient_scale=2.0"])
def test_starts_as_gelu(spec, error, options):
    act = slaf.make(f"slaf(basis='{spec}'{options})", num_channels=2).double().eval()
    z = torch.randn(20000, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    off = (act(z) - nn.functional.gelu(z)).square().mean().sqrt()
    assert error / 4 < off < error * 1.1


@pytest.mark.parametrize("name", OTHERS)
def test_affine_map_trains_and_evaluates_as_one_function(name):
    act = slaf.make(f"slaf(basis={name})", num_channels=3)
    for _ in range(300):
        act(2 + 3 * torch.randn(64, 3))
    x = 2 + 3 * torch.randn(64, 3)
    y = act(x).detach()
    torch.testing.assert_close(act.eval()(x), y, rtol=1e-3, atol=1e-3)


# -- what is derived -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", [*PIECEWISE, *SMOOTH])
@pytest.mark.parametrize("options", ["share=channel", "share=layer, squash=tanh", "share=layer, squash=clamp"])
def test_antiderivative_is_the_integral(spec, options):
    act = trained(f"slaf(basis='{spec}', {options})", channels=2)
    ends = torch.tensor([-7.0, -1.0, 0.0, 0.3, 6.0], dtype=torch.float64)
    t = (torch.arange(40_000, dtype=torch.float64) + 0.5) / 40_000
    got = act.antiderivative(ends[:, None].expand(-1, 2)).detach()
    for end, row in zip(ends.tolist(), got, strict=True):
        wanted = act.curves(t * end).mean(0) * end
        torch.testing.assert_close(row, wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("spec", PIECEWISE)
@pytest.mark.parametrize("options", ["share=channel", "share=layer, squash=tanh", "share=group, groups=1, squash=clamp"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_bounds_of_piecewise_polynomials_are_sound_and_exact(spec, options, dtype):
    act = trained(f"slaf(basis='{spec}', {options})").to(dtype)
    g = torch.Generator().manual_seed(0)
    centre = (5 * torch.randn(200, 3, dtype=torch.float64, generator=g)).to(dtype)
    radius = (10 ** (3 * torch.rand(200, 3, dtype=torch.float64, generator=g) - 2)).to(dtype)
    lo, hi = act.bounds(centre - radius, centre + radius)
    t = torch.linspace(-1, 1, 2001, dtype=dtype)[:, None, None]
    x = torch.minimum(torch.maximum(centre + t * radius, centre - radius), centre + radius)
    values = act(x.reshape(-1, 3)).reshape(2001, 200, 3).detach()
    assert (values >= lo).all()
    assert (values <= hi).all()
    if dtype == torch.float64:
        width = (values.amax(0) - values.amin(0)).clamp(min=1e-9)
        assert ((hi - lo) / width - 1).max() < 5e-3


@pytest.mark.parametrize("name", SMOOTH)
def test_bounds_of_other_bases_are_sound(name):
    act = trained(f"slaf(basis={name}, terms=6, share=channel)", channels=2)
    centre = torch.tensor([[-3.0, 2.0], [0.1, -0.5]], dtype=torch.float64)
    radius = torch.tensor([[0.5, 1.5], [0.01, 3.0]], dtype=torch.float64)
    lo, hi = act.bounds(centre - radius, centre + radius)
    t = torch.linspace(-1, 1, 4001, dtype=torch.float64)[:, None, None]
    values = act((centre + t * radius).reshape(-1, 2)).reshape(4001, 2, 2).detach()
    assert (values >= lo).all()
    assert (values <= hi).all()
    assert (hi - lo - (values.amax(0) - values.amin(0))).max() < 1e-4


@pytest.mark.parametrize("spec", [*PIECEWISE, *SMOOTH])
@pytest.mark.parametrize("options", ["share=channel", "share=layer, squash=tanh", "input=identity, squash=clamp"])
def test_expression_of_a_channel(spec, options):
    act = trained(f"slaf(basis='{spec}', {options}, init=tanh)")
    x, symbol = torch.tensor([-9.0, -2.2, -0.3, 0.4, 1.7, 8.0], dtype=torch.float64), sympy.Symbol("x", real=True)
    expression = act.expression(site=2)
    assert {s.name for s in expression.free_symbols} == {"x"}
    got = [float(expression.subs(symbol, v)) for v in x.tolist()]
    np.testing.assert_allclose(got, act.curves(x)[:, -1].numpy(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("spec", "smoothness", "kinks"),
    [
        ("slaf", math.inf, ()),
        ("slaf(basis=rbf)", math.inf, ()),
        ("slaf(basis=bspline)", 1, None),
        ("slaf(basis=bspline(degree=1))", 0, None),
        ("slaf(basis=piecewise_linear)", 0, None),
        ("slaf(basis=rbf, squash=clamp)", None, None),
    ],
)
def test_facts(spec, smoothness, kinks):
    facts = slaf.make(spec, num_channels=2).facts
    assert (facts.smoothness, facts.kinks) == (smoothness, kinks)
    assert ("polynomial" in facts.tags) == (spec == "slaf")


# -- refusals --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("slaf(basis=rbf, degree=5)", "degree=5 is for polynomial bases; basis rbf takes terms"),
        ("slaf(terms=5)", "terms=5 is for bases that are not polynomial; basis chebyshev takes degree"),
        ("slaf(basis=rbf, terms=0)", "terms of basis rbf must be an integer from 1 to 64; got 0"),
        ("slaf(basis=bspline(degree=5), terms=4)", r"terms of basis bspline\(degree=5\) must be an integer from 5 to 64; got 4"),
        ("slaf(basis=rbf, normalize=batch)", "normalize=batch is for polynomial bases; basis rbf takes normalize=none"),
        ("slaf(basis=rbf, preset=paper_a)", "normalize=batch is for polynomial bases"),
        ("slaf(basis=rbf, init=paper)", "init=paper is for polynomial bases"),
        ("slaf(basis=bspline(degree=9))", "degree of bspline must be an integer from 1 to 7; got 9"),
        ("slaf(basis=rbff)", "did you mean 'rbf'"),
    ],
)
def test_bad_arguments(spec, message):
    with pytest.raises(SlafError, match=message):
        slaf.make(spec, num_channels=4)


@pytest.mark.parametrize("name", OTHERS)
def test_no_polynomial_and_no_expansion(name):
    from slaf.surgery import expand

    act = slaf.make(f"slaf(basis={name})", num_channels=3).eval()
    with pytest.raises(SlafError, match=f"basis {name} is not a polynomial"):
        act.polynomial()
    with pytest.raises(SlafError, match=f"layer '1' is not polynomial: .*basis {name}"):
        expand(nn.Sequential(nn.Linear(2, 3), act, nn.Linear(3, 1)).eval())

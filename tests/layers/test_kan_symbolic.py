"""Symbolic edges, layers and networks: functions and formulas that are known beforehand are found, and computed as sympy does."""

# ruff: noqa: ARG005 - the cases of errors are called alike
from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable

import numpy as np
import pytest
import sympy
import torch
from torch import Tensor, nn

import slaf
from slaf import SlafError
from slaf.layers import KANLinear
from slaf.layers.kan import LIBRARY, SymbolicKANLinear, expressions, prune, snap, suggest, symbolify, tune
from slaf.layers.kan.expression import rounded
from slaf.layers.kan.symbolic.edges import fit_edges
from slaf.layers.kan.symbolic.functions import find, find_all
from slaf.layers.kan.symbolic.tune import _jacobian, _parameters

NUMPY = {
    "x": lambda t: t,
    "x^2": np.square,
    "x^3": lambda t: t**3,
    "x^4": lambda t: t**4,
    "1/x": np.reciprocal,
    "sqrt": np.sqrt,
    "exp": np.exp,
    "log": np.log,
    "abs": np.abs,
    "sin": np.sin,
    "cos": np.cos,
    "tanh": np.tanh,
    "gaussian": lambda t: np.exp(-t * t),
    "arctan": np.arctan,
    "arctanh": np.arctanh,
}
AFFINE = {"arctanh": (0.7, 0.1), "sqrt": (0.7, 1.5), "log": (0.7, 1.5), "1/x": (-0.7, -1.8), "sin": (2.9, 1.0), "tanh": (2.0, 0.7)}
"""b and c for x in [-1, 1.2]; 1.3 and -0.4 of the others."""


@pytest.fixture
def x() -> Tensor:
    return 2.2 * torch.rand(300, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64) - 1


def _wave_and_square(x: Tensor) -> Tensor:
    return torch.exp(torch.sin(math.pi * x[:, :1]) + x[:, 1:] ** 2)


def test_the_library_computes_what_its_names_say() -> None:
    assert set(LIBRARY) == set(NUMPY)
    t = sympy.Symbol("t", positive=True)
    for name, function in LIBRARY.items():
        at = torch.linspace(0.05, 0.95, 7, dtype=torch.float64)
        wanted = NUMPY[name](at.numpy())
        assert np.allclose(function.torch(at), wanted, rtol=1e-14), name
        assert np.allclose([float(function.sympy(t).subs(t, float(v))) for v in at], wanted), name


@pytest.mark.parametrize("name", [n for n in LIBRARY if n != "cos"])
def test_a_function_under_affine_maps_is_found_among_all(x: Tensor, name: str) -> None:
    b, c = AFFINE.get(name, (1.3, -0.4))
    y = torch.from_numpy(-2.5 * NUMPY[name](b * x.numpy() + c) + 0.7)
    (fits, _) = fit_edges(x, y, find_all(None))
    best = min(fits, key=lambda fit: fit.cost(1.0))
    assert best.function.name == name
    assert best.r2 > 1 - 1e-9
    computed = best.scale * NUMPY[name](best.rate * x.numpy() + best.shift) + best.offset
    assert np.allclose(computed, y, rtol=0, atol=1e-4)


def test_what_is_not_free_is_one_or_zero(x: Tensor) -> None:
    for name, function in LIBRARY.items():
        b, c = AFFINE.get(name, (1.3, -0.4))
        scale, rate, shift, added = function.canonical(-2.5, b, c)
        moved = scale * NUMPY[name](rate * x.numpy() + shift) + added
        assert np.allclose(moved, -2.5 * NUMPY[name](b * x.numpy() + c)), name
        assert function.free[0] or abs(rate) == 1, name
        assert function.free[1] or shift == 0, name


def test_a_layer_is_its_sum_written_out(x: Tensor) -> None:
    names = [["sin", "0", "x^2"], ["x^2", "tanh", "exp"]]
    layer = SymbolicKANLinear(names, dtype=torch.float64)
    with torch.no_grad():
        for p in layer.parameters():
            p.normal_(generator=torch.Generator().manual_seed(3))
    wanted = np.tile(layer.bias.detach().numpy(), (len(x), 1))
    for k, (i, o, name) in enumerate(layer.functions):
        assert names[i][o] == name
        a, b, c = (float(p[k].detach()) for p in (layer.scale, layer.rate, layer.shift))
        wanted[:, o] += a * NUMPY[name](b * x[:, i].numpy() + c)
    assert np.allclose(layer(x).detach(), wanted)
    assert torch.allclose(layer.edges(x).sum(1) + layer.bias, layer(x))
    assert layer.present().tolist() == [[True, False, True], [True, True, True]]
    assert torch.equal(layer(x.reshape(3, 100, 2)).flatten(0, 1), layer(x))
    few = x[:3].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda t, *_: layer(t), (few, *layer.parameters()))
    assert torch.autograd.gradgradcheck(layer, few)
    for copied in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(copied(x), layer(x))
    fresh = SymbolicKANLinear(names, dtype=torch.float64)
    fresh.load_state_dict(layer.state_dict())
    assert torch.equal(fresh(x), layer(x))
    assert torch.allclose(torch.export.export(layer, (x,)).module()(x), layer(x))
    assert torch.allclose(torch.vmap(layer)(x), layer(x))
    assert layer.float()(x.float()).dtype == torch.float32


def test_the_jacobian_is_that_of_reverse_mode(x: Tensor) -> None:
    net = nn.Sequential(
        SymbolicKANLinear([["sin", "x^2"], ["tanh", "0"]], dtype=torch.float64),
        SymbolicKANLinear([["gaussian", "x"], ["x^3", "0"]], dtype=torch.float64),
    )
    parameters, free = _parameters(net)
    found = _jacobian(net, parameters, x[:20])
    per_name = torch.func.jacrev(lambda p: torch.func.functional_call(net, p, (x[:20],)))(parameters)
    assert torch.allclose(found, torch.cat([j.movedim(1, 0).flatten(0, 1) for j in per_name.values()], 1))
    assert len(free) == sum(p.numel() for p in net.parameters())


def test_tuning_finds_what_was_moved_away(x: Tensor) -> None:
    net = nn.Sequential(SymbolicKANLinear([["sin"], ["x^2"]], dtype=torch.float64), SymbolicKANLinear([["exp"]], dtype=torch.float64))
    with torch.no_grad():
        net[0].rate[0] = 2.7
        net[0].shift.copy_(torch.tensor([0.3, -0.1]))
        net[0].bias[0] = 0.2
        net[1].rate[0] = 0.9
    before = net[1].shift.clone()
    found = tune(net, x, _wave_and_square(x))
    assert found.nmse < 1e-24
    assert torch.allclose(net(x), _wave_and_square(x), rtol=1e-10)
    assert torch.equal(net[1].shift, before)  # not free: a stands in for it


def _fit(layer: KANLinear, x: Tensor, wanted: Tensor) -> None:
    """The edges of a layer with one output, one for each column of ``wanted``."""
    layer.refit(x)
    torch.nn.init.zeros_(layer.bias)
    for i in range(layer.in_features):
        design = torch.cat([layer.expand(x)[..., i], torch.ones(len(x), 1, dtype=torch.float64)], 1)
        found = torch.linalg.lstsq(design, wanted[:, i]).solution
        with torch.no_grad():
            layer.weight[:, i, 0] = found[:-1]
            layer.bias[0] += found[-1]


def _splined(x: Tensor, inner: Tensor | None = None, outer: Callable[[Tensor], Tensor] = torch.exp) -> nn.Sequential:
    """A network of splines near outer(Σ inner), fitted edge by edge; exp(sin πx₁ + x₂²) if nothing is given."""
    inner = torch.stack([torch.sin(math.pi * x[:, 0]), x[:, 1].square()], 1) if inner is None else inner
    net = nn.Sequential(KANLinear(2, 1, grid=12, base=None, dtype=torch.float64), KANLinear(1, 1, grid=12, base=None, dtype=torch.float64))
    total = inner.sum(1)
    evenly = torch.linspace(float(total.min()), float(total.max()), 300, dtype=torch.float64)[:, None]
    _fit(net[0], x, inner)
    _fit(net[1], evenly, outer(evenly))
    return net


def test_a_network_of_splines_becomes_its_formula(x: Tensor) -> None:
    net = _splined(x)
    kept = copy.deepcopy(net.state_dict())
    y = _wave_and_square(x)
    assert [suggest(net, x, edge)[0].function.name for edge in ((0, 0, 0), (0, 1, 0), (1, 0, 0))] == ["sin", "x^2", "exp"]
    found = symbolify(net, x, y)
    assert found.nmse < 1e-20
    assert found.r2 > 0.99
    p, q = sympy.symbols("p q", real=True)
    assert found.expressions(["p", "q"])[0] == sympy.exp(sympy.sin(sympy.pi * p) + q**2)
    assert torch.allclose(found.model(3 * x), _wave_and_square(3 * x), rtol=1e-8)  # beyond the data too
    assert all(torch.equal(v, kept[k]) for k, v in net.state_dict().items())
    assert "0:0→0 sin" in str(found)
    unrounded = sympy.lambdify([p, q], found.expressions(["p", "q"], digits=None)[0], "numpy")
    assert np.allclose(unrounded(*x.T.numpy()), found.model(x).detach()[:, 0])


def test_two_hidden_layers_become_their_formula(x: Tensor) -> None:
    """By the steps of the guide: prune, then all edges at once."""
    hidden, last = _wave_and_square(x), KANLinear(1, 1, grid=12, base=None, dtype=torch.float64)
    evenly = torch.linspace(float(hidden.min()), float(hidden.max()), 300, dtype=torch.float64)[:, None]
    _fit(last, evenly, torch.tanh(evenly / 2))
    pruned = prune(nn.Sequential(*_splined(x), last), x)
    found = symbolify(pruned.model, x, torch.tanh(hidden / 2))
    assert [fit.function.name for _, fit in sorted(found.edges.items())] == ["sin", "x^2", "exp", "tanh"]
    assert found.nmse < 1e-20
    p, q = sympy.symbols("p q", real=True)
    difference = found.expressions(["p", "q"])[0] - sympy.tanh(sympy.exp(sympy.sin(sympy.pi * p) + q**2) / 2)
    assert abs(float(difference.subs({p: 0.37, q: 1.3}))) < 1e-12


def test_noise_costs_no_needless_functions(x: Tensor) -> None:
    """Of a line with noise: its two edges and no more, though other functions fit the noise a little better."""
    noisy = x.sum(1, keepdim=True) + 0.05 * torch.randn(len(x), 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = symbolify(_splined(x, x, lambda h: h), x, noisy)
    assert {fit.function.name for fit in found.edges.values()} == {"x"}
    assert found.nmse < 2 * 0.05**2 / float(noisy.var())


def test_without_targets_the_network_itself_is_what_is_fitted(x: Tensor) -> None:
    net = _splined(x)
    found = symbolify(net, x)
    with torch.no_grad():
        assert found.nmse == pytest.approx(float((found.model(x) - net(x)).square().mean() / net(x).var(correction=0)))
    assert found.nmse < 1e-6


def test_an_activation_can_be_a_function(x: Tensor) -> None:
    function = find("gelu")
    layer = SymbolicKANLinear([["gelu"], ["0"]], dtype=torch.float64)
    assert torch.allclose(layer(x)[:, 0], torch.nn.functional.gelu(x[:, 0]))
    at = sympy.Symbol("x1", real=True)
    expression = expressions(layer, digits=None)[0]
    assert float(expression.subs(at, 0.7)) == pytest.approx(float(function.torch(torch.tensor(0.7, dtype=torch.float64))), rel=1e-6)
    fits, _ = fit_edges(x, slaf.make("gelu")(1.5 * x), find_all(["x^2", "gelu", "sin"]))
    assert max(fits, key=lambda fit: fit.r2).function.name == "gelu"


def test_constants_are_rounded_to_what_they_are_near() -> None:
    t = sympy.Symbol("t", real=True)
    messy = 0.99999999 * sympy.sin(3.14159264 * t) + 0.33333331 * t**2 + 1e-9 * t + 1.23456
    assert rounded(messy) == sympy.sin(sympy.pi * t) + t**2 / 3 + sympy.Float(1.2346, 5)
    assert rounded(2.0 * sympy.exp(t + 1e-12) * sympy.exp(t**2)) == 2 * sympy.exp(t + t**2)


def test_numbers_come_out_of_roots_logarithms_and_exponents() -> None:
    layer = SymbolicKANLinear([["x^2"], ["x^2"]], dtype=torch.float64)
    t, u = sympy.symbols("x1 x2", real=True)
    with torch.no_grad():
        layer.scale.fill_(4.0)
    for name, wanted in (
        ("sqrt", 2 * sympy.sqrt(t**2 + u**2)),
        ("1/x", 1 / (4 * t**2 + 4 * u**2)),
        ("exp", sympy.exp(4 * t**2 + 4 * u**2)),
    ):
        (found,) = expressions(nn.Sequential(layer, SymbolicKANLinear([[name]], dtype=torch.float64)))
        assert sympy.simplify(found - wanted) == 0, name


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda net, x: SymbolicKANLinear([]), r"functions must be a row of names for every input, all of one length; got \[\]"),
        (lambda net, x: SymbolicKANLinear([["x"], ["x", "x"]]), "all of one length"),
        (lambda net, x: SymbolicKANLinear([["sine_wave_of"]]), "functions hold 'sine_wave_of', which is none of x, "),
        (lambda net, x: SymbolicKANLinear([["prelu"]]), "functions hold 'prelu', which is no fixed function of one number"),
        (lambda net, x: SymbolicKANLinear([["x"]], net[0]), "rest must map 1 to 1 features as functions do; got one of 2 to 1"),
        (lambda net, x: SymbolicKANLinear([["x"], ["x"]], net[0]), "rest must have no bias of its own"),
        (lambda net, x: SymbolicKANLinear([["x"]])(x), r"takes an input of \(…, 1\); got shape \(300, 2\)"),
        (lambda net, x: suggest(net, x, (0, 2, 0)), r"edge must be \(layer, input, output\) of an edge that is there; got \(0, 2, 0\)"),
        (lambda net, x: suggest(net, x, (0, 0, 0), "sin"), "functions must be a sequence of names, one or more; got 'sin'"),
        (lambda net, x: symbolify(net, x, x), r"y must be of shape \(300, 1\), as the outputs of model\(x\); got \(300, 2\)"),
        (lambda net, x: symbolify(net, x, x[:, :1] / 0), "y must be finite"),
        (lambda net, x: tune(net, x, x[:, :1]), "model has no symbolic edge to tune"),
        (lambda net, x: tune(snap(net, x, (0, 0, 0), "sin"), x, x), "y must be finite, of the shape of model"),
        (lambda net, x: expressions(net), "layer 0 of model still has splines, which have no formula"),
        (lambda net, x: expressions(SymbolicKANLinear([["x"]]), "x1"), "inputs must be 1 names; got 'x1'"),
        (lambda net, x: expressions(SymbolicKANLinear([["x"]]), digits=0), "digits must be an integer from 1 to 15; got 0"),
    ],
)
def test_errors_are_one_sentence(x: Tensor, call, told: str) -> None:
    net = nn.Sequential(KANLinear(2, 1, dtype=torch.float64), KANLinear(1, 1, dtype=torch.float64))
    with pytest.raises(SlafError, match=told):
        call(net, x)

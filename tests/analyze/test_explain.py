"""Explanations of polynomial networks against sympy's algebra, closed forms and torch's Hessians."""

import copy
import json

import numpy as np
import pytest
import sympy
import torch
from torch import nn

import slaf
from slaf.analyze import along_line, explain, interactions, spectra
from slaf.bases.polynomial import POWERS, Polynomials
from slaf.core import Sharing, SlafError
from slaf.surgery.frozen import FrozenPolynomial

CUBIC = (0.5, 1.0, -0.3, 0.2)


def cubic():
    """CUBIC in powers, one for all."""
    act = slaf.make("slaf(degree=3, basis=power, input=identity, share=layer, coefficient_scale=1.0)").double()
    with torch.no_grad():
        act.weight.copy_(torch.tensor([CUBIC[1:]], dtype=torch.float64))
        act.bias.fill_(CUBIC[0])
    return act


class Small(nn.Module):
    """Degree 4 in three inputs, with a skip and a product that are written in forward."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.act, self.last = nn.Linear(3, 4).double(), cubic(), nn.Linear(4, 2).double()

    def forward(self, x):
        h = self.act(self.first(x))
        return self.last(h * x[:, :1]) + x[:, 1:].square() - 0.5 * h[:, :2]


@pytest.fixture(scope="module")
def small():
    """The network, and each of its outputs as a sympy expression with exact rational numbers."""
    net = Small().eval()
    x = sympy.symbols("x:3")

    def affine(layer, values):
        exact = [[sympy.Rational(v) for v in row] for row in layer.weight.tolist()]
        return [
            sum(w * v for w, v in zip(row, values, strict=True)) + sympy.Rational(b)
            for row, b in zip(exact, layer.bias.tolist(), strict=True)
        ]

    def p(u):
        return sum(sympy.Rational(c) * u**j for j, c in enumerate(CUBIC))

    h = [p(u) for u in affine(net.first, x)]
    out = affine(net.last, [v * x[0] for v in h])
    return net, x, [sympy.expand(o + x[i + 1] ** 2 - h[i] / 2) for i, o in enumerate(out)]


def test_the_restriction_to_a_line_is_sympys(small):
    net, x, outputs = small
    start, way, t = (0.25, -1.5, 2.0), (1.0, 0.5, -0.75), sympy.Symbol("t")
    line = along_line(net, torch.tensor(start), torch.tensor(way), -1.0, 2.0)
    assert (line.degree, line.effective_degree) == (4, 4)
    assert line.error < 1e-13
    for got, output in zip(line.powers(), outputs, strict=True):
        there = {v: sympy.Rational(a) + t * sympy.Rational(d) for v, a, d in zip(x, start, way, strict=True)}
        wanted = [float(c) for c in reversed(sympy.Poly(output.subs(there), t).all_coeffs())]
        np.testing.assert_allclose(got, wanted, rtol=1e-11, atol=1e-12 * max(map(abs, wanted)))
    inside = np.linspace(-1, 2, 7)
    points = torch.tensor(start, dtype=torch.float64) + torch.from_numpy(inside)[:, None] * torch.tensor(way, dtype=torch.float64)
    np.testing.assert_allclose(line(inside), net(points).detach().numpy(), rtol=1e-12, atol=1e-12)


def test_mixed_derivatives_are_sympys(small):
    net, x, outputs = small
    data = torch.randn(9, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = interactions(net, data, count=100)
    wanted = np.empty((9, 2, 3, 3))
    for o, output in enumerate(outputs):
        for i in range(3):
            for j in range(3):
                wanted[:, o, i, j] = abs(sympy.lambdify(x, sympy.diff(output, x[i], x[j]))(*data.T.numpy()))
    np.testing.assert_allclose(found.each, wanted.mean(0), rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(found.each_error, wanted.std(0, ddof=1) / 3, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found.mean_error, wanted.mean(1).std(0, ddof=1) / 3, rtol=1e-9, atol=1e-12)
    names = [f"x{i}" for i in range(3)]
    best = max(((i, j) for i in range(3) for j in range(i + 1, 3)), key=lambda p: wanted.mean((0, 1))[p])
    assert found.strongest(1)[0][:2] == (names[best[0]], names[best[1]])
    some = interactions(net, data, features=[2, 0], count=100)
    np.testing.assert_allclose(some.each, found.each[:, [2, 0]][:, :, [2, 0]], rtol=1e-12)


def test_inputs_that_only_add_do_not_interact():
    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = cubic(), cubic()

        def forward(self, x):
            return self.a(x[:, :1]) + self.b(x[:, 1:2] * x[:, 2:])

    found = interactions(Sum().eval(), torch.randn(20, 3, dtype=torch.float64))
    assert (found.mean[0, 1:] == 0).all()
    assert found.mean[1, 2] > 0
    linear = interactions(nn.Linear(4, 2), torch.randn(5, 4))
    assert (linear.each == 0).all()


def test_spectra_are_the_closed_form_on_the_measured_range():
    """x = m + h·v: x³ = m³ + 3mh²/2 + (3m²h + 3h³/4)·T1 + 3mh²/2·T2 + h³/4·T3, and so on, for every channel's own range."""
    c = torch.tensor([[0.0, 1.0, -2.0, 0.5], [0.0, 0.25, 3.0, -1.0]], dtype=torch.float64)
    powers = Polynomials(c, torch.zeros(2), torch.ones(2), POWERS)
    frozen = nn.Sequential(nn.Flatten(), FrozenPolynomial(powers, Sharing("channel", 2), torch.float64))
    data = torch.tensor([[-1.0, 2.0], [3.0, 2.5], [0.0, 4.0]], dtype=torch.float64)
    (site,) = spectra(frozen, data)
    assert (site.name, site.low.tolist(), site.high.tolist()) == ("1", [-1.0, 2.0], [3.0, 4.0])
    m, h = np.array([1.0, 3.0]), np.array([2.0, 1.0])
    _, one, two, three = c.numpy().T
    wanted = [
        one * m + two * (m**2 + h**2 / 2) + three * (m**3 + 1.5 * m * h**2),
        one * h + two * 2 * m * h + three * (3 * m**2 * h + 0.75 * h**3),
        two * h**2 / 2 + three * 1.5 * m * h**2,
        three * h**3 / 4,
    ]
    np.testing.assert_allclose(site.coefficients, np.stack(wanted, 1), rtol=1e-13)
    np.testing.assert_allclose(site.sizes, np.sqrt((np.stack(wanted, 1) ** 2).mean(0)), rtol=1e-13)


def test_needed_degree_keeps_the_function():
    act = slaf.make("slaf(degree=12, init=silu, interval=(-5.0, 5.0), share=layer)")
    net = nn.Sequential(act, nn.Linear(3, 1)).eval()
    data = torch.randn(500, 3)
    (site,) = spectra(net, data)
    assert site.degree == 12
    needed = site.needed(0.01)
    assert 2 <= needed < 12
    x = np.linspace(site.low[0], site.high[0], 400)
    u = (2 * x - site.low[0] - site.high[0]) / (site.high[0] - site.low[0])
    whole = act.double()(torch.from_numpy(x)[:, None])[:, 0].detach().numpy()
    cut = np.polynomial.chebyshev.chebval(u, site.coefficients[0, : needed + 1])
    assert np.abs(cut - whole).max() <= 0.01 * np.abs(site.coefficients[0, 1:]).sum()
    assert site.needed(0.0) == 12


def cnn():
    """Degree 2·3·4 = 24, with a skip over the second polynomial and pooling."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm, self.more = nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, padding=1)
            self.a, self.b, self.c = (slaf.SLAF(degree=d, num_channels=4, init_noise=0.1) for d in (2, 3, 4))
            self.out = nn.Linear(4, 3)

        def forward(self, x):
            x = self.a(self.norm(self.conv(x)))
            x = x + self.b(self.more(x))
            return self.out(self.c(nn.functional.avg_pool2d(x, 2)).mean((2, 3)))

    torch.manual_seed(0)
    net, x = Net(), torch.rand(40, 2, 6, 10)
    net(x)
    return net, x


def test_a_network_too_large_to_expand():
    net, x = cnn()
    state, flags = copy.deepcopy(net.state_dict()), [m.training for m in net.modules()]
    found = explain(net, x, patch=3, count=6)
    assert flags == [m.training for m in net.modules()]
    assert all(torch.equal(v, state[k]) for k, v in net.state_dict().items())
    assert (found.degree, found.line.degree) == (24, 24)
    assert found.line.error < 1e-11
    assert 2 <= found.line.effective_degree < 24, "so little of it is used between two inputs"
    far = along_line(net, x[0], x[1] - x[0], -400.0, 400.0)
    assert far.effective_degree == 24
    assert far.error < 1e-11
    assert {s.name: s.degree for s in found.sites} == {"a": 2, "b": 3, "c": 4}
    net = net.eval().double()
    t = np.linspace(0, 1, 9)
    points = x[0].double() + torch.from_numpy(t).reshape(-1, 1, 1, 1) * (x[1] - x[0]).double()
    np.testing.assert_allclose(found.line(t), net(points).detach().numpy(), rtol=1e-6)  # float32's weights, batch norm folded

    pairs = found.interactions
    assert (pairs.grid, len(pairs.names), pairs.names[5], pairs.count) == ((2, 4), 8, "(1, 1)", 6)
    drawn = x[torch.randperm(40, generator=torch.Generator().manual_seed(0))[:6]].double()

    def moved(s, image):
        whole = s.reshape(1, 1, 2, 4).repeat_interleave(3, 2).repeat_interleave(3, 3)[..., :10]
        return net(image + whole)[0]

    hessians = torch.stack(
        [
            torch.stack(
                [torch.autograd.functional.hessian(lambda s, o=o, i=i: moved(s, i[None])[o], torch.zeros(8).double()) for o in range(3)]
            )
            for i in drawn
        ]
    )
    np.testing.assert_allclose(pairs.each, hessians.abs().mean(0), rtol=1e-4, atol=1e-6 * float(hessians.abs().max()))
    largest = interactions(net, x.double(), count=2)
    assert largest.grid == (6, 10), "the smallest patches of which there are at most 64"


def test_report_picture_and_json():
    net, x = cnn()
    found = explain(net, x, patch=5, count=3)
    text = str(found)
    assert "degree 24" in text
    assert "needed for 1 %" in text
    assert max(map(len, text.splitlines())) <= 120
    plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert plain["interactions"]["grid"] == [2, 2]
    np.testing.assert_array_equal(plain["line"]["chebyshev"], found.line.chebyshev[:, : found.line.effective_degree + 1])
    figure = found.plot()
    lines, spectrum, pairs = figure.axes[:3]
    np.testing.assert_array_equal(lines.lines[2].get_ydata(), found.line(lines.lines[2].get_xdata())[:, 2])
    labelled = {line.get_label(): line.get_ydata() for line in spectrum.lines}
    np.testing.assert_array_equal(labelled["c"], found.sites[2].sizes[1:])
    shown = pairs.images[0].get_array()
    assert float(shown[0, 1]) == found.interactions.mean[0, 1]
    assert bool(shown.mask[0, 0])


IMAGES = torch.rand(8, 1, 9, 9)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: explain(nn.Sequential(nn.Linear(3, 3), nn.ReLU()), torch.randn(4, 3)), r"no polynomial of its input: 1 \(ReLU\): relu"),
        (lambda: spectra(nn.Sequential(slaf.make("slaf(squash=tanh)", num_channels=3)), torch.randn(4, 3)), "tanh.*polynomialize"),
        (lambda: explain(nn.Linear(3, 3), torch.randn(1, 3)), "at least 2 inputs; got 1"),
        (lambda: explain(nn.Linear(3, 3), [1.0]), r"data must be a tensor of inputs .* got list"),
        (lambda: spectra(nn.Linear(3, 3), torch.full((2, 3), torch.inf)), "finite"),
        (lambda: along_line(nn.Linear(3, 3), torch.zeros(3), torch.zeros(2)), r"of one shape, .* got \(3,\) and \(2,\)"),
        (lambda: along_line(nn.Linear(3, 3), torch.zeros(3), torch.ones(3), 1.0, 0.0), "low and high must be finite, the lower one first"),
        (
            lambda: along_line(cnn()[0], IMAGES[0].expand(2, 9, 9), IMAGES[1].expand(2, 9, 9), max_degree=20),
            "degree 24, over max_degree=20",
        ),
        (lambda: interactions(nn.Linear(70, 3), torch.randn(4, 70)), "an input has 70 numbers; name at most 64"),
        (lambda: interactions(nn.Linear(7, 3), torch.randn(4, 7), features=[1, 7]), "different whole numbers from 0 to 6"),
        (lambda: interactions(nn.Linear(7, 3), torch.randn(4, 7), patch=2), "patch is for images"),
        (lambda: interactions(nn.Flatten(), IMAGES, patch=10), "patch must be a whole number from 1 to 9; got 10"),
        (lambda: interactions(nn.Flatten(), IMAGES, features=[0], patch=2), "give one of them"),
        (lambda: interactions(nn.Linear(7, 3), torch.randn(4, 7), count=1), "count must be a whole number of at least 2"),
        (lambda: explain(nn.Linear, IMAGES), "model must be a torch.nn.Module"),
    ],
)
def test_bad_input_is_one_sentence(call, words):
    with pytest.raises(SlafError, match=words):
        call()

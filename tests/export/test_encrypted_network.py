"""Models as affine maps and polynomials: values, levels, moved constants, parameters, and what is refused. No ciphertext."""

import pickle

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import slaf
from slaf.core import SlafError
from slaf.export.encrypted import encrypted
from slaf.export.encrypted.parameters import MAX_BITS, choose
from slaf.export.encrypted.trace import read
from slaf.surgery import multiplicative_depth
from slaf.surgery.circuits import count, execute, schedule


def images(n=40, channels=1, size=8, seed=0):
    return torch.rand(n, channels, size, size, generator=torch.Generator().manual_seed(seed))


def trained(model, x, seed=0):
    """Parameters and statistics that are nobody's default."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(p + 0.3 * torch.randn(p.shape, generator=generator))
        for _ in range(2):
            model.train()(x)
    return model.eval()


def act(degree, channels, **options):
    return slaf.SLAF(degree=degree, num_channels=channels, **options)


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.head, self.conv, self.norm = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1, groups=2), nn.BatchNorm2d(4)
        self.first, self.second, self.third = act(4, 4), act(3, 4), act(5, 4)
        self.out = nn.Linear(4, 3)

    def forward(self, x):
        x = self.first(self.head(x))
        x = self.third(x - 0.5 * self.second(self.norm(self.conv(x))))
        x = F.avg_pool2d(x, 2)
        x = self.out(x.mean((2, 3))) + 1
        return x + x


class Squares(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(8, 6), nn.Linear(6, 2)

    def forward(self, x):
        x = self.a(x.flatten(1).view(-1, 8, 8).mean(1))
        return self.b(x * x + x**3 - torch.square(x) / 2)


class Gated(nn.Module):
    """Products of two values: of polynomials whose leading coefficients move, and one that sums alone read."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.f, self.g = nn.Conv2d(1, 2, 3), nn.Conv2d(1, 2, 3), act(2, 2), act(4, 2)

    def forward(self, x):
        gate = self.g(self.b(x))
        y = self.f(self.a(x)) * gate
        return F.avg_pool2d(y * (y - gate), 2) + F.avg_pool2d(gate, 2)


class Stem(nn.Module):
    """A residual network's beginning: pooling whose windows overlap and are smaller at the border, and a skip."""

    def __init__(self):
        super().__init__()
        self.head, self.conv, self.first, self.second = nn.Conv2d(1, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1), act(4, 3), act(2, 3)
        self.pool = nn.AvgPool2d(3, 2, padding=1, count_include_pad=False)
        self.out = nn.Linear(3, 4)

    def forward(self, x):
        x = self.pool(self.first(self.head(x)))
        x = x + self.second(self.conv(x))
        return self.out(F.adaptive_avg_pool2d(x, 1).flatten(1))


def networks():
    x = images()
    yield "plain", nn.Sequential(nn.Conv2d(1, 3, 3, stride=2, padding=1), act(4, 3), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(12, 5)), x
    yield "residual", Residual(), x
    yield "squares", Squares(), x
    yield "stem", Stem(), x
    yield "gated", Gated(), x
    yield "norms", nn.Sequential(nn.BatchNorm2d(1), nn.Conv2d(1, 2, 5), nn.BatchNorm2d(2), slaf.make("square"), nn.Flatten()), x
    pooled = nn.Sequential(nn.Conv2d(1, 4, 3, dilation=2), act(8, 4), nn.AdaptiveAvgPool2d(3), act(7, 4), nn.Flatten(), nn.Linear(36, 2))
    yield "adaptive", pooled, x
    yield "paper", nn.Sequential(nn.Flatten(), nn.Linear(64, 6), act(3, 6, preset="paper_b"), nn.Linear(6, 2)), x
    yield "legendre", nn.Sequential(nn.Flatten(), nn.Linear(64, 6), nn.Dropout(), act(5, 6, basis="legendre"), nn.Linear(6, 2)), x
    yield "hermite", nn.Sequential(nn.Flatten(), nn.Linear(64, 6), act(6, 6, basis="hermite"), nn.Linear(6, 2)), x
    yield "powers", nn.Sequential(nn.Flatten(), nn.Linear(64, 6), act(6, 6, basis="power"), nn.Linear(6, 2)), x
    yield "padded", nn.Sequential(nn.AvgPool2d(3, 2, padding=1), act(2, 1), nn.Conv2d(1, 2, 2)), x
    yield "units", nn.Sequential(nn.Conv2d(1, 2, 3), slaf.SLAF(degree=3, share="unit", num_features=(2, 6, 6))), x


@pytest.mark.parametrize(("model", "x"), [pytest.param(m, x, id=n) for n, m, x in networks()])
def test_network_and_schedule_compute_what_the_model_computes(model, x):
    model = trained(model, x)
    wanted = model.double()(x.double()).detach().reshape(len(x), -1).numpy()
    flat = x.reshape(len(x), -1).double().numpy()
    network = read(model, x)
    assert np.abs(network.run(flat) - wanted).max() < 1e-12 * max(1, np.abs(wanted).max())
    moved = execute(schedule(network), list(flat.T), lambda terms, constant: sum(v * f for v, f in terms) + constant)
    got = np.stack([np.broadcast_to(v, len(x)) for v in moved], 1)
    assert np.abs(got - wanted).max() < 1e-10 * max(1, np.abs(wanted).max())


def levels(model, x):
    network = read(trained(model, x), x)
    return count(schedule(network), network.features[0]).levels


@pytest.mark.parametrize(("model", "x"), [pytest.param(m, x, id=n) for n, m, x in networks()])
def test_depth_of_the_graph_is_the_programs(model, x):
    """Read off the exported graph with two features a channel, and off all weights: one number."""
    frozen = slaf.freeze(trained(model, x), x)
    assert multiplicative_depth(frozen, x[:2]) == levels(frozen, x)


def test_depth_of_other_graphs():
    class Attention(nn.Module):
        def forward(self, x):
            return (x @ x.transpose(1, 2)) @ x

    assert multiplicative_depth(Attention(), torch.rand(2, 3, 4)) == 2
    assert multiplicative_depth(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)), torch.rand(2, 4)) == 1
    assert multiplicative_depth(Calls(lambda x: torch.cat([x**5, 2 * x], 1)), torch.rand(2, 4)) == 3
    assert multiplicative_depth(Calls(lambda x: 2 * x + x.flip(1)), torch.rand(2, 4)) == 0
    assert multiplicative_depth(Calls(lambda x: torch.addcmul(x, x * x, x.flip(1), value=1)), torch.rand(2, 4)) == 2
    with pytest.raises(SlafError, match=r"Calls: relu; exchange or remove"):
        multiplicative_depth(Calls(torch.relu), torch.rand(2, 4))


def test_levels_are_those_of_the_convolutions_and_the_folded_polynomials():
    x = images()
    body = [nn.Conv2d(1, 3, 3), act(4, 3), nn.AvgPool2d(2), nn.Flatten()]
    assert levels(nn.Sequential(*body, nn.Linear(27, 5)), x) == 1 + 2 + 0 + 1  # degree 4 in two levels, the average in none
    assert levels(nn.Sequential(*body), x) == 1 + 3  # nobody takes the leading coefficient
    head = [nn.BatchNorm2d(1), nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3)]
    assert levels(nn.Sequential(*head, act(7, 3), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(27, 5)), x) == 1 + 3 + 0 + 1
    assert levels(nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.Linear(8, 3)), x) == 1


def test_a_feature_that_does_not_depend_on_the_image():
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 4), slaf.make("square"), nn.Linear(4, 3))
    with torch.no_grad():
        model[1].weight[:2] = 0
        model[3].weight[0] = 0
    x = images()
    program = encrypted(model.eval(), x)
    assert program.outside(x) == {}  # a square was fitted nowhere
    assert program.costs.products.total() == 2
    np.testing.assert_allclose(program.plain(x), model.double()(x.double()).detach().numpy(), atol=1e-14)


def test_the_share_outside_the_range_is_told_by_polynomial():
    model = nn.Sequential(nn.Flatten(), slaf.SLAF(degree=3, num_channels=64, interval=(0.0, 0.5)), nn.Linear(64, 2)).eval()
    x = images()
    share = encrypted(model, x).outside(x)["1"]
    assert share == pytest.approx(float((x > 0.5).double().mean()))


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (nn.MaxPool2d(2), "MaxPool2d.*average pooling takes its place"),
        (nn.ReLU(), "ReLU"),
        (nn.Softmax(1), "Softmax"),
        (nn.LayerNorm(8), "LayerNorm"),
        (nn.BatchNorm2d(1, track_running_stats=False), "BatchNorm2d"),
        (slaf.make("gelu"), "gelu.*not a polynomial"),
        (slaf.make("slaf(squash='tanh')", num_channels=1), "squash=tanh"),
    ],
)
def test_what_has_no_encrypted_form_is_refused_by_name(layer, words):
    with pytest.raises(SlafError, match=words):
        read(nn.Sequential(nn.Identity(), layer).eval(), images())


class Calls(nn.Module):
    def __init__(self, call):
        super().__init__()
        self.call = call

    def forward(self, x):
        return self.call(x)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x: torch.relu(x), "relu"),
        (lambda x: F.max_pool2d(x, 2), "average pooling"),
        (lambda x: x * x.flip(1), "flip"),
        (lambda x: 1 / x, "truediv"),
        (lambda x: F.dropout(x), "dropout"),
        (lambda x: x + x.mean(3, keepdim=True), "two shapes"),
        (lambda x: (x, x), "one tensor"),
        (lambda x: x if x.sum() > 0 else -x, "cannot be followed"),
    ],
)
def test_calls_without_an_encrypted_form_are_refused(call, words):
    with pytest.raises(SlafError, match=words):
        read(Calls(call).eval(), images())


def test_parameters_are_the_smallest_that_carry_the_depth():
    for levels_, ring in ((1, 8192), (3, 8192), (4, 16384), (8, 16384), (9, 32768), (19, 32768)):
        p = choose(levels_, 10.0)
        assert (p.ring, p.levels, p.slots) == (ring, levels_, ring // 2)
        assert sum(p.bits) <= MAX_BITS[ring]
        assert p.bits[0] == p.bits[-1]
        assert p.bits[0] >= 40 + 4 + 1 + 4
    assert choose(1, 10.0, ring=32768).bits == (60, 40, 60)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: choose(30, 1.0), "needs 30 levels at scale 2\\^40; the largest ring, N=32768, carries 19"),
        (lambda: choose(7, 1.0, ring=8192), "ring=8192 carries 3, and 16384 is the smallest that can"),
        (lambda: choose(3, 1e9), "magnitude 1e\\+09"),
        (lambda: choose(3, 1.0, ring=1000), "ring must be one of 4096, 8192"),
        (lambda: choose(3, 1.0, scale_bits=10), "scale_bits must be"),
    ],
)
def test_what_the_parameters_cannot_carry_is_said(call, words):
    with pytest.raises(SlafError, match=words):
        call()


def test_bad_images_and_arguments_are_refused():
    model, x = nn.Sequential(nn.Flatten(), nn.Linear(64, 2)).eval(), images()
    program = encrypted(model, x, input_range=(0, 1))
    for wrong, words in (
        (x[:, :, :7], "shape \\(n, 1, 8, 8\\)"),
        (2 * x, "lie in \\[0, 1\\]"),
        (x * float("nan"), "lie in"),
        (x[:0], "n at least 1"),
    ):
        with pytest.raises(SlafError, match=words):
            program.plain(wrong)
    for arguments, words in (
        ((None, x), "torch.nn.Module"),
        ((model, [1.0]), "example must be"),
        ((model, x, (1, 0)), "the lower one first"),
    ):
        with pytest.raises(SlafError, match=words):
            encrypted(*arguments)


def test_program_says_what_it_needs_and_travels():
    program = encrypted(trained(nn.Sequential(nn.Conv2d(1, 2, 3), act(4, 2), nn.Flatten(), nn.Linear(72, 3)), images()), images())
    text = str(program)
    assert "128-bit security" in text
    assert "scale 2^40" in text
    assert "polynomial of degree 4: 72 features, depth 3" in text
    known = program.to_dict()
    assert (known["levels"], known["products"], known["ring"]) == (4, 144, 16384)
    assert known["estimated_seconds"] > 0
    again = pickle.loads(pickle.dumps(program))
    np.testing.assert_array_equal(again.plain(images()), program.plain(images()))

"""The EvoNorm layers: the closed-form values, a dense float64 reference, statistics, and what the papers say of their shape."""

import pytest
import torch

import slaf
from slaf.core import SlafError

NAMES = ["evonorm_b0", "evonorm_b1", "evonorm_b2", "evonorm_s0", "evonorm_s1", "evonorm_s2"]
VALUES = {  # of [[1, 2], [3, 4]], one channel, γ = v = 1, β = 0, eps = 1e-5, in training
    "evonorm_b0": [0.47213, 0.64143, 0.72850, 0.78155],
    "evonorm_b1": [0.18257, 0.24343, 0.27386, 0.29212],
    "evonorm_b2": [0.57517, 1.78885, 2.68327, 3.57770],
    "evonorm_s0": [0.65388, 1.57561, 2.55601, 3.51335],
    "evonorm_s1": [0.65388, 1.57561, 2.55601, 3.51335],
    "evonorm_s2": [0.26694, 0.64324, 1.04349, 1.43432],
}
SHAPES = [(4, 6), (3, 6, 5), (4, 6, 3, 5), (2, 6, 2, 3, 2)]


def make(name, dtype=torch.float64, **more):
    torch.manual_seed(0)
    options = {"groups": 3} if "_s" in name else {}
    act = slaf.make(name, num_channels=6, dtype=dtype, **options, **more)
    with torch.no_grad():
        for p in act.parameters():
            p.add_(0.5 * torch.randn_like(p))
    return act


def reference(act, x, var=None):
    """One element after the other, from the table of the formulas; ``var`` where the batch's is not the one."""
    kind, eps, y = act.name[-2:], act.eps, torch.empty_like(x)
    flat = x.reshape(*x.shape[:2], -1)
    size = 2  # channels a group

    def spread(values, raw=False):
        middle = 0 if raw else values.mean()
        return (((values - middle) ** 2).mean() + eps).sqrt()

    v = torch.ones(x.shape[1], dtype=x.dtype) if act.v is None else act.v
    rows = []
    for n in range(x.shape[0]):
        for c in range(x.shape[1]):
            z = flat[n, c]
            if kind[0] == "s":
                group = flat[n, c // size * size : c // size * size + size]
                u = z / (1 + (-v[c] * z).exp()) / spread(group, kind == "s2")
            else:
                left = spread(flat[:, c]) if var is None else (var[c] + eps).sqrt()
                own = spread(z, kind != "b0")
                u = z / torch.maximum(left, {"b0": v[c] * z + own, "b1": (z + 1) * own, "b2": own - z}[kind])
            rows.append(u * act.weight[c] + act.bias[c])
    y = torch.stack(rows)
    return y.reshape(x.shape)


@pytest.mark.parametrize("name", NAMES)
def test_closed_form_values(name):
    x = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    y = slaf.make(name, num_channels=1)(x)
    torch.testing.assert_close(y.flatten(), torch.tensor(VALUES[name]), rtol=0, atol=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", NAMES)
def test_values_and_gradients_of_the_definition(name, shape):
    act = make(name)
    x = (1 + 2 * torch.randn(shape, dtype=torch.float64)).requires_grad_()
    g = torch.randn(shape, dtype=torch.float64)
    results = act(x), reference(act, x)
    torch.testing.assert_close(*results)
    grads = (torch.autograd.grad(y, [x, *act.parameters()], g) for y in results)
    for got, wanted in zip(*grads, strict=True):
        torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize("name", NAMES)
def test_evaluation_and_any_channel_dimension(name):
    act, x = make(name).eval(), torch.randn(3, 6, 4, 5, dtype=torch.float64)
    if "_b" in name:
        act.running_var.copy_(torch.linspace(0.2, 3, 6))
    y = act(x)
    torch.testing.assert_close(y, reference(act, x, getattr(act, "running_var", None)))
    last = make(name, channel_dim=-1).eval()
    last.load_state_dict(act.state_dict())
    torch.testing.assert_close(last(x.movedim(1, -1)).movedim(-1, 1), y)


@pytest.mark.parametrize("name", NAMES)
def test_twice_differentiable_in_training(name):
    act = make(name)
    x = (2 * torch.randn(2, 6, 2, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradgradcheck(act, (x,))


@pytest.mark.parametrize("name", NAMES[3:])
def test_samples_do_not_see_each_other(name):
    act, x = make(name), torch.randn(4, 6, 3, 3, dtype=torch.float64)
    y = act(x)
    assert torch.equal(act.eval()(x), y)
    torch.testing.assert_close(act(x[1:2]), y[1:2])


@pytest.mark.parametrize("name", ["evonorm_s1", "evonorm_s2"])
def test_without_its_gate_it_does_not_depend_on_the_scale(name):
    """Gate ½ in place of σ(x): what is left is x over its deviation, the same for x and 5 x up to eps."""
    act, x = slaf.make(name + "(groups=3, eps=1e-12)", num_channels=6, dtype=torch.float64), torch.randn(2, 6, 9, dtype=torch.float64)
    halves = [act(z) / torch.sigmoid(z) / 2 for z in (x, 5 * x)]
    torch.testing.assert_close(*halves)
    assert not torch.allclose(act(x), act(5 * x))


def test_groups_are_lowered_to_a_divisor():
    assert slaf.make("evonorm_s0", num_channels=48).groups_used == 24
    assert slaf.make("evonorm_s0", num_channels=64).groups_used == 32
    assert slaf.make("evonorm_s0(groups=8)", num_channels=3).groups_used == 3


@pytest.mark.parametrize("name", NAMES[:3])
def test_running_variance_is_biased_and_moves_by_a_tenth(name):
    act, x = slaf.make(name, num_channels=6), 3 * torch.randn(5, 6, 4)
    var = x.transpose(0, 1).reshape(6, -1).var(1, correction=0)
    act(x)
    torch.testing.assert_close(act.running_var, 0.9 + 0.1 * var)
    assert int(act.num_batches_tracked) == 1


def test_cumulative_momentum_averages_all_batches():
    act = slaf.make("evonorm_b0(momentum=None)", num_channels=2)
    assert repr(act) == "evonorm_b0(momentum=None, num_channels=2)"
    assert repr(slaf.make(repr(act))) == repr(act)
    batches = [torch.randn(8, 2, 3) for _ in range(4)]
    for x in batches:
        act(x)
    wanted = torch.stack([x.transpose(0, 1).reshape(2, -1).var(1, correction=0) for x in batches]).mean(0)
    torch.testing.assert_close(act.running_var, wanted)


def test_b0_without_v_divides_by_the_larger_deviation():
    act, x = slaf.make("evonorm_b0", num_channels=6, dtype=torch.float64), torch.randn(4, 6, 9, dtype=torch.float64)
    with torch.no_grad():
        act.v.zero_()
    batch = x.transpose(0, 1).reshape(6, -1).var(1, correction=0).reshape(1, 6, 1)
    own = x.var(2, correction=0, keepdim=True)
    torch.testing.assert_close(act(x), x / (torch.maximum(batch, own) + 1e-5).sqrt())


def test_b0_is_bounded_by_the_batch_deviation():
    x = torch.randn(4, 3, 16, dtype=torch.float64)
    y = slaf.make("evonorm_b0", num_channels=3)(x)
    deviation = x.transpose(0, 1).reshape(3, -1).std(1, correction=0).reshape(1, 3, 1)
    assert bool((y.abs() <= x.abs() / deviation).all())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", NAMES)
def test_half_types(name, dtype):
    act = make(name, torch.float32).to(dtype)
    wide = make(name).double()
    wide.load_state_dict({k: v.double() for k, v in act.state_dict().items()})
    x = (50 + 3 * torch.randn(8, 6, 7)).to(dtype)
    y = act(x)
    assert y.dtype == dtype
    if "_b" in name:
        assert act.running_var.dtype == torch.float32
    wanted = wide(x.double())
    torch.testing.assert_close(y.double(), wanted, rtol=4 * torch.finfo(dtype).eps, atol=4 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(1, 6), (1, 6, 1, 1), (4, 6, 3)])
def test_constant_channels_and_a_batch_of_one(name, shape):
    for value in (0.0, 5.0, -300.0):
        act, x = slaf.make(name, num_channels=6), torch.full(shape, value, requires_grad=True)
        y = act(x)
        y.square().sum().backward()
        assert bool(torch.isfinite(y).all())
        assert all(bool(torch.isfinite(t.grad).all()) for t in (x, *act.parameters()))


def test_without_affine_and_under_autocast():
    act, x = slaf.make("evonorm_s0(groups=3, affine=false)", num_channels=6), torch.randn(4, 6, 5)
    assert [n for n, _ in act.named_parameters()] == ["v"]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(act(x), act(x).float())
    torch.testing.assert_close(slaf.make("evonorm_s0(groups=3)", num_channels=6)(x), act(x))


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: slaf.make("evonorm_b0"), "evonorm_b0 needs num_channels"),
        (lambda: slaf.make("evonorm_s0(groups=0)", num_channels=3), "groups must be a positive integer; got 0"),
        (lambda: slaf.make("evonorm_s1(eps=0)", num_channels=3), "eps must be a number above 0; got 0"),
        (lambda: slaf.make("evonorm_b1(momentum=2)", num_channels=3), "momentum must be a number above 0 and up to 1; got 2"),
        (lambda: slaf.make("evonorm_b2(affine=3)", num_channels=3), "affine must be true or false"),
        (lambda: slaf.make("evonorm_b2", num_channels=3, channel_dim=0), "cannot be 0, the batch"),
        (lambda: slaf.make("evonorm_s2", num_channels=3, inplace=True), "inplace=True is not possible"),
        (lambda: slaf.make("evonorm_s0", num_channels=3)(torch.zeros(4, 2)), "num_channels=3 was declared"),
        (lambda: slaf.make("evonorm_s0", num_channels=3, channel_dim=-1)(torch.zeros(3)), "two dimensions or more"),
        (lambda: slaf.make("evonorm_b0", num_channels=3)(torch.zeros(0, 3, 4)), "an empty batch"),
    ],
)
def test_what_does_not_fit_is_refused(made, message):
    with pytest.raises(SlafError, match=message):
        made()

"""PolyNorm: the paper's values, invariance, normalisation, gradients, extreme inputs."""

import pytest
import torch

import slaf
from slaf.kernels import native, use


def reference(x, a, a_0, eps=1e-6):
    """The definition, term by term, without the scaling inside."""
    return a_0 + sum(c * x**i / (((x**i) ** 2).mean(-1, keepdim=True) + eps).sqrt() for i, c in enumerate(a, 1))


def test_values_at_the_start():
    y = slaf.make("polynorm").double()(torch.tensor([1.0, -2.0, 3.0, 0.0], dtype=torch.float64))
    torch.testing.assert_close(y, torch.tensor([0.269177, -0.276247, 1.779410, 0.0], dtype=torch.float64), rtol=0, atol=1e-6)
    assert sum(p.numel() for p in slaf.make("polynorm").parameters()) == 4


@pytest.mark.parametrize("scale", [1e-4, 0.3, 1.0, 50.0])
def test_it_is_the_definition_with_its_gradients(scale):
    torch.manual_seed(0)
    act = slaf.make("polynorm").double()
    with torch.no_grad():
        act.weight.normal_()
        act.bias.fill_(0.3)
    x = (scale * torch.randn(3, 7, dtype=torch.float64)).requires_grad_()
    y, wanted = act(x), reference(x, act.weight, act.bias)
    torch.testing.assert_close(y, wanted)
    seed = torch.randn_like(y)
    inputs = (x, act.weight, act.bias)
    for got, right in zip(torch.autograd.grad(y, inputs, seed), torch.autograd.grad(wanted, inputs, seed), strict=True):
        torch.testing.assert_close(got, right)


def test_invariance_to_the_size_of_the_vector():
    act = slaf.make("polynorm").double()
    x = torch.randn(4, 16, dtype=torch.float64)
    torch.testing.assert_close(act(30 * x), act(x), rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        act.weight.copy_(torch.tensor([1.0, 0.0, 1.0]))
    torch.testing.assert_close(act(-x), -act(x))


@pytest.mark.parametrize("c", [40.0, -0.5, -7.0])
def test_a_factor_leaves_even_terms_and_its_sign_turns_odd_ones(c):
    act, x = slaf.make("polynorm(eps=1e-14)").double(), torch.randn(4, 16, dtype=torch.float64)
    a = torch.tensor([0.7, -1.1, 0.4], dtype=torch.float64)
    with torch.no_grad():
        act.weight.copy_(a)
        act.bias.fill_(0.3)
    sign = 1.0 if c > 0 else -1.0
    torch.testing.assert_close(act(c * x), reference(x, [sign * a[0], a[1], sign * a[2]], 0.3, eps=0.0))


def test_every_power_has_mean_square_one():
    x = 5 * torch.randn(6, 32, dtype=torch.float64)
    for i in range(3):
        act = slaf.make("polynorm").double()
        with torch.no_grad():
            act.weight.zero_()
            act.weight[i] = 1
        torch.testing.assert_close(act(x).square().mean(-1), torch.ones(6, dtype=torch.float64), rtol=1e-4, atol=0)


def test_the_gradient_of_a_coefficient_is_the_sum_of_its_term():
    act, x = slaf.make("polynorm").double(), torch.randn(5, 8, dtype=torch.float64)
    act(x).sum().backward()
    for i in range(3):
        torch.testing.assert_close(act.weight.grad[i], reference(x, [0.0] * i + [1.0], 0.0).sum())
    assert act.bias.grad.item() == x.numel()


@pytest.mark.parametrize("size", [1e-20, 1e-3, 1e8, 1e30])
def test_extreme_inputs(size):
    x = (size * torch.tensor([[1.0, -2.0, 3.0, 0.5]])).requires_grad_()
    y = slaf.make("polynorm")(x)
    y.sum().backward()
    assert torch.isfinite(x.grad).all()
    exact = reference(x.detach().double(), [1 / 3] * 3, 0.0)
    torch.testing.assert_close(y.detach().double(), exact, rtol=1e-5, atol=1e-12)


def test_images_normalise_over_the_channels():
    x = torch.randn(2, 6, 3, 4, dtype=torch.float64)
    y = slaf.make("polynorm(normalized_dim=1)").double()(x)
    torch.testing.assert_close(y.movedim(1, -1), slaf.make("polynorm").double()(x.movedim(1, -1)))


def test_half_types_compute_in_float32():
    x = torch.tensor([[100.0, -200.0, 50.0, 0.0]], dtype=torch.float16)
    torch.testing.assert_close(slaf.make("polynorm").half()(x).double(), reference(x.double(), [1 / 3] * 3, 0.0), rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_training_stays_finite(scale):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(8, 32), slaf.make("polynorm"), torch.nn.Linear(32, 1))
    x = scale * torch.randn(128, 8)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(50):
        optimizer.zero_grad()
        loss = (model(x) - torch.sin(x[:, :1] / scale)).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("polynorm(order=9)", "order must be an integer from 1 to 8"),
        ("polynorm(eps=0)", "eps must be a number above 0"),
        ("polynorm(normalized_dim=x)", "normalized_dim must be an integer"),
    ],
)
def test_bad_arguments(spec, message):
    with pytest.raises(slaf.SlafError, match=message):
        slaf.make(spec)


def test_an_input_without_the_dimension():
    with pytest.raises(slaf.SlafError, match="has no normalized_dim=1"):
        slaf.make("polynorm(normalized_dim=1)")(torch.randn(4))


@pytest.mark.skipif(not native.available(), reason="the compiled kernels are not there")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("spec", "shape"), [("polynorm", (2, 5, 40)), ("polynorm(order=8)", (7, 129)), ("polynorm(normalized_dim=1)", (3, 64, 5))]
)
def test_the_kernels_agree_with_float64(spec, shape, dtype):
    torch.manual_seed(0)
    act, x = slaf.make(spec), torch.randn(shape).to(dtype)
    if "dim=1" in spec:
        x = x.movedim(1, -1).contiguous().movedim(-1, 1)
    wide, twin, g = slaf.make(spec).double(), x.double().requires_grad_(), torch.randn(shape).to(dtype)
    x.requires_grad_()
    with use("native"):
        y = act(x)
        assert "_Fused" in str(y.grad_fn.next_functions) + str(y.grad_fn) + str(y.grad_fn.next_functions[0][0].next_functions)
        grads = torch.autograd.grad(y, [x, *act.parameters()], g)
    exact = wide(twin)
    wanted = torch.autograd.grad(exact, [twin, *wide.parameters()], g.double())
    slack = 1e-4 if dtype == torch.float32 else 2e-2
    for got, value in zip((y, *grads), (exact, *wanted), strict=True):
        torch.testing.assert_close(got.double(), value, rtol=slack, atol=slack * float(value.detach().abs().max()))
    (gx,) = torch.autograd.grad(act(x).float().square().sum(), x, create_graph=True)
    (exact_gx,) = torch.autograd.grad(wide(twin).square().sum(), twin, create_graph=True)
    second, exact_second = (torch.autograd.grad(s.square().sum(), leaf)[0] for s, leaf in ((gx.float(), x), (exact_gx, twin)))
    torch.testing.assert_close(second.double(), exact_second, rtol=10 * slack, atol=10 * slack * float(exact_second.abs().max()))

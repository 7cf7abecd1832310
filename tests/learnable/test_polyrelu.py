"""PolyReLU: the paper's values and special cases, bounds, half types, training."""

import pytest
import torch

import slaf


def test_values_at_the_start():
    y = slaf.make("polyrelu")(torch.tensor([1.0, -2.0, 3.0, 0.0]))
    torch.testing.assert_close(y, torch.tensor([1.0, 0.0, 13.0, 0.0]))


def test_special_cases():
    x = torch.linspace(-4, 4, 401, dtype=torch.float64)
    act = slaf.make("polyrelu").double()
    for a, wanted in (((1.0, 0, 0), torch.relu(x)), ((0, 1.0, 0), torch.relu(x) ** 2)):
        with torch.no_grad():
            act.weight.copy_(torch.tensor([a]))
        torch.testing.assert_close(act(x), wanted)
    with torch.no_grad():
        act.weight.copy_(torch.tensor([[0.3, -1.2, 0.5]], dtype=torch.float64))
        act.bias.fill_(0.25)
    cubic = 0.25 + 0.3 * x - 1.2 * x**2 + 0.5 * x**3
    torch.testing.assert_close(act(x)[x >= 0], cubic[x >= 0])
    assert (act(x)[x < 0] == 0.25).all()


def test_four_parameters_a_layer_and_one_set_a_channel():
    assert sum(p.numel() for p in slaf.make("polyrelu(share=layer)", num_channels=8).parameters()) == 4
    act = slaf.make("polyrelu(order=2)", num_channels=8)
    assert sum(p.numel() for p in act.parameters()) == 24
    x = torch.randn(5, 8)
    with torch.no_grad():
        act.weight[3] = torch.tensor([0.0, 2.0])
    torch.testing.assert_close(act(x)[:, 3], 2 * torch.relu(x[:, 3]) ** 2)
    x = 1.5
    assert float(act.expression(3).subs(act.expression(3).free_symbols.pop(), x)) == pytest.approx(4.5)
    assert float(act.expression(2).subs(act.expression(2).free_symbols.pop(), x)) == pytest.approx(0.5 * 1.5 + 0.5 * 2.25)


@pytest.mark.parametrize("order", [1, 2, 3, 6])
def test_bounds_of_random_coefficients(order):
    torch.manual_seed(order)
    act = slaf.make(f"polyrelu(order={order})", num_channels=5).double()
    with torch.no_grad():
        act.weight.normal_()
        act.bias.normal_()
    lower = 4 * torch.rand(20, 5, dtype=torch.float64) - 2
    upper = lower + 2 * torch.rand(20, 5, dtype=torch.float64)
    low, high = act.bounds(lower, upper)
    t = torch.linspace(0, 1, 2001, dtype=torch.float64)[:, None, None]
    y = act((lower + t * (upper - lower)).clamp(lower, upper).reshape(-1, 5)).reshape(2001, 20, 5)
    assert (y >= low).all()
    assert (y <= high).all()
    assert (y.amin(0) - low < 2e-2 * (1 + y.abs().amax(0))).all()
    assert (high - y.amax(0) < 2e-2 * (1 + y.abs().amax(0))).all()


def test_cubes_beyond_float16_are_computed_in_float32():
    act = slaf.make("polyrelu").half()
    with torch.no_grad():
        act.weight.copy_(torch.tensor([[0.0, 0.0, 1e-4]]))
    assert float(act(torch.tensor([200.0], dtype=torch.float16)).detach()) == pytest.approx(800, rel=1e-2)  # 200³ = 8e6


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_training_stays_finite(scale):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(8, 32), slaf.make("polyrelu", num_channels=32), torch.nn.Linear(32, 1))
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
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_bad_arguments():
    with pytest.raises(slaf.SlafError, match="order must be an integer from 1 to 8; got 0"):
        slaf.make("polyrelu(order=0)")
    with pytest.raises(slaf.SlafError, match="lower must not exceed upper"):
        slaf.make("polyrelu").bounds(torch.ones(1), torch.zeros(1))

"""Mixtures: the sum of their members, the ways to weight them, selection and pruning, bounds."""

import math

import pytest
import torch

import slaf

X = torch.linspace(-4, 4, 801, dtype=torch.float64)
MEMBERS = ("relu", "gelu", "tanh")


def members(x):
    return [slaf.make(m)(x) for m in MEMBERS]


@pytest.mark.parametrize("kind", ["free", "softmax", "sigmoid"])
def test_it_is_the_weighted_sum(kind):
    act = slaf.make(f"mixture(relu, gelu, tanh, weights={kind})").double()
    with torch.no_grad():
        act.weight.copy_(torch.tensor([[0.3, -1.2, 0.7]], dtype=torch.float64))
    raw = act.weight[0]
    w = {"free": raw, "softmax": raw.exp() / raw.exp().sum(), "sigmoid": 1 / (1 + (-raw).exp())}[kind]
    torch.testing.assert_close(act(X), sum(c * f for c, f in zip(w, members(X), strict=True)))
    assert list(act.weights()) == list(MEMBERS)
    assert [v for (v,) in act.weights().values()] == pytest.approx(w.tolist())


@pytest.mark.parametrize("kind", ["free", "softmax", "sigmoid"])
def test_uniform_start_and_a_member_as_start(kind):
    act = slaf.make(f"mixture(relu, gelu, tanh, weights={kind})")
    assert [v for (v,) in act.weights().values()] == pytest.approx([1 / 3] * 3)
    start = [v for (v,) in slaf.make(f"mixture(relu, gelu, tanh, weights={kind}, init=gelu)").weights().values()]
    assert start == pytest.approx({"free": [0, 1, 0], "softmax": [0.05, 0.9, 0.05], "sigmoid": [0.1, 0.9, 0.1]}[kind])


def test_any_other_start_is_fitted():
    act = slaf.make("mixture(relu, identity, init=leaky_relu)").double()
    torch.testing.assert_close(act(X), slaf.make("leaky_relu")(X), rtol=1e-6, atol=1e-6)
    with pytest.raises(slaf.SlafError, match="init must be uniform or one of the members relu, tanh for weights=softmax"):
        slaf.make("mixture(relu, tanh, weights=softmax, init=gelu)")


def test_standardised_members_have_the_same_size():
    act = slaf.make("mixture(relu, tanh, standardize=true)").double()
    for k, name in enumerate(("relu", "tanh")):
        with torch.no_grad():
            act.weight.copy_(torch.eye(2)[k : k + 1])
        assert act.second_moment() == pytest.approx(1, rel=1e-6)
        torch.testing.assert_close(act(X), slaf.make(name)(X) / slaf.make(name).second_moment() ** 0.5)


def test_channels_and_learned_members():
    act = slaf.make("mixture(prelu, tanh)", num_channels=4)
    assert (act.weight.shape, act.members[0].weight.shape) == ((4, 2), (4,))
    with torch.no_grad():
        act.weight.copy_(torch.arange(8.0).reshape(4, 2))
        act.members[0].weight.copy_(torch.arange(4.0))
    x = torch.randn(6, 4)
    for c in range(4):
        prelu = torch.where(x[:, c] >= 0, x[:, c], c * x[:, c])
        torch.testing.assert_close(act(x)[:, c], 2 * c * prelu + (2 * c + 1) * x[:, c].tanh())
        f = act.expression(c)
        wanted = 2 * c * c * -0.5 + (2 * c + 1) * math.tanh(-0.5)
        assert float(f.subs(f.free_symbols.pop(), -0.5)) == pytest.approx(wanted)


# -- selection -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", range(3))
def test_one_hot_weights_are_that_member_bit_for_bit(k):
    act = slaf.make(f"mixture(relu, gelu, tanh, init={MEMBERS[k]})")
    x = torch.randn(1000)
    wanted = slaf.make(MEMBERS[k])(x)
    assert torch.equal(act(x), wanted)
    assert act.select().tolist() == act.select(x).tolist() == [k]
    pruned = act.prune()
    assert torch.equal(pruned(x), wanted)
    assert torch.equal(slaf.make(f"mixture(relu, gelu, tanh, weights=onehot, choice={k})")(x), wanted)
    assert [*pruned.parameters()] == []
    assert repr(slaf.make(repr(pruned))) == repr(pruned)


def test_every_channel_chooses_its_own():
    act = slaf.make("mixture(relu, prelu, tanh, identity)", num_channels=6)
    with torch.no_grad():
        act.weight.fill_(0.01)
        for c, k in enumerate((1, 2, 2, 0, 1, 0)):
            act.weight[c, k] = -1.0
        act.members[1].weight.copy_(torch.rand(6))
    assert act.select().tolist() == [1, 2, 2, 0, 1, 0]
    pruned, x = act.prune(), torch.randn(7, 6)
    assert len(pruned.members) == 3
    assert sum(p.numel() for p in pruned.parameters()) == 6  # prelu's slopes alone
    for c, k in enumerate((1, 2, 2, 0, 1, 0)):
        assert torch.equal(pruned(x)[:, c], act.members[k](x)[:, c])
    twin = slaf.make(repr(pruned))
    twin.load_state_dict(pruned.state_dict())
    assert torch.equal(twin(x), pruned(x))


@pytest.mark.parametrize("share", ["channel", "group", "layer", "unit"])
def test_selection_by_data_is_the_best_multiple(share):
    torch.manual_seed(0)
    extra = {"groups": 2} if share == "group" else {}
    act = slaf.make("mixture(relu, gelu, tanh)", share=share, num_channels=4, **extra)
    with torch.no_grad():
        act.weight.normal_()
    x = torch.randn(200, 4)
    y, chosen = act(x).detach().double(), act.select(x).tolist()
    assert len(chosen) == act.sharing.count
    for theta, k in enumerate(chosen):
        columns = torch.arange(4).chunk(act.sharing.count)[theta]
        errors = []
        for member in act.members:
            f, target = member(x).detach().double()[:, columns].flatten(), y[:, columns].flatten()
            errors.append(float((target - f * (f @ target) / (f @ f)).square().sum()))
        assert k == min(range(len(errors)), key=errors.__getitem__)


@pytest.mark.parametrize("target", ["cubic", "relu"])
def test_training_puts_the_largest_weight_on_the_right_member(target):
    torch.manual_seed(0)
    act = slaf.make("mixture(slaf(degree=3, input=identity, basis=chebyshev, share=layer), relu, weights=softmax, standardize=true)")
    x = 2 * torch.rand(512) - 1
    y = 4 * x**3 - 3 * x if target == "cubic" else torch.relu(x)
    if target == "relu":  # the polynomial starts as one that is none
        with torch.no_grad():
            act.members[0].weight.zero_()
    optimizer = torch.optim.Adam(act.parameters(), lr=3e-2)
    for _ in range(150):
        optimizer.zero_grad()
        (act(x) - y).square().mean().backward()
        optimizer.step()
    assert act.select(x).tolist() == [0 if target == "cubic" else 1]


# -- the rest --------------------------------------------------------------------------------------------------------------------


def test_bounds_of_negative_weights_in_several_channels():
    torch.manual_seed(0)
    act = slaf.make("mixture(relu, gelu, tanh)", num_channels=4).double()
    with torch.no_grad():
        act.weight.normal_()
    lower = 4 * torch.rand(10, 4, dtype=torch.float64) - 3
    upper = lower + torch.rand(10, 4, dtype=torch.float64)
    low, high = act.bounds(lower, upper)
    t = torch.linspace(0, 1, 1001, dtype=torch.float64)[:, None, None]
    y = act((lower + t * (upper - lower)).clamp(lower, upper).reshape(-1, 4)).reshape(1001, 10, 4).detach()
    assert (y >= low).all()
    assert (y <= high).all()
    assert (y.amin(0) - low).max() < 1e-2
    loose_low, loose_high = act._sum_of_bounds(lower, upper)  # where a member has no expression
    assert (loose_low <= low + 1e-12).all()
    assert (loose_high >= high - 1e-12).all()
    assert (y.amin(0) - loose_low).max() < 0.1
    infinite = torch.full((1, 4), torch.inf, dtype=torch.float64)
    low, high = slaf.make("mixture(tanh, sigmoid)", num_channels=4).double().bounds(-infinite, infinite)
    torch.testing.assert_close(low, torch.full_like(low, -0.5), rtol=0, atol=1e-3)
    torch.testing.assert_close(high, torch.ones_like(high), rtol=0, atol=1e-3)


def test_penalties_see_the_weights():
    model = torch.nn.Sequential(slaf.make("mixture(relu, tanh, weights=sigmoid)"))
    assert slaf.train.L1(2.0)(model).item() == pytest.approx(2.0)
    assert slaf.train.activation_coefficients(slaf.make("mixture(relu, tanh, weights=onehot)")) == []


@pytest.mark.parametrize("kind", ["free", "softmax", "sigmoid"])
@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_training_stays_finite(kind, scale):
    torch.manual_seed(0)
    act = slaf.make(f"mixture(relu, gelu, tanh, weights={kind})", num_channels=32)
    model = torch.nn.Sequential(torch.nn.Linear(8, 32), act, torch.nn.Linear(32, 1))
    x = scale * torch.randn(128, 8)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = (model(x) - torch.sin(x[:, :1] / scale)).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("mixture(relu, tanhh)", "did you mean 'tanh'"),
        ("mixture(relu, members=(tanh,))", "given twice"),
        ("mixture(members=())", "one or more activations"),
        ("mixture(relu, 3)", "one or more activations"),
        ("mixture(relu, weights=sofmax)", "did you mean 'softmax'"),
        ("mixture(relu, polynorm)", "must be elementwise"),
        ("mixture(relu, standardize=1)", "standardize must be true or false"),
        ("mixture(relu, weights=onehot, choice=1)", "choice must be one integer below 1"),
    ],
)
def test_bad_arguments(spec, message):
    with pytest.raises(slaf.SlafError, match=message):
        slaf.make(spec)

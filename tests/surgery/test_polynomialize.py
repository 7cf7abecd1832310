"""Networks made polynomial: what is left in the graph, the polynomial that they are, the report, and what is refused."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import slaf
from slaf.core import SlafError
from slaf.surgery import multiplicative_depth, nonpolynomial_operations
from slaf.surgery.frozen import FrozenPolynomial
from slaf.surgery.polynomializing.pooling import average_pools


class Net(nn.Module):
    """Everything that has to go: calls written in forward, max pooling of both kinds, batch norm, dropout, zero padding."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.drop = nn.Dropout(0.3)
        self.last = nn.Linear(16, 3)

    def forward(self, x):
        x = self.pool(F.relu(self.norm(self.first(x))))
        x = x + torch.sigmoid(self.second(x))
        x = F.max_pool2d(x, kernel_size=2)
        return self.last(self.drop(x.flatten(1)))


def images(count=96):
    """Three classes by where the bright spot is."""
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(3, (count,), generator=generator)
    x = 0.3 * torch.randn(count, 1, 8, 8, generator=generator)
    for i, k in enumerate(y.tolist()):
        x[i, 0, 2 * k : 2 * k + 3, 2 * k : 2 * k + 3] += 1
    return x, y


def trained(net, data):
    recipe = slaf.train.Recipe(epochs=6, batch_size=16, lr=1e-2)
    slaf.train.train(net, data, F.cross_entropy, recipe)
    return net


@pytest.fixture(scope="module")
def case():
    torch.manual_seed(0)
    x, y = images()
    data, test = (x[:72], y[:72]), (x[72:], y[72:])
    net = trained(Net(), data)
    state, flags = copy.deepcopy(net.state_dict()), [m.training for m in net.modules()]
    made = slaf.polynomialize(net, {"relu": 3, "*": 2}, data, test, epochs=4)
    assert all(torch.equal(state[k], v) for k, v in net.state_dict().items()), "the model is left as it was"
    assert flags == [m.training for m in net.modules()]
    assert isinstance(net.pool, nn.MaxPool2d)
    assert type(net) is Net
    return net, made, data, test


def test_exported_graph_holds_additions_multiplications_and_linear_operations(case):
    _, made, _, test = case
    graph = torch.export.export(made, (test[0][:2],), strict=False).graph
    names = {n.target.overloadpacket.__name__ for n in graph.nodes if n.op == "call_function"}
    linear = {"conv2d", "linear", "avg_pool2d", "flatten", "reshape", "movedim", "select", "to", "_assert_tensor_metadata"}
    assert names <= linear | {"add", "sub", "mul", "addcmul", "add_"}
    assert not any(isinstance(m, (nn.MaxPool2d, nn.BatchNorm2d, nn.Dropout, nn.ReLU)) for m in made.modules())


def test_network_is_a_polynomial_of_its_input(case):
    """Along a line, far beyond the data, it has degree 3·2 = 6 in the parameter: seven values say all others. So nothing is clamped."""
    _, made, _, test = case
    made = copy.deepcopy(made).double()
    here, way = test[0][:1].double(), 4 * torch.randn(1, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def along(t):
        return np.concatenate([made(here + v * way).numpy() for v in t])[:, 0]

    nodes, others = np.cos(np.pi * (np.arange(7) + 0.5) / 7), np.linspace(-1, 1, 23)
    wanted = along(others)
    fitted = np.polynomial.chebyshev.chebfit(nodes, along(nodes), 6)
    assert np.abs(np.polynomial.chebyshev.chebval(others, fitted) - wanted).max() < 1e-9 * np.abs(wanted).max()
    lower = np.polynomial.chebyshev.chebfit(others, wanted, 5)
    assert np.abs(np.polynomial.chebyshev.chebval(others, lower) - wanted).max() > 1e-7 * np.abs(wanted).max(), "degree 5 is not enough"


def test_report_says_ranges_shares_and_depth(case):
    net, made, data, test = case
    report = made.slaf_report
    assert [s.before for s in report.sites] == ["relu", "sigmoid"]
    assert [(s.degree, s.depth) for s in report.sites] == [(3, 2), (2, 2)]
    # convolution, polynomial, pooling, convolution, polynomial, linear: the first pooling's windows overlap and have several sizes, so
    # their factors go nowhere; the sum and the second pooling add none
    assert report.depth == 1 + 2 + 1 + 1 + 2 + 1
    assert report.depth == multiplicative_depth(made, test[0][:2])
    assert len(report.pools) == 2
    both = torch.cat([data[0], test[0]])
    inputs = made.first(both)  # the batch norm is in it
    first = report.sites[0]
    assert first.seen == pytest.approx((float(inputs.min()), float(inputs.max())), rel=1e-4)
    low, high = first.interval
    tested = made.first(test[0])
    assert first.outside_share == pytest.approx(float(((tested < low) | (tested > high)).double().mean()), abs=1e-9)
    assert high == -low > 0
    with torch.no_grad():
        original = float((net.eval()(test[0]).argmax(1) == test[1]).double().mean())
        result = float((made(test[0]).argmax(1) == test[1]).double().mean())
    assert (report.original.accuracy, report.trained.accuracy) == (original, result)
    assert max(len(line) for line in str(report).splitlines()) <= 120
    assert report.to_dict()["sites"][0]["name"] == first.name


def test_polynomials_are_those_of_numpy(case):
    _, made, _, test = case
    act = next(m for m in made.modules() if isinstance(m, FrozenPolynomial))
    x = 3 * made.first(test[0])
    got = act(x)
    for c in range(4):
        u = (x[:, c].double() - float(act.center.expand(4)[c])) * float(act.rscale.expand(4)[c])
        wanted = np.polynomial.chebyshev.chebval(u.numpy(), act.coefficients.expand(4, -1)[c].double().numpy())
        assert np.abs(got[:, c].numpy() - wanted).max() < 1e-4 * max(1, np.abs(wanted).max())


def test_result_has_an_encrypted_form(case):
    """The affine maps and polynomials that run on ciphertexts, in float64: the same numbers, the same depth."""
    from slaf.export.encrypted import encrypted

    _, made, _, (x, _) = case
    program = encrypted(made, x)
    assert program.costs.levels == made.slaf_report.depth
    network = program.network
    wanted = copy.deepcopy(made).double()(x.double()).numpy()
    assert np.abs(network.run(x.double().flatten(1).numpy()) - wanted).max() < 1e-10


def test_training_regains_what_the_replacement_lost():
    torch.manual_seed(0)
    data = images(64)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 3))
    trained(net, data)
    made = slaf.polynomialize(net, 2, data, epochs=6)
    report = made.slaf_report
    assert report.trained.loss < report.replaced.loss
    assert not report.held_out
    again = slaf.polynomialize(net, 2, DataLoader(TensorDataset(*data), batch_size=20), epochs=6)
    x = data[0]
    assert torch.equal(again(x), made(x)), "a loader is the same data, a seed the same result"


def test_high_degree_stays_finite_far_outside():
    torch.manual_seed(0)
    x = torch.randn(64, 6)
    net = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1))
    net(3 * x)
    made = slaf.polynomialize(net.eval(), 22, (x, net(x).detach()), epochs=2, distill=0.0)
    site = made.slaf_report.sites[0]
    assert (site.degree, site.depth, made.slaf_report.depth) == (22, 5, 7)
    assert site.fit_error < 0.05
    assert site.outside_share == 0
    assert bool(made(1.2 * x).isfinite().all())


def test_range_follows_the_inputs_in_training_alone():
    from slaf.surgery.polynomializing.scaling import DECAY, Scaled

    net = nn.Sequential(nn.ReLU())
    x = torch.linspace(-1, 1, 32)[:, None]
    annealing = slaf.anneal(net, "slaf(degree=3, interval=(-2.0, 2.0), share=layer)", x, outside="extrapolate", inplace=True)
    ((slot, blend),) = annealing.slots
    scale = Scaled(blend, slot, 1.5)
    annealing.model.eval()(100 * x)
    assert scale.reach == 2, "not in evaluation"
    annealing.model.train()(4 * x)
    assert scale.reach == pytest.approx(6)
    before = blend.new.weight.clone()
    annealing.progress = 0.5
    annealing.model(x)
    assert scale.reach == pytest.approx(6 * DECAY)
    assert not torch.equal(before, blend.new.weight), "fitted anew when its turn comes"
    u = torch.linspace(-1, 1, 101)[:, None]
    with torch.no_grad():
        assert float((blend.new(u) - u.relu()).abs().max()) < 0.25
    scale.remove()
    annealing.model(50 * x)
    assert scale.reach == pytest.approx(6 * DECAY), "fixed at the end"


@pytest.mark.parametrize(
    ("pool", "average"),
    [
        (nn.MaxPool2d(3, 2, 1, ceil_mode=True), nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False)),
        (nn.MaxPool2d((2, 1)), nn.AvgPool2d((2, 1))),
        (nn.AdaptiveMaxPool2d((2, None)), nn.AdaptiveAvgPool2d((2, None))),
    ],
)
def test_pooling_keeps_its_geometry(pool, average):
    x = torch.randn(2, 3, 7, 9)
    net = nn.Sequential(pool, nn.ReLU())
    shape = net(x).shape
    assert average_pools(net, x) == (f"0 ({type(pool).__name__})",)
    assert net(x).shape == shape
    assert torch.equal(net(x), average(x).relu())


class Of(nn.Module):
    """A function as a model."""

    def __init__(self, function):
        super().__init__()
        self.function, self.weight = function, nn.Parameter(torch.full((4,), 0.5))

    def forward(self, x):
        return self.function(x, self.weight)


@pytest.mark.parametrize(
    "function",
    [
        lambda x, _: x * x - 3 * x**3,
        lambda x, w: (x @ x.T) @ x / w.exp() + w.relu(),
        lambda x, _: F.pad(x, (1, 1)).reshape(-1, 3, 2).mean(1).square(),
        lambda x, _: torch.cat([x[:, :2], x[:, 2:].flip(1)], 1).double() * torch.zeros_like(x),
    ],
)
def test_polynomials_have_no_other_operations(function):
    assert nonpolynomial_operations(Of(function), torch.randn(3, 4)) == ()


@pytest.mark.parametrize(
    ("function", "operation"),
    [
        (lambda x, w: w / x, "div"),
        (lambda x, _: x * (x > 0), "gt"),
        (lambda x, _: x**-1, "pow"),
        (lambda x, _: 2**x, "pow"),
        (lambda x, _: x.sort(1).values, "sort"),
        (lambda x, _: x.softmax(1), "softmax"),
        (lambda x, w: x.clamp(-1, 1) + w, "clamp"),
        (lambda x, w: w[x.long() % 4], "to"),
        (lambda x, _: x.amax(1), "amax"),
    ],
)
def test_other_operations_are_named(function, operation):
    assert f"Of: {operation}" in nonpolynomial_operations(Of(function), torch.randn(3, 4))


def block(*layers):
    return nn.Sequential(nn.Linear(4, 4), nn.ReLU(), *layers)


DATA = (torch.randn(24, 4, generator=torch.Generator().manual_seed(0)), torch.arange(24) % 4)


def huge():
    net = block()
    nn.init.constant_(net[0].weight, 5e37)
    return net


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (lambda: block(nn.Softmax(1)), {}, r"without a polynomial form: 2 \(Softmax\): softmax"),
        (lambda: block(nn.LayerNorm(4)), {}, r"2 \(LayerNorm\): layer_norm"),
        (lambda: block(nn.BatchNorm1d(4, track_running_stats=False)), {}, r"2 \(BatchNorm1d\)"),
        (
            lambda: nn.Sequential(nn.ReLU(), nn.Unflatten(1, (1, 4)), nn.MaxPool1d(2, dilation=2), nn.Linear(1, 4), nn.Flatten()),
            {},
            r"2 \(MaxPool1d\) has dilation 2",
        ),
        (lambda: nn.Linear(4, 4), {}, "calls no activation"),
        (block, {"degree": 25}, "degree must be an integer from 1 to 24; got 25"),
        (block, {"degree": {"gelu": 2}}, r"degree: 'gelu' fits no activation; there are 1 \(relu\)"),
        (lambda: block(nn.Tanh()), {"degree": {"relu": 2}}, r"degree says nothing of 2 \(tanh\)"),
        (block, {"data": (DATA[0][:0], DATA[1][:0])}, "data is empty"),
        (block, {"data": DataLoader(TensorDataset(DATA[0][:0], DATA[1][:0]))}, "data is empty: the loader gives no batch"),
        (block, {"data": DATA[0]}, "data must be a pair of tensors"),
        (block, {"valid": (DATA[0], DATA[1][:3])}, "valid: .* equally many rows"),
        (lambda: block(nn.Linear(4, 2)), {}, "the loss fails on the data: IndexError: Target 2 is out of bounds"),
        (block, {"margin": 0.5}, "margin must be a number of at least 1"),
        (block, {"share": "pixel"}, "share must be one of"),
        (huge, {"degree": 22}, "degree 22 of 1 overflows float32"),
    ],
)
def test_refusals_name_what_is_wrong_and_leave_the_model(model, options, message):
    torch.manual_seed(0)
    net = model()
    state = copy.deepcopy(net.state_dict())
    arguments = {"degree": 3, "data": DATA, "epochs": 1} | options
    with pytest.raises(SlafError, match=message):
        slaf.polynomialize(net, **arguments)
    assert all(torch.equal(state[k], v) for k, v in net.state_dict().items())
    assert net.training


def test_polynomial_that_is_none_on_float32_is_refused_before_training():
    act = slaf.make("slaf(degree=4, interval=(-2.0, 2.0), share=layer)")
    with torch.no_grad():
        act.weight.fill_(1e38)
    from slaf.surgery.polynomializing.ranges import refuse_overflow

    with pytest.raises(SlafError, match=r"degree 4 of here overflows float32 on its range \[-2, 2\]"):
        refuse_overflow("here", act)

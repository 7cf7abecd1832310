"""fold on models: every bound against float64, channels of their own, intervals, what is refused, the original bitwise unchanged."""

import copy
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import slaf
from slaf.core import Activation, SlafError
from slaf.fit.folded import Folded
from slaf.surgery.drift import drift, drift_of
from slaf.surgery.fold import fold, folded_sites
from slaf.surgery.folded_per_channel import FoldedPerChannel
from slaf.surgery.freeze import freeze
from slaf.surgery.frozen import FrozenPolynomial
from slaf.testing import check_activation

FORMS = ("polynomial", "piecewise_linear", "piecewise_polynomial", "int8")


class Tiny(nn.Module):
    """Convolutions, a residual path, activations of torch's, of slaf's and of somebody else's."""

    def __init__(self):
        super().__init__()
        self.c1, self.n1, self.gelu = nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3), nn.GELU()
        self.c2, self.prelu = nn.Conv2d(3, 3, 3, padding=1), nn.PReLU(3)
        self.slaf, self.own, self.relu = slaf.make("slaf(degree=3)", num_channels=3), Own(), nn.ReLU(inplace=True)
        self.line = nn.Linear(3, 4)

    def forward(self, x):
        x = self.gelu(self.n1(self.c1(x)))
        x = self.relu(self.prelu(self.c2(x)) + x)
        return self.line(self.own(self.relu(self.slaf(x) - 0.1)).mean((2, 3)))


class Own(nn.Module):
    def forward(self, x):
        return x * torch.sigmoid(x)


@pytest.fixture
def model():
    torch.manual_seed(0)
    made = Tiny()
    with torch.no_grad():
        made.prelu.weight.copy_(torch.tensor([0.25, -0.5, 0.25]))
        made.slaf.input_statistics.mean.copy_(torch.tensor([0.1, 0.2, 0.3]))
        made.n1.running_var.uniform_(0.5, 2)
    return made.eval()


@pytest.fixture
def x():
    return torch.randn(4, 2, 5, 5, generator=torch.Generator().manual_seed(1))


def state(model):
    tensors = {k: v.clone() for k, v in model.state_dict().items()}
    return tensors, [(m, type(m), m.training, getattr(m, "inplace", None)) for m in model.modules()]


def same_state(a, b):
    return a[1] == b[1] and a[0].keys() == b[0].keys() and all(torch.equal(v, b[0][k]) for k, v in a[0].items())


def recorded(model, names, x):
    """The inputs of modules in one forward."""
    seen = {}
    modules = {model.get_submodule(n): n for n in names}
    handles = [m.register_forward_pre_hook(lambda m, a: seen.setdefault(modules[m], []).append(a[0].clone())) for m in modules]
    with torch.no_grad():
        model(x)
    for handle in handles:
        handle.remove()
    return {n: torch.cat(parts) for n, parts in seen.items()}


@pytest.mark.parametrize("to", FORMS)
def test_every_activation_is_folded_within_its_bound(model, x, to):
    before = state(model)
    folded = fold(model, to, example=x)
    assert same_state(before, state(model))
    sites = {s.name: s for s in folded_sites(folded)}
    assert set(sites) == {"gelu", "prelu", "slaf", "own", "relu"}
    assert {type(m).__name__ for m in folded.modules() if isinstance(m, (nn.GELU, nn.PReLU, nn.ReLU, slaf.SLAF, Own))} == set()
    reference = copy.deepcopy(model).double()
    reference.relu.inplace = False
    for name, inputs in recorded(model, sites, x).items():
        site, form = sites[name], folded.get_submodule(name)
        if site.interval is None:
            assert to == "polynomial"
            continue
        low, high = site.interval
        assert low <= float(inputs.min())
        assert float(inputs.max()) <= high
        grid = torch.linspace(low, high, 2001)
        grid = grid.clamp(low, high).reshape(-1, 1, 1, 1).expand(-1, 3, 1, 1)
        with torch.no_grad():
            error = (form(grid).double() - reference.get_submodule(name)(grid.double())).abs().max()
        assert float(error) <= site.error_bound
        assert float(error) > 0 or (name in ("relu", "prelu") and to == "piecewise_linear")
    assert drift(model, folded, x).relative < {"polynomial": 0.5, "int8": 0.5}.get(to, 0.05)


@pytest.mark.parametrize("to", FORMS)
@pytest.mark.parametrize(("spec", "sizes", "shape"), [
    ("prelu", {"num_channels": 3}, (4, 3, 5)), ("prelu", {"num_channels": 3, "channel_dim": -1}, (4, 5, 3)),
    ("slaf(degree=2)", {"num_features": (2, 2), "share": "unit"}, (5, 2, 2)), ("rational(3,2)", {"num_channels": 3}, (4, 3, 2, 2)),
])  # fmt: skip
def test_channels_of_their_own_are_their_forms(to, spec, sizes, shape):
    torch.manual_seed(0)
    act = slaf.make(spec, **sizes).eval()
    with torch.no_grad():
        for p in act.parameters():
            p.mul_(1 + 0.3 * torch.rand_like(p))
    x = 2 * torch.randn(shape)
    folded = fold(nn.Sequential(act), to, example=x, outside=None if to == "int8" else "linear")[0]
    assert isinstance(folded, FoldedPerChannel)
    dims = [d for d in range(x.dim()) if x.shape[d : d + 1] and d in _site_dims(act, x)]
    wide = torch.cat([x, 3 * x, torch.full_like(x, torch.inf), torch.full_like(x, -torch.inf)])
    rows = wide.movedim(dims, list(range(len(dims)))).reshape(act.sharing.sites, -1)
    got = folded(wide).movedim(dims, list(range(len(dims)))).reshape(act.sharing.sites, -1)
    for site in range(act.sharing.sites):
        torch.testing.assert_close(got[site], folded.at(site)(rows[site]), rtol=1e-6, atol=1e-6, equal_nan=True)
    low, high = folded.bounds(x - 0.1, x + 0.1)
    for t in (-0.1, 0.0, 0.07):
        assert bool(((low <= folded(x + t)) & (folded(x + t) <= high)).all())
    assert folded(x.bfloat16()).dtype == torch.bfloat16
    assert folded.half().error_bound == max(folded.error_bounds)
    assert all(b.dtype not in (torch.float16, torch.bfloat16) for b in folded.buffers())


def _site_dims(act, x):
    first = act.sharing.channel_dim % x.dim()
    return range(first, first + (len(act.sharing.num_features) if act.sharing.share == "unit" else 1))


def test_contract():
    act = nn.PReLU(3)
    with torch.no_grad():
        act.weight.copy_(torch.tensor([0.1, 0.2, -0.3]))
    folded = fold(nn.Sequential(act), "piecewise_linear", (-2, 3), example=torch.zeros(1, 3))[0]
    report = check_activation(folded)
    assert report.passed, report


def test_equal_channels_share_a_form(x):
    model = nn.Sequential(nn.PReLU(2))
    assert isinstance(fold(model, example=x)[0], Folded)
    with torch.no_grad():
        model[0].weight[1] = 0.5
    assert len(fold(model, example=x)[0].sizes) == 2


def test_tolerance_gives_each_channel_its_size():
    act = slaf.make("slaf(degree=5)", num_channels=3).eval()
    with torch.no_grad():
        act.weight[1] *= 0.01
    x = 3 * torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    folded = fold(nn.Sequential(act), "piecewise_polynomial", example=x, tolerance=1e-3)[0]
    assert folded.error_bound <= 1e-3
    assert len(set(folded.sizes)) > 1
    y = torch.cat([folded.at(i)(x[:, i : i + 1]) for i in range(3)], 1)
    assert torch.equal(folded(x), y)
    low, high = folded.interval
    grid = torch.linspace(low, high, 4001).clamp(low, high)
    reference = copy.deepcopy(act).double()
    with torch.no_grad():
        assert float((folded.curves(grid).double() - reference.curves(grid.double())).abs().max()) <= 1e-3


def test_a_polynomial_stays_exact_unless_a_smaller_one_is_asked_for(x):
    model = nn.Sequential(nn.Conv2d(2, 3, 1), slaf.make("slaf(degree=4)", num_channels=3)).eval()
    exact = fold(model, "polynomial", example=x)
    assert isinstance(exact[1], FrozenPolynomial)
    torch.testing.assert_close(exact(x), model(x))
    smaller = fold(model, "polynomial", example=x, degree=2)
    assert (folded_sites(smaller)[0].form, folded_sites(smaller)[0].size) == ("polynomial", 2)


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.act = nn.Tanh()
        self.again = self.act
        self.line = nn.Linear(3, 3)

    def forward(self, x):
        return self.again(10 + self.line(self.act(x)))


def test_a_shared_module_has_one_form_for_all_its_calls():
    model, x = Shared(), torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    folded = fold(model, example=[x, 2 * x], margin=0.0)
    assert folded.act is folded.again
    assert model.act is model.again
    low, high = folded.act.interval
    assert low == pytest.approx(float(2 * x.min()))
    assert high > 8
    assert len(folded_sites(folded)) == 1


def test_functional_calls_are_named_in_a_warning():
    class Calls(nn.Module):
        def __init__(self):
            super().__init__()
            self.act = nn.ReLU()

        def forward(self, x):
            return F.gelu(self.act(x)).tanh()

    with pytest.warns(UserWarning, match=r"gelu.*tanh"):
        folded = fold(Calls(), example=torch.randn(5))
    assert isinstance(folded.act, Folded)


def test_a_site_that_sees_one_number_is_widened():
    with pytest.warns(UserWarning, match=r"0 gets the input 2 alone; it is folded on \[1, 3\]"):
        folded = fold(nn.Sequential(nn.Tanh()), example=torch.full((3,), 2.0))
    assert folded[0].interval == (1.0, 3.0)


class Overwriting(nn.Module):
    def __init__(self):
        super().__init__()
        self.act = nn.ReLU(inplace=True)

    def forward(self, x):
        y = x - 100
        return self.act(y) + y


@pytest.mark.parametrize(
    ("made", "options", "match"),
    [
        (lambda: nn.Sequential(nn.Linear(3, 3), nn.GELU()), {"tolerance": 1e-9}, r"1 cannot be folded.*tolerance"),
        (lambda: nn.Sequential(nn.Linear(3, 3)), {}, "no activation"),
        (lambda: nn.Sequential(slaf.make("slaf", num_channels=3)), {}, "freeze the model first"),
        (lambda: nn.Sequential(slaf.make("batch_norm(relu)", num_channels=3)).eval(), {}, "freeze the model first"),
        (Overwriting, {}, "act works in place"),
        (lambda: nn.Sequential(nn.Tanh()), {"site": 0}, "site is for one activation"),
        (lambda: nn.Sequential(nn.Tanh()), {"to": "cubic"}, "to must be one of"),
        (lambda: nn.Sequential(nn.Tanh()), {"margin": -1}, "margin must be"),
        (lambda: nn.Sequential(nn.Tanh()), {"example": torch.full((2, 3), torch.nan)}, "0 gets 6 inputs that are not finite"),
        (lambda: nn.Sequential(nn.Tanh()), {"example": None}, "example="),
    ],
)
@pytest.mark.parametrize("inplace", [False, True])
def test_what_cannot_be_folded_is_said_and_nothing_changes(made, options, match, inplace):
    model = made()
    before = state(model)
    with pytest.raises(SlafError, match=match):
        fold(model, **({"example": torch.randn(4, 3), "inplace": inplace} | options))
    assert same_state(before, state(model))


def test_one_activation_is_folded_as_before():
    assert fold("gelu", "int8").error_bound == slaf.fit.fold("gelu", "int8").error_bound
    act = slaf.make("tanh")
    assert fold(act, "polynomial", (-1, 1), degree=3).interval == (-1.0, 1.0)
    measured = fold(act, example=torch.tensor([-2.0, 1.0]), margin=0.5)
    assert measured.interval == (-3.5, 2.5)
    assert isinstance(fold(nn.ReLU(), example=torch.randn(5)), Activation)


def test_it_exports_copies_loads_and_works_in_place(model, x):
    folded = fold(model, "piecewise_polynomial", example=x)
    torch.testing.assert_close(torch.export.export(folded, (x,)).module()(x), folded(x))
    twin = copy.deepcopy(folded)
    for b in twin.buffers():
        b.zero_()
    twin.load_state_dict(folded.state_dict())
    assert torch.equal(twin(x), folded(x))
    assert torch.equal(fold(copy.deepcopy(model), "piecewise_polynomial", example=x, inplace=True)(x), folded(x))
    assert fold(model, "int8", example=x, inplace=True) is model


def test_a_transformer_layer_uses_the_folded_activation():
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True).eval()
    layer.activation = nn.ReLU()  # a module, as after a swap
    x = torch.randn(2, 3, 8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folded = fold(layer, "int8", (-1, 1), example=x)
    with torch.no_grad():
        assert float((folded(x) - layer(x)).abs().max()) > 0


def test_frozen_and_folded_the_drift_stays_within_what_the_sites_allow(x):
    """One site after a linear map: the output moves no more than the weights let the proven bound through, plus what freezing moved."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.SiLU(), nn.Flatten(), nn.Linear(36, 5)).eval()
    model[1].running_mean.normal_()
    frozen = freeze(model, x)
    folded = fold(frozen, example=x, pieces=16)
    bound = folded_sites(folded)[0].error_bound
    reach = float(model[4].weight.detach().abs().sum(1).max())
    first, second, both = drift(model, frozen, x), drift(frozen, folded, x), drift(model, folded, x)
    assert 0 < second.max_abs <= bound * reach + 1e-5
    assert both.max_abs <= first.max_abs + second.max_abs + 1e-6
    assert both.relative <= (first.relative + second.relative) * 1.01


def test_drift_is_relative_to_the_variation_between_samples():
    before = {"logits": torch.tensor([[0.0, 10.0], [2.0, 14.0]]), "hidden": (torch.ones(2, 1), torch.tensor(1))}
    after = {"logits": torch.tensor([[0.0, 10.0], [20.0, 14.0]]), "hidden": (torch.ones(2, 1), torch.tensor(1))}
    found = drift_of(before, after)
    logits, hidden = found.outputs
    assert logits.relative == pytest.approx((18**2 / (2 * 1 + 2 * 4)) ** 0.5)
    assert (logits.max_abs, logits.size, logits.agreement) == (18.0, 14.0, 0.5)
    assert (hidden.name, hidden.relative, hidden.agreement) == ("hidden.0", 0.0, None)
    assert "top-1 50.00%" in str(found)
    one = drift_of(torch.tensor([[1.0, 3.0]]), torch.tensor([[1.0, 4.0]]))
    assert one.relative == pytest.approx((1 / 2) ** 0.5)
    batches = drift_of([torch.zeros(1, 1), torch.ones(2, 1)], [torch.zeros(1, 1), torch.ones(2, 1) + 1])
    assert batches.relative == pytest.approx((2 / (2 / 3)) ** 0.5)
    with pytest.raises(SlafError, match="shape"):
        drift_of(torch.zeros(2), torch.zeros(3))
    with pytest.raises(SlafError, match="outputs"):
        drift_of({"a": torch.zeros(2)}, {"b": torch.zeros(2)})


def test_an_activation_that_is_zero_on_all_it_saw():
    """The fit is exact, so its error has no peaks."""
    x = -torch.rand(5) - 0.1
    assert torch.equal(fold(nn.Sequential(nn.ReLU()), example=x)(x), torch.zeros(5))

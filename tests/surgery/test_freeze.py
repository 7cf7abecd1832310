"""freeze: the frozen model against the original's evaluation in float64, what is folded and what is not, the original bitwise unchanged."""

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import slaf
from slaf.core import SlafError
from slaf.surgery.drift import drift
from slaf.surgery.fold import fold, folded_sites
from slaf.surgery.freeze import freeze, unfolded_batch_norms
from slaf.surgery.frozen import FrozenBatchNorm, FrozenPolynomial
from slaf.testing import check_activation


def calibrated(model, seed=0):
    """Random running statistics and affine parameters everywhere, negative scales too."""
    generator = torch.Generator().manual_seed(seed)

    def draw(tensor, low, high):
        tensor.copy_(low + (high - low) * torch.rand(tensor.shape, generator=generator, dtype=torch.float64))

    with torch.no_grad():
        for m in model.modules():
            if getattr(m, "running_mean", None) is not None:
                draw(m.running_mean, -1, 1)
                draw(m.running_var, 0.3, 2)
                if m.weight is not None:
                    draw(m.weight, -1.5, 1.5)
                    draw(m.bias, -1, 1)
            if isinstance(m, slaf.SLAF) and m.input_statistics is not None:
                draw(m.input_statistics.mean, -0.5, 0.5)
                draw(m.input_statistics.var, 0.5, 2)
            if isinstance(m, slaf.SLAF) and m.term_statistics is not None:
                draw(m.term_statistics.mean, -0.5, 0.5)
                draw(m.term_statistics.var, 0.5, 2)
            if isinstance(m, slaf.SLAF):
                m.weight.mul_(1 + 0.2 * torch.rand(m.weight.shape, generator=generator, dtype=torch.float64).to(m.weight))
    return model


def evaluated(model, *x):
    with torch.no_grad():
        return copy.deepcopy(model).eval()(*x)


def state(model):
    tensors = {k: v.clone() for k, v in model.state_dict().items()}
    return (
        tensors,
        [(m, type(m), m.training, m._forward_hooks.copy()) for m in model.modules()],
        [p.requires_grad for p in model.parameters()],
    )


def same_state(a, b):
    return a[1:] == b[1:] and a[0].keys() == b[0].keys() and all(torch.equal(v, b[0][k]) for k, v in a[0].items())


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.c1, self.b1, self.a1 = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), slaf.make("slaf", num_channels=8)
        self.c2, self.b2, self.drop = nn.Conv2d(8, 8, 3, groups=2), nn.BatchNorm2d(8), nn.Dropout(0.5)
        self.c3, self.b3 = nn.ConvTranspose2d(8, 12, 3, groups=4), nn.BatchNorm2d(12)
        self.a3 = slaf.make("batch_norm(slaf(preset=paper_b, degree=3))", num_channels=12)
        self.b4, self.c4, self.a4 = nn.BatchNorm2d(12), nn.Conv2d(12, 6, 1, groups=3, bias=False), slaf.make("prelu", num_channels=6)
        self.line, self.b5 = nn.Linear(6, 4), nn.BatchNorm1d(4, affine=False)

    def forward(self, x):
        x = self.a1(self.b1(self.c1(x)))
        y = self.drop(self.b2(self.c2(x)))
        y = self.a3(self.b3(self.c3(F.relu(y) + y)))
        y = self.a4(self.c4(self.b4(y)))
        return {"logits": self.b5(self.line(y.mean((2, 3)))), "features": (y, x)}


def test_everything_folds_and_nothing_changes():
    model, x = calibrated(Residual()).double(), torch.randn(4, 3, 8, 8, dtype=torch.float64)
    before = state(model)
    frozen = freeze(model, x)
    assert same_state(before, state(model))
    assert model.training
    assert not any(m.training for m in frozen.modules())
    found = drift(model, frozen, x)
    assert [o.name for o in found.outputs] == ["logits", "features.0", "features.1"]
    assert found.max_abs <= 1e-10 * found.size
    assert unfolded_batch_norms(frozen) == {}
    assert not any(isinstance(m, (nn.BatchNorm2d, slaf.SLAF, nn.Dropout, FrozenBatchNorm)) for m in frozen.modules())
    assert isinstance(frozen.a1, FrozenPolynomial)
    assert not any(p.requires_grad for p in frozen.parameters())
    assert type(frozen.a4) is type(model.a4)


def test_float32_and_half_keep_their_type():
    model, x = calibrated(Residual()), torch.randn(4, 3, 8, 8)
    found = drift(model, freeze(model, x), x)
    assert all(o.max_abs <= 1e-5 * max(o.size, 1) for o in found.outputs)
    half = freeze(model, x).to(torch.bfloat16)
    out = half(x.bfloat16())["logits"]
    assert out.dtype == torch.bfloat16
    assert half.a1.coefficients.dtype == torch.float32


def test_without_an_example_the_norms_become_maps():
    model, x = calibrated(Residual()).double(), torch.randn(4, 3, 8, 8, dtype=torch.float64)
    frozen = freeze(model)
    assert drift(model, frozen, x).max_abs <= 1e-10
    assert set(unfolded_batch_norms(frozen)) == {"b1", "b2", "b3", "a3.0", "b4", "b5"}
    assert all("no example" in reason for reason in unfolded_batch_norms(frozen).values())
    again = freeze(frozen, x)  # a frozen model freezes further
    assert unfolded_batch_norms(again) == {}
    assert drift(model, again, x).max_abs <= 1e-10


class Wired(nn.Module):
    """One convolution and one batch norm, wired in a way that the test names."""

    def __init__(self, way, layer=None, norm=None):
        super().__init__()
        self.way, self.layer, self.norm = way, layer or nn.Conv2d(2, 2, 1), norm or nn.BatchNorm2d(2)
        self.other = nn.Conv2d(2, 2, 1)
        if way == "tied":
            self.other.weight = self.layer.weight
        if way == "twice registered":
            self.again = self.norm
        if way == "hooked":
            self.layer.register_forward_hook(lambda *_: None)
        if way == "parametrized":
            nn.utils.parametrizations.weight_norm(self.layer)

    def forward(self, x):
        y = self.layer(x)
        if self.way == "used again":
            return self.norm(y) + y
        if self.way == "changed between":
            return self.norm(y.relu_())
        if self.way == "a view is used":
            return self.norm(y) + y.view(-1)[0]
        if self.way == "returned":
            return self.norm(y), y
        if self.way == "layer twice":
            return self.norm(y) + self.layer(x + 1)
        if self.way == "norm twice":
            return self.norm(y) + self.norm(x)
        if self.way == "by data":
            return self.norm(y) if x.sum() > 0 else y
        return self.norm(y)


@pytest.mark.parametrize(
    ("way", "reason"),
    [
        ("used again", "alone"), ("changed between", "alone"), ("a view is used", "alone"), ("returned", "alone"),
        ("layer twice", "alone"), ("norm twice", "runs 2 times"), ("by data", "runs"), ("tied", "shares its parameters"),
        ("twice registered", "registered 2 times"), ("hooked", "layer has hooks"), ("parametrized", "layer is parametrized"),
    ],
)  # fmt: skip
def test_what_must_not_be_folded_is_not(way, reason):
    model = calibrated(Wired(way)).double()
    example = [torch.ones(2, 2, 4, 4, dtype=torch.float64), -torch.ones(2, 2, 4, 4, dtype=torch.float64)]
    frozen = freeze(model, example)
    assert isinstance(frozen.norm, FrozenBatchNorm)
    assert reason in frozen.norm.reason
    for x in (*example, torch.randn(3, 2, 4, 4, dtype=torch.float64)):
        assert drift(model, frozen, x).max_abs <= 1e-12


class OwnNorm(nn.BatchNorm2d):
    def forward(self, x):
        return super().forward(x) + 1


@pytest.mark.parametrize("norm", [OwnNorm(2), nn.BatchNorm2d(2, track_running_stats=False)])
def test_other_norms_stay_and_are_listed(norm):
    model, x = calibrated(Wired("plain", norm=norm)).double(), torch.randn(3, 2, 4, 4, dtype=torch.float64)
    frozen = freeze(model, x)
    assert type(frozen.norm) is type(norm)
    assert list(unfolded_batch_norms(frozen)) == ["norm"]
    assert drift(model, frozen, x).max_abs <= 1e-12


def test_a_linear_layer_over_positions_is_no_place_for_a_norm_of_channels():
    model = calibrated(nn.Sequential(nn.Linear(5, 5), nn.BatchNorm1d(3), nn.Linear(5, 2))).double()
    x = torch.randn(4, 3, 5, dtype=torch.float64)
    frozen = freeze(model, x)
    assert "dimension" in frozen[1].reason
    assert drift(model, frozen, x).max_abs <= 1e-12


@pytest.mark.parametrize(
    "after",
    [nn.Conv2d(2, 3, 3), nn.Conv2d(2, 3, 3, padding=1, padding_mode="reflect"), nn.Conv2d(2, 4, 2, groups=2, stride=2, dilation=2)],
)
def test_a_norm_folds_ahead_where_padding_allows(after):
    x = torch.randn(2, 2, 6, 6, dtype=torch.float64)
    model = calibrated(nn.Sequential(nn.BatchNorm2d(2), nn.BatchNorm2d(2), after)).double()
    frozen = freeze(model, x)
    assert unfolded_batch_norms(frozen) == {}
    assert drift(model, frozen, x).max_abs <= 1e-12
    padded = calibrated(nn.Sequential(nn.BatchNorm2d(2), nn.Conv2d(2, 3, 3, padding="same"))).double()
    frozen = freeze(padded, x)
    assert "padding" in frozen[0].reason
    assert drift(padded, frozen, x).max_abs <= 1e-12


def test_a_constant_channel_makes_a_constant_polynomial():
    model = calibrated(nn.Sequential(nn.BatchNorm2d(3), slaf.make("slaf(share=layer, input=identity, normalize=none)"))).double()
    with torch.no_grad():
        model[0].weight[1] = 0
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    frozen = freeze(model, x)
    assert unfolded_batch_norms(frozen) == {}
    assert drift(model, frozen, x).max_abs <= 1e-12
    assert float(frozen(x)[:, 1].std()) == 0


@pytest.mark.parametrize(
    "spec",
    [
        "slaf(degree=4, share=unit)",
        "slaf(basis=hermite, normalize=batch)",
        "slaf(basis=legendre, share=layer)",
        "slaf(input=batch, gate=true)",
    ],
)
def test_a_frozen_polynomial_is_the_slaf(spec):
    act = calibrated(slaf.make(spec, num_channels=3, **({"num_features": (3, 2, 2)} if "unit" in spec else {}))).double().eval()
    frozen = FrozenPolynomial.of(act)
    x = 3 * torch.randn(5, 3, 2, 2, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(frozen(x), act(x), rtol=1e-11, atol=1e-11)
        low, high = frozen.bounds(x - 0.5, x + 0.3)
        for t in torch.linspace(-0.5, 0.3, 17, dtype=torch.float64).tolist():
            assert bool(((low <= frozen(x + t)) & (frozen(x + t) <= high)).all())
    grid = torch.linspace(-2, 2, 9, dtype=torch.float64)
    torch.testing.assert_close(
        frozen.polynomial()(grid).expand(-1, act.sharing.sites), act.curves(grid).reshape(9, -1), rtol=1e-9, atol=1e-9
    )
    import sympy

    value = float(frozen.expression(2).subs(sympy.Symbol("x", real=True), 0.7))
    assert value == pytest.approx(float(frozen.curves(torch.tensor([0.7], dtype=torch.float64))[0, 2]), abs=1e-9)
    assert torch.equal(copy.deepcopy(frozen)(x), frozen(x))


def test_a_polynomial_continued_by_lines_keeps_its_lines():
    act = slaf.make("extended(slaf(degree=3, interval=(-1, 2)), low=-1, high=2, left_slope=0.5)", num_channels=3)
    model, x = calibrated(nn.Sequential(nn.Conv2d(2, 3, 1), act)).double(), 3 * torch.randn(4, 2, 3, 3, dtype=torch.float64)
    frozen = freeze(model, x)
    assert isinstance(frozen[1].inner, FrozenPolynomial)
    assert drift(model, frozen, x).max_abs <= 1e-12
    exact = fold(model.eval(), "polynomial", example=x)
    assert [(s.name, s.form) for s in folded_sites(exact)] == [("1.inner", "exact")]
    assert drift(model, exact, x).max_abs <= 1e-12


def test_contract():
    act = calibrated(slaf.make("slaf(degree=3)", num_channels=3)).eval()
    report = check_activation(FrozenPolynomial.of(act))
    assert report.passed, report


def test_a_frozen_network_expands():
    layers = nn.Linear(2, 3), nn.BatchNorm1d(3), slaf.make("slaf(degree=2)", num_channels=3), nn.Linear(3, 1)
    model, x = calibrated(nn.Sequential(*layers)).double(), torch.randn(5, 2, dtype=torch.float64)
    frozen = freeze(model, x)
    with torch.no_grad():
        torch.testing.assert_close(slaf.expand(frozen)(x), evaluated(model, x), rtol=1e-9, atol=1e-9)


def test_in_place_and_errors_leave_the_model_alone():
    model, x = calibrated(Residual()).double(), torch.randn(4, 3, 8, 8, dtype=torch.float64)
    before = state(model)
    for inplace in (False, True):
        with pytest.raises(SlafError, match=r"Residual fails on the example: RuntimeError: .*channels"):
            freeze(model, x[:, :2], inplace=inplace)
        assert same_state(before, state(model))
    original = copy.deepcopy(model)
    assert freeze(model, x, inplace=True) is model
    assert drift(original, model, x).max_abs <= 1e-10
    with pytest.raises(SlafError, match="call it once"):
        freeze(nn.LazyBatchNorm1d())
    with pytest.raises(SlafError, match=r"torch\.compile"):
        freeze(torch.compile(nn.Linear(2, 2)))
    with pytest.raises(SlafError, match=r"torch\.nn\.Module"):
        freeze("relu")
    assert isinstance(freeze(nn.BatchNorm1d(3), torch.randn(4, 3)), FrozenBatchNorm)


def test_it_exports_copies_and_loads():
    model, x = calibrated(Residual()), torch.randn(2, 3, 8, 8)
    frozen = freeze(model, x)
    exported = torch.export.export(frozen, (x,)).module()
    torch.testing.assert_close(exported(x)["logits"], frozen(x)["logits"])
    twin = freeze(calibrated(Residual(), seed=1), x)
    twin.load_state_dict(copy.deepcopy(frozen).state_dict())
    assert torch.equal(twin(x)["logits"], frozen(x)["logits"])


STEPS = ("conv", "padded", "norm", "relu", "slaf", "batch_norm(silu)", "drop", "skip")


class Chain(nn.Module):
    def __init__(self, steps):
        super().__init__()
        made = {
            "conv": lambda: nn.Conv1d(4, 4, 1),
            "padded": lambda: nn.Conv1d(4, 4, 3, padding=1, groups=2, bias=False),
            "norm": lambda: nn.BatchNorm1d(4),
            "relu": lambda: nn.ReLU(inplace=True),
            "slaf": lambda: slaf.make("slaf(degree=2)", num_channels=4),
            "batch_norm(silu)": lambda: slaf.make("batch_norm(silu)", num_channels=4),
            "drop": lambda: nn.Dropout(0.5),
            "skip": nn.Identity,
        }
        self.names, self.steps = steps, nn.ModuleList(made[s]() for s in steps)

    def forward(self, x):
        kept = torch.zeros_like(x)
        for name, step in zip(self.names, self.steps, strict=True):
            if name == "skip":
                x, kept = torch.tanh(x + kept), x
            else:
                x = step(x)
        return x, kept


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(STEPS), min_size=1, max_size=9), st.integers(0, 5))
def test_any_chain_computes_the_same(steps, seed):
    torch.manual_seed(seed)
    model = calibrated(Chain(["conv", *steps]), seed).double()
    x = torch.randn(3, 4, 5, dtype=torch.float64)
    before = state(model)
    frozen = freeze(model, x)
    assert same_state(before, state(model))
    for y in (x, torch.randn(2, 4, 5, dtype=torch.float64)):
        for a, b in zip(evaluated(model, y.clone()), frozen(y.clone()), strict=True):
            assert float((a - b).detach().abs().max()) <= 1e-10 * max(1.0, float(a.abs().max()))
    norms = sum(s in ("norm", "batch_norm(silu)") for s in steps)
    assert len(unfolded_batch_norms(frozen)) <= norms

"""Two lines and hinges on the compiled kernels: prelu and apl against their formulas in float64."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from native_checks import ISAS, ROUNDING, near, needs_native, only_x_is_kept, same_bits, transforms, twice

import slaf
from slaf.kernels import native, use
from slaf.kernels.hinges import hinged

pytestmark = needs_native


def formula(x, left=0.0, right=1.0, place=0.0, height=0.0, slopes=None, places=None):
    y = height + left * (x - place).clamp(max=0) + right * (x - place).clamp(min=0)
    return y if slopes is None else y + (slopes * (places - x).clamp(min=0)).sum(0)


@st.composite
def calls(draw):
    shape = draw(st.sampled_from([(1, 6), (37, 6), (3, 6, 5), (2, 6, 7, 5), (2, 6, 33, 31), (1100, 6), (3, 6, 2, 2)]))
    torch.manual_seed(draw(st.integers(0, 2**31)))
    shared = draw(st.sampled_from([(1, 6), (1, 1), (1, 6) if len(shape) < 3 else (1, 1, shape[2])]))
    broad = (*shared, *(1,) * (len(shape) - len(shared)))
    names = [n for n in ("left", "right", "place", "height") if draw(st.booleans())]
    hinges = draw(st.sampled_from([0, 1, 5, 14, 64]))
    parameters = {n: torch.randn(broad) for n in names or ["left"]}
    if hinges:
        parameters |= {"slopes": torch.randn(hinges, *broad) / hinges, "places": torch.randn(hinges, *broad)}
    x = 2 * torch.randn(shape)
    if len(shape) == 4 and draw(st.booleans()):
        x = x.contiguous(memory_format=torch.channels_last)
    return x.to(draw(st.sampled_from(list(ROUNDING)))), parameters, draw(st.sampled_from(ISAS))


@settings(deadline=None, max_examples=100)
@given(calls())
def test_values_and_all_gradients(case):
    x, parameters, isa = case
    native.force_isa(isa)
    w = torch.randn(x.shape).to(x.dtype)
    found = []
    for wide in (False, True):
        leaf = (x.double() if wide else x.clone()).requires_grad_()
        own = {n: (p.double() if wide else p.clone()).requires_grad_() for n, p in parameters.items()}
        if wide:
            y = formula(leaf, **own)
        else:
            with use("native"):
                y = hinged(leaf, formula, **own)
        found.append((y, *torch.autograd.grad(y, [leaf, *own.values()], w.to(y.dtype))))
    assert found[0][0].stride() == x.stride() == found[0][1].stride()
    assert found[0][0].dtype == x.dtype
    near(*found, x.dtype, 2e-5, terms=max(1.0, float(w.abs().sum())))


def test_parameters_of_any_strides_and_shapes_beside_each_other():
    torch.manual_seed(0)
    x, w = 2 * torch.randn(37, 6), torch.randn(37, 6)
    base = {"left": torch.randn(1, 12), "right": torch.randn(1, 1), "place": torch.randn(1, 6), "height": torch.randn(1, 1)}
    base |= {"slopes": torch.randn(6, 3), "places": torch.randn(3, 1, 1)}
    views = {"left": lambda t: t[:, ::2], "right": lambda t: t.expand(1, 6), "slopes": lambda t: t.T.reshape(3, 1, 6)}
    found = []
    for wide in (False, True):
        leaf, *own = ((t.double() if wide else t.clone()).requires_grad_() for t in (x, *base.values()))
        parameters = {n: views.get(n, lambda t: t)(t) for n, t in zip(base, own, strict=True)}
        with use("auto" if wide else "native"):
            y = formula(leaf, **parameters) if wide else hinged(leaf, formula, **parameters)
        found.append((y, *torch.autograd.grad(y, [leaf, *own], w.to(y.dtype))))
    near(*found, x.dtype, 2e-5, terms=float(w.abs().sum()))


@pytest.mark.parametrize("slope", [0.0, -0.0])
def test_a_learned_slope_of_zero_is_one(slope):
    """0·∞ is NaN, which a line that is not there never gives."""
    act, x = slaf.make("prelu", num_channels=2), torch.tensor([[-torch.inf, -1.0], [3.0, torch.nan]])
    torch.nn.init.constant_(act.weight, slope)
    with use("native"):
        y = act(x)
    assert y.isnan().tolist() == [[True, False], [False, True]]


@pytest.mark.parametrize("isa", ISAS)
def test_prelu_is_torchs_at_every_special_value(isa):
    native.force_isa(isa)
    ours, theirs = slaf.make("prelu", num_channels=2), torch.nn.PReLU(2)
    with torch.no_grad():
        for p in (ours.weight, theirs.weight):
            p.copy_(torch.tensor([0.25, -3.0]))
    values = [0.0, -0.0, 1e-40, -1e-40, 2.0, -2.0, 1e30, -1e30, torch.inf, -torch.inf, torch.nan]
    x = torch.tensor(values * 5)[:, None].expand(-1, 2).contiguous()
    out = []
    for module in (ours, theirs):
        leaf = x.clone().requires_grad_()
        with use("native"):
            y = module(leaf)
        out.append((y, torch.autograd.grad(y, leaf, torch.ones_like(y))[0]))
    for a, b in zip(*out, strict=True):
        assert torch.equal(a.nan_to_num(nan=7.0), b.nan_to_num(nan=7.0))


@pytest.mark.parametrize("isa", ISAS)
def test_apl_at_kinks_and_special_values(isa):
    native.force_isa(isa)
    act = slaf.make("apl(hinges=3)")
    with torch.no_grad():
        act.slopes.copy_(torch.tensor([[0.5, -0.25, 0.125]]))
        act.places.copy_(torch.tensor([[-1.0, 0.0, 1.5]]))
    x = torch.tensor([-1.0, 0.0, -0.0, 1.5, 1e30, -1e30, torch.inf, -torch.inf, torch.nan, 0.7])
    out = []
    for mode in ("native", "reference"):
        leaf = x.clone().requires_grad_()
        with use(mode):
            y = act(leaf)
            out.append((y, torch.autograd.grad(y, leaf, torch.ones_like(y))[0]))
    torch.testing.assert_close(*(o[0] for o in out), equal_nan=True)
    torch.testing.assert_close(*(o[1][:-2] for o in out), equal_nan=True)


@pytest.mark.parametrize("spec", ["prelu", "apl(hinges=5)", "apl(hinges=20)"])
@pytest.mark.parametrize("shape", [(64, 24, 40, 40), (9000, 40)])
def test_the_same_bits_whatever_the_threads(spec, shape):
    same_bits(slaf.make(spec, num_channels=shape[1]), torch.randn(shape))


@pytest.mark.parametrize("spec", ["prelu", "apl(hinges=3)"])
def test_second_derivatives_and_transforms(spec):
    torch.manual_seed(0)
    act = slaf.make(spec, num_channels=3)
    with torch.no_grad():
        for p in act.parameters():
            p.add_(torch.randn_like(p) / 4)
    x = 2 * torch.randn(6, 3)
    transforms(act, x, twice(act, x))


@pytest.mark.parametrize("spec", ["prelu", "apl"])
def test_only_the_input_is_kept(spec):
    only_x_is_kept(slaf.make(spec, num_channels=8), torch.randn(512, 8, requires_grad=True))

"""SLAF against its definition, and the acceptance checks of the paper's layer."""

import copy
import itertools
import math
import pickle

import pytest
import sympy
import torch
from torch import nn

import slaf
from slaf.core import SlafError

PAPER = ("paper_a", "paper_b", "paper_b_prime", "paper_c")
VARIANTS = [
    "slaf",
    "slaf(degree=9, share=channel)",
    "slaf(degree=3, basis=power)",
    "slaf(input=batch, degree=5)",
    "slaf(normalize=batch)",
    "slaf(normalize=batch, input=identity, basis=power, degree=5)",
    "slaf(normalize=batch, input=identity, basis=chebyshev, degree=4)",
    "slaf(squash=tanh)",
    "slaf(squash=clamp, normalize=batch)",
    "slaf(share=layer, normalize=batch)",
    "slaf(share=group, groups=2)",
    "slaf(preset=paper_a)",
    "slaf(preset=paper_b_prime, degree=9)",
    "slaf(preset=paper_c, share=channel)",
]


def definition(act, x):
    """Σ a_k N_k(φ_k) + b term by term, in evaluation."""
    a, b = act.coefficients()
    return (act.terms(x) * a).sum(-1) + b


def trained(spec, channels=4, batches=20, mean=0.0, std=1.0, dtype=torch.float64):
    torch.manual_seed(0)
    act = slaf.make(spec, num_channels=channels).to(dtype)
    with torch.no_grad():
        for p in act.parameters():
            p.add_(0.3 * torch.randn_like(p))
    for _ in range(batches):
        act(mean + std * torch.randn(256, channels, dtype=dtype))
    return act.eval()


# -- the paper's acceptance checks ---------------------------------------------------------------------------------------------


def test_1_shapes_and_initial_values():
    dense = slaf.make("slaf(preset=paper_a)", num_channels=20)
    assert {n: p.numel() for n, p in dense.named_parameters()} == {"weight": 7, "bias": 1, "gate": 7}
    unshared = slaf.make("slaf(preset=paper_b_prime, degree=7)", num_channels=20)
    assert sum(p.numel() for p in unshared.parameters()) == 140 + 20
    conv = slaf.make("slaf(preset=paper_a, degree=4, share=channel)", num_channels=16)
    assert {n: p.numel() for n, p in conv.named_parameters()} == {"weight": 64, "bias": 16, "gate": 4}
    torch.manual_seed(0)
    many = slaf.make("slaf(preset=paper_b, degree=4, share=channel)", num_channels=40_000)
    assert (many.bias == 0.1).all()
    # the mean of 40,000 draws of N(0, 1) strays from 0 by 0.005; five of those
    torch.testing.assert_close(many.weight.mean(0), torch.tensor([1.0, 0, 0, 0]), atol=0.025, rtol=0)
    torch.testing.assert_close(many.weight.std(0), torch.ones(4), atol=0.025, rtol=0)


@pytest.mark.parametrize("degree", range(1, 11))
def test_2_every_term_is_standardised(degree):
    act = slaf.make("slaf(preset=paper_b_prime, degree=10)", num_channels=3).double()
    with torch.no_grad():
        act.weight.zero_()
        act.weight[:, degree - 1] = 1
        act.bias.zero_()
    z = 2 * torch.randn(4096, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = act(z)
    v = (z**degree).var(0, correction=0)
    torch.testing.assert_close(y.mean(0), torch.zeros(3, dtype=torch.float64), atol=1e-9, rtol=0)
    torch.testing.assert_close(y.var(0, correction=0), v / (v + 1e-8), atol=1e-9, rtol=0)
    if degree >= 8:
        assert (z**degree).std() > 1e4


def test_3_running_statistics_move_by_one_percent():
    act = slaf.make("slaf(preset=paper_b, degree=3)", num_channels=2).double()
    z = torch.randn(64, 2, dtype=torch.float64) + 0.5
    act(z)
    powers = torch.stack([z, z**2, z**3], -1)
    torch.testing.assert_close(act.term_statistics.mean, 0.01 * powers.mean(0))
    torch.testing.assert_close(act.term_statistics.var, 0.99 + 0.01 * powers.var(0, correction=0))


@pytest.mark.parametrize("preset", PAPER)
def test_4_evaluation_is_the_stated_polynomial(preset):
    act = trained(f"slaf(preset={preset}, share=channel)")
    a, b = act.coefficients()
    mean, var = act.term_statistics.mean, act.term_statistics.var
    c = a / (var + 1e-8).sqrt()
    c0 = b - (c * mean).sum(1)
    torch.testing.assert_close(act.polynomial().monomial(), torch.cat([c0[:, None], c], 1), rtol=1e-9, atol=1e-11)
    z = torch.randn(100, 4, dtype=torch.float64)
    expected = c0 + sum(c[:, i] * z ** (i + 1) for i in range(c.shape[1]))
    torch.testing.assert_close(act(z), expected, rtol=1e-9, atol=1e-9)


def test_4_a_line_through_a_two_layer_slnn_is_a_polynomial_of_degree_k_squared():
    torch.manual_seed(1)
    k = 3
    layers = [nn.Linear(5, 6), slaf.make(f"slaf(preset=paper_a, degree={k})", num_channels=6)]
    layers += [nn.Linear(6, 6), slaf.make(f"slaf(preset=paper_a, degree={k})", num_channels=6), nn.Linear(6, 1)]
    net = nn.Sequential(*layers).double()
    for _ in range(5):
        net(torch.randn(128, 5, dtype=torch.float64))
    net.eval()
    t = torch.linspace(-1, 1, 60, dtype=torch.float64)
    x0, d = torch.randn(2, 5, dtype=torch.float64)
    y = net(x0 + t[:, None] * d)[:, 0].detach()
    differences = y
    for _ in range(k * k + 1):
        differences = differences.diff()
    assert y.diff().abs().max() > 1e-3
    # k² + 1 differences of rounding errors grow by 2^(k²+1) at most
    assert differences.abs().max() < 2 ** (k * k + 1) * 1e-14 * y.abs().max()


def test_5_closed_form():
    act = slaf.make("slaf(preset=paper_b, degree=2, share=layer)", num_channels=1).double()
    with torch.no_grad():
        act.weight.fill_(1)
        act.bias.zero_()
    y = act(torch.tensor([[-1.0], [0.0], [1.0]], dtype=torch.float64))
    torch.testing.assert_close(y[:, 0], torch.tensor([-0.5176, -1.4142, 1.9319], dtype=torch.float64), atol=5e-5, rtol=0)


# -- one polynomial ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", VARIANTS)
def test_fold_equals_definition_in_evaluation(spec):
    act = trained(spec, mean=0.7, std=1.5)
    x = 0.7 + 1.5 * torch.randn(500, 4, dtype=torch.float64)
    expected = definition(act, x).detach()
    torch.testing.assert_close(act(x), expected, rtol=1e-10, atol=1e-10 * float(expected.abs().max()))
    if act.squash == "none":
        torch.testing.assert_close(act.polynomial()(x), expected, rtol=1e-10, atol=1e-10 * float(expected.abs().max()))


def per_term_training(act, x):
    """The layer in training as the papers write it, one tensor per term, with autograd through the statistics."""
    u = x
    if act.input == "batch":
        var, mean = torch.var_mean(x, 0, correction=0)
        u = (x - mean) / (var + 1e-5).sqrt() / act.input_scale
    terms = act.basis.evaluate(u, act.degree)
    var, mean = torch.var_mean(terms, 0, correction=0)
    a, b = act.coefficients()
    return ((terms - mean) * act.term_statistics.rstd(mean, var) * a).sum(-1) + b


@pytest.mark.parametrize(
    "spec",
    [
        "slaf(preset=paper_a)",
        "slaf(preset=paper_b_prime, degree=9)",
        "slaf(normalize=batch, input=batch)",
        "slaf(normalize=batch, input=batch, basis=power, degree=9)",
        "slaf(normalize=batch, input=identity, degree=5, share=group, groups=2)",
    ],
)
def test_fold_equals_per_term_definition_in_training_with_all_gradients(spec):
    torch.manual_seed(0)
    act = slaf.make(spec, num_channels=4).double()
    x = (0.3 + torch.randn(64, 4, dtype=torch.float64)).requires_grad_()
    g = torch.randn(64, 4, dtype=torch.float64)
    leaves = [x, *act.parameters()]
    folded, plain = act(x), per_term_training(act, x)
    torch.testing.assert_close(folded, plain, rtol=1e-10, atol=1e-10)
    for one, other in zip(torch.autograd.grad((folded * g).sum(), leaves), torch.autograd.grad((plain * g).sum(), leaves), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("spec", ["slaf(preset=paper_b_prime, degree=9)", "slaf(degree=9, normalize=batch, basis=power)", "slaf(degree=9)"])
def test_float32_far_from_zero(spec):
    """Mean 100, std 1, degree 9: raw float32 moments would be 12 % wrong."""
    torch.manual_seed(0)
    act = slaf.make(spec, num_channels=3)
    if "paper" in spec:
        act.term_statistics.eps = None
    wide = copy.deepcopy(act).double()
    x = (100 + torch.randn(4096, 3)).requires_grad_()
    x64 = x.detach().double().requires_grad_()
    y, y64 = act(x), wide(x64)
    g = torch.randn(4096, 3)
    (dx,), (dx64,) = torch.autograd.grad((y * g).sum(), x), torch.autograd.grad((y64 * g.double()).sum(), x64)
    assert bool((y - y64).abs().max() <= 1e-4 * y64.abs().max())
    assert (dx - dx64).abs().max() <= 1e-4 * dx64.abs().max()
    for _ in range(300):
        act(x.detach())
    act.eval()
    # after the warm-up the running statistics are those of this batch, so evaluation agrees with training
    if "paper" not in spec:
        torch.testing.assert_close(act(x), y, rtol=0, atol=1e-3 * float(y.detach().abs().max()))


@pytest.mark.parametrize("spec", VARIANTS)
@pytest.mark.parametrize("value", [0.0, 1.0, 100.0, 1e-3])
def test_constant_channel_is_finite_and_bounded(spec, value):
    act = slaf.make(spec, num_channels=4)
    x = torch.full((32, 4), value)
    x[:, 1] = torch.randn(32)
    x.requires_grad_()
    y = act(x)
    y.sum().backward()
    assert torch.isfinite(y).all()
    assert torch.isfinite(x.grad).all()
    if "preset" not in spec:
        assert y[:, 0].abs().max() < 100
    act.eval()
    assert torch.isfinite(act(x)).all()


def test_keeps_one_tensor_per_input_whatever_the_degree():
    kept = 0

    def pack(tensor):
        nonlocal kept
        kept += tensor.numel() * tensor.element_size() if tensor.numel() >= 1024 * 64 else 0
        return tensor

    x = torch.randn(1024, 64, requires_grad=True)
    act = slaf.make("slaf(degree=9, normalize=batch, input=identity)", num_channels=64)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        act(x)
    # x itself, no copies; by the definition once for the moments and once for the series
    assert kept == (1 if slaf.kernels.backend().name == "native" else 2) * x.numel() * 4


# -- sharing, layouts, dtypes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "shape", "count"),
    [
        ("share=layer", (8, 6, 5, 5), 1),
        ("share=channel", (8, 6, 5, 5), 6),
        ("share=group, groups=3", (8, 6, 5, 5), 3),
        ("share=unit, num_features=(6, 5, 5)", (8, 6, 5, 5), 150),
        ("share=channel, channel_dim=-1", (8, 5, 6), 6),
        ("share=unit, num_features=(5, 6), channel_dim=1", (8, 5, 6), 30),
    ],
)
@pytest.mark.parametrize("normalize", ["none", "batch"])
def test_sharing_modes(options, shape, count, normalize):
    context = {} if "num_features" in options else {"num_channels": 6}
    act = slaf.make(f"slaf({options}, normalize={normalize})", **context)
    assert act.weight.shape == (count, 7)
    x = torch.randn(shape)
    y = act(x)
    assert y.shape == x.shape
    act.eval()
    with torch.no_grad():
        act.weight[-1] += 1.0
    changed = (act(x) - copy.deepcopy(act).requires_grad_(False)(x)).abs().max()
    assert changed == 0
    assert repr(slaf.make(repr(act))) == repr(act)


@pytest.mark.parametrize(("channels", "groups"), [(64, 8), (20, 20), (32, 8), (24, 24), (29, 1), (28, 7), (1, 1)])
def test_default_sharing(channels, groups):
    act = slaf.make("slaf", num_channels=channels)
    assert act.weight.shape == (groups, 7)
    assert repr(act) == f"slaf(num_channels={channels})"
    assert slaf.make(f"slaf(share=group, groups={groups})", num_channels=channels).weight.shape == (groups, 7)


def test_group_uses_its_own_channels():
    act = slaf.make("slaf(share=group, groups=2)", num_channels=4).eval()
    x = torch.randn(10, 4)
    before = act(x).detach()
    with torch.no_grad():
        act.weight[1] += 1
    moved = (act(x) - before).abs().amax(0)
    assert (moved[:2] == 0).all()
    assert (moved[2:] > 0).all()


def test_channels_last_keeps_layout_and_values():
    act = slaf.make("slaf(normalize=batch)", num_channels=6).eval()
    x = torch.randn(2, 6, 5, 5)
    y = act(x.to(memory_format=torch.channels_last))
    assert y.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(y, act(x))


def test_half_and_autocast_keep_statistics_wide():
    act = slaf.make("slaf(normalize=batch)", num_channels=8).bfloat16()
    assert act.weight.dtype == torch.bfloat16
    for name, buffer in act.named_buffers():
        assert buffer.dtype in (torch.float32, torch.float64, torch.int64), name
    assert act(torch.randn(16, 8).bfloat16()).dtype == torch.bfloat16
    net = nn.Sequential(nn.Linear(8, 8), slaf.make("slaf(normalize=batch)", num_channels=8))
    with torch.autocast("cpu", torch.bfloat16):
        y = net(torch.randn(16, 8))
    assert y.dtype == torch.bfloat16
    y.sum().backward()
    assert torch.isfinite(net[1].weight.grad).all()


@pytest.mark.parametrize("spec", VARIANTS)
def test_round_trips(spec):
    act = trained(spec)
    x = torch.randn(50, 4, dtype=torch.float64)
    same = slaf.make(repr(act)).double().eval()
    same.load_state_dict(act.state_dict())
    for other in (same, copy.deepcopy(act), pickle.loads(pickle.dumps(act))):
        assert torch.equal(other(x), act(x))
        assert repr(other) == repr(act)


@pytest.mark.parametrize("spec", ["slaf", "slaf(normalize=batch)", "slaf(preset=paper_a)", "slaf(squash=tanh)"])
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_compile_sees_the_same_values_and_gradients(spec, mode):
    torch.manual_seed(0)
    act = getattr(slaf.make(spec, num_channels=4), mode)()
    twin = copy.deepcopy(act)
    x = torch.randn(32, 4, requires_grad=True)
    y, z = act(x), torch.compile(twin, fullgraph=True, backend="aot_eager")(x)
    torch.testing.assert_close(y, z)
    inputs = lambda m: [x, *m.parameters()]  # noqa: E731
    for one, other in zip(
        torch.autograd.grad(y.square().sum(), inputs(act)), torch.autograd.grad(z.square().sum(), inputs(twin)), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    for one, other in zip(act.buffers(), twin.buffers(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("spec", ["slaf", "slaf(preset=paper_a)"])
def test_export(spec):
    act = trained(spec, dtype=torch.float32)
    x = torch.randn(10, 4)
    program = torch.export.export(act, (x,), dynamic_shapes=({0: torch.export.Dim("n", min=2)},))
    torch.testing.assert_close(program.module()(x[:7]), act(x[:7]))


# -- initialisation ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("target", "function"), [("gelu", torch.nn.functional.gelu), ("tanh", torch.tanh), ("identity", lambda x: x)])
@pytest.mark.parametrize(
    "options", ["", ", normalize=batch", ", basis=power", ", gate=True", ", coefficient_scale=2.0", ", input=identity, share=layer"]
)
def test_starts_as_the_function_it_is_fitted_to(target, function, options):
    act = slaf.make(f"slaf(degree=9, init={target}{options})", num_channels=2).double().eval()
    z = torch.randn(4000, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).clamp(-3, 3)
    # N(0, 1) root mean square error of a degree-9 fit: 2e-3 for gelu, 2e-2 for tanh
    assert (act(z) - function(z)).square().mean().sqrt() < {"gelu": 5e-3, "tanh": 3e-2, "identity": 1e-4}[target]


def test_any_function_can_be_fitted():
    act = slaf.SLAF(degree=9, init=torch.sin, num_channels=1).double().eval()
    z = torch.linspace(-2, 2, 50, dtype=torch.float64)[:, None]
    assert (act(z) - torch.sin(z)).abs().max() < 1e-2


# -- what is derived -----------------------------------------------------------------------------------------------------------


def test_affine_map_trains_and_evaluates_as_one_function():
    act = slaf.make("slaf", num_channels=3)
    for _ in range(500):
        act(2 + 3 * torch.randn(64, 3))
    x = 2 + 3 * torch.randn(64, 3)
    y = act(x).detach()
    torch.testing.assert_close(act.eval()(x), y, rtol=1e-4, atol=1e-4)


def test_training_gradient_of_the_affine_map_is_that_of_batch_norm():
    """With running statistics equal to the batch's, batch renormalisation is batch normalisation."""
    x = torch.randn(32, 3, dtype=torch.float64)
    renorm, batch = (slaf.make(f"slaf(input={kind}, momentum=1.0)", num_channels=3).double() for kind in ("affine", "batch"))
    grads = []
    for act in (renorm, batch):
        leaf = x.clone().requires_grad_()
        grads.append(torch.autograd.grad(act(leaf).pow(2).sum(), leaf)[0])
    torch.testing.assert_close(*grads)


def test_bounds_are_sound_and_tight():
    act = trained("slaf(degree=7)")
    g = torch.Generator().manual_seed(0)
    centre = 2 * torch.randn(300, 4, dtype=torch.float64, generator=g)
    radius = torch.rand(300, 4, dtype=torch.float64, generator=g) * 2
    lo, hi = act.bounds(centre - radius, centre + radius)
    t = torch.linspace(-1, 1, 401, dtype=torch.float64)[:, None, None]
    values = act((centre + t * radius).reshape(-1, 4)).reshape(401, 300, 4)
    assert (values >= lo).all()
    assert (values <= hi).all()
    width = (values.amax(0) - values.amin(0)).clamp(min=1e-9)
    assert ((hi - lo) / width - 1).max() < 1e-2


def test_expression_and_derivative():
    act = trained("slaf(degree=5)")
    x = torch.linspace(-2, 2, 9, dtype=torch.float64)
    expression, symbol = act.expression(site=2), sympy.Symbol("x", real=True)
    column = act.curves(x)[:, 2]
    for value, point in zip(column.tolist(), x.tolist(), strict=True):
        assert math.isclose(float(expression.subs(symbol, point)), value, rel_tol=1e-9, abs_tol=1e-9)
    slope = act.derivative(x[:, None].expand(-1, 4))[:, 2]
    for value, point in zip(slope.tolist(), x.tolist(), strict=True):
        assert math.isclose(float(expression.diff(symbol).subs(symbol, point)), value, rel_tol=1e-8, abs_tol=1e-8)


@pytest.mark.parametrize("what", ["derivative", "bounds", "polynomial"])
def test_batch_statistics_in_training_refuse(what):
    act = slaf.make("slaf(normalize=batch)", num_channels=2)
    x = torch.randn(4, 2)
    arguments = {"derivative": (x,), "bounds": (x, x), "polynomial": ()}[what]
    with pytest.raises(SlafError, match=r"training mode.*eval"):
        getattr(act, what)(*arguments)


# -- bad input -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("slaf(degre=3)", "did you mean 'degree'"),
        ("slaf(degree=0)", "degree must be an integer from 1 to 24; got 0"),
        ("slaf(degree=200)", "degree must be an integer from 1 to 24; got 200"),
        ("slaf(degree=2.5)", "degree must be an integer"),
        ("slaf(degree=5", "the bracket is not closed"),
        ("slaf(basis=chebychev)", "did you mean 'chebyshev'"),
        ("slaf(share=chanel)", "did you mean 'channel'"),
        ("slaf(normalize=layer)", "normalize must be one of none, batch"),
        ("slaf(preset=paper_z)", "preset must be one of"),
        ("slaf(init=geluu)", "did you mean 'gelu'"),
        ("slaf(share=group)", "needs groups"),
        ("slaf(share=group, groups=3)", "does not divide"),
        ("slaf(momentum=2)", "momentum must be at most 1"),
        ("slaf(input_scale=0)", "input_scale must be a positive number"),
        ("slaf(inplace=True)", "backward needs the input"),
        ("slaf(channel_dim=1.5)", "channel_dim must be an integer"),
    ],
)
def test_bad_arguments(spec, message):
    with pytest.raises(SlafError, match=message.replace("(", r"\(")):
        slaf.make(spec, num_channels=4)


def test_missing_channels():
    with pytest.raises(SlafError, match="needs num_channels"):
        slaf.make("slaf")


def test_input_that_does_not_fit():
    act = slaf.make("slaf", num_channels=4)
    with pytest.raises(SlafError, match=r"shape \(8, 5\) has 5 at dimension 1; num_channels=4"):
        act(torch.randn(8, 5))
    with pytest.raises(SlafError, match="has no channel_dim"):
        act(torch.randn(8))


@pytest.mark.parametrize("spec", ["slaf", "slaf(input=batch)", "slaf(normalize=batch)", "slaf(preset=paper_a)"])
def test_empty_batch_and_batch_of_one(spec):
    act = slaf.make(spec, num_channels=4)
    with pytest.raises(SlafError, match="empty batch"):
        act(torch.empty(0, 4))
    act(torch.randn(32, 4))
    before = {k: v.clone() for k, v in act.state_dict().items()}
    with pytest.warns(UserWarning, match="one value per channel"):
        y = act(torch.randn(1, 4))
    assert torch.isfinite(y).all()
    assert all(torch.equal(v, before[k]) for k, v in act.state_dict().items())
    assert act.eval()(torch.empty(0, 4)).shape == (0, 4)


@pytest.mark.parametrize(
    ("basis", "normalize", "share"), list(itertools.product(["power", "chebyshev"], ["none", "batch"], ["layer", "channel"]))
)
def test_gradients_reach_every_parameter(basis, normalize, share):
    act = slaf.make(f"slaf(basis={basis}, normalize={normalize}, share={share}, gate=True)", num_channels=3)
    act(torch.randn(16, 3)).pow(2).sum().backward()
    assert all((p.grad != 0).any() for p in act.parameters())


@pytest.mark.parametrize("spec", ["slaf(normalize=batch)", "slaf(preset=paper_b_prime)"])
def test_a_module_made_on_meta_works_after_it_is_moved(spec):
    made = slaf.make(spec, num_channels=4, device="meta").to_empty(device="cpu")
    made.reset_parameters()
    twin = slaf.make(spec, num_channels=4)
    made.load_state_dict(twin.state_dict())
    x = torch.randn(16, 4)
    torch.testing.assert_close(made(x), twin(x))
    torch.testing.assert_close(made.half().float()(x), made(x), rtol=1e-2, atol=1e-2)

"""Series, moments and the normalised SLAF on the compiled kernels against the definition in float64."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import slaf
from slaf.bases import basis
from slaf.kernels import moments, native, series, use

pytestmark = pytest.mark.skipif(not native.available(), reason="the compiled kernels are not there")


@pytest.fixture
def fresh_compiler():
    """The limit of recompilations counts those of other tests."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


HALF = {torch.float32: 0.0, torch.bfloat16: 2**-8, torch.float16: 2**-11}


@st.composite
def cases(draw):
    """(x, θ's shape, degree, family): any dense order of memory, odd sizes, all dtypes."""
    sizes = draw(st.lists(st.sampled_from([1, 2, 3, 5, 8, 17, 33]), min_size=1, max_size=3))
    order = draw(st.permutations(range(len(sizes))))
    channel = draw(st.sampled_from([None, *range(len(sizes))]))
    torch.manual_seed(draw(st.integers(0, 2**31)))
    dtype = draw(st.sampled_from(list(HALF)))
    x = torch.randn([sizes[d] for d in order]).clamp(-1.2, 1.2).to(dtype).permute([order.index(d) for d in range(len(sizes))])
    theta = tuple(size if d == channel else 1 for d, size in enumerate(sizes))
    return x, theta, draw(st.integers(1, 15)), draw(st.sampled_from(["power", "chebyshev"])), draw(st.booleans())


def close(got, exact, dtype, terms):
    """To the rounding of float32 in as many terms, relative to the largest value, and to that of the dtype."""
    size, exact = float(exact.detach().abs().max()), exact.detach()
    torch.testing.assert_close(got.double(), exact, rtol=2 * HALF[dtype] + 1e-5, atol=(4e-6 * terms + HALF[dtype] / 8) * size + 1e-7)


def agrees_with_float64(case, mode, close):
    """Value and all gradients of a series in ``mode``, and the same bits a second time."""
    x, shape, degree, name, mapped = case
    recurrence = basis(name).recurrence
    theta = [torch.randn(degree + 1, *shape).div_(degree**2)]
    theta += [0.1 * torch.randn(shape), torch.rand(shape) / 3 + 0.2] if mapped else []
    w = torch.randn(x.shape).to(x.dtype)

    def run(mode, x, theta):
        inputs = [x.detach().clone(memory_format=torch.preserve_format).requires_grad_(), *(t.clone().requires_grad_() for t in theta)]
        with use(mode):
            y = series(inputs[0], inputs[1], *(inputs[2:] or (None, None)), recurrence)
            return y, torch.autograd.grad(y, inputs, w.to(y.dtype))

    y, grads = run(mode, x, theta)
    exact, exact_grads = run("reference", x.double(), [t.double() for t in theta])
    assert y.dtype == x.dtype
    assert y.stride() == grads[0].stride() == x.stride()
    close(y, exact, x.dtype, degree)
    for got, wanted in zip(grads[:2], exact_grads[:2], strict=True):
        close(got, wanted, x.dtype, degree**2)
    for got, wanted in zip(grads[2:], exact_grads[2:], strict=True):  # sums of terms that cancel
        torch.testing.assert_close(got.double(), wanted, rtol=1e-3, atol=1e-4 * float(exact_grads[0].abs().sum()) + 1e-6)
    again, _ = run(mode, x, theta)
    assert torch.equal(again, y)


@settings(deadline=None, max_examples=150)
@given(cases())
def test_values_and_all_gradients(case):
    agrees_with_float64(case, "native", close)


@settings(deadline=None, max_examples=150)
@given(cases())
def test_moments_are_means(case):
    x, shape, degree, name, mapped = case
    recurrence = basis(name).recurrence
    center, rscale = (0.3 * torch.randn(shape), torch.rand(shape) / 3 + 0.2) if mapped else (None, None)
    with use("native"):
        t = moments(x, degree, shape, center, rscale, recurrence)
    wide = (None, None) if center is None else (center.double(), rscale.double())
    exact = moments(x.double(), degree, shape, *wide, recurrence)
    u = x.double() if center is None else (x.double() - wide[0]) * wide[1]
    size = basis(name).evaluate(u, degree).abs().amax(tuple(range(x.dim()))).cummax(0).values.clamp(min=1).reshape(-1, *(1,) * x.dim())
    torch.testing.assert_close((t.double() - exact) / size, torch.zeros_like(exact), rtol=0, atol=4e-6)


@pytest.mark.parametrize("name", ["power", "chebyshev"])
@pytest.mark.parametrize("layout", ["rows", "columns", "one"])
def test_nan_and_infinity_stay_where_they_are(name, layout):
    x = torch.randn(5, 40) if layout != "columns" else torch.randn(40, 5).T
    x[1, 3], x[2, 0], x[4, 39] = float("nan"), float("inf"), -float("inf")
    c = torch.randn(4, 5 if layout != "one" else 1, 1)
    got, expected = [], []
    for mode, out in (("native", got), ("reference", expected)):
        with use(mode):
            leaf = x.detach().clone().requires_grad_()
            y = series(leaf, c, None, None, basis(name).recurrence)
            out += [y, *torch.autograd.grad(y.sum(), leaf)]
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4, equal_nan=True)


@pytest.mark.parametrize("degree", [0, 16, 24])
def test_other_degrees_take_the_definition(degree):
    x, c = torch.randn(8, 4).clamp(-1, 1), torch.randn(degree + 1, 1, 1)
    exact = series(x.double(), c.double(), None, None, basis("chebyshev").recurrence)
    torch.testing.assert_close(series(x, c, None, None, basis("chebyshev").recurrence).double(), exact, rtol=1e-4, atol=1e-4)


# -- composition: values of every derivative, with the kernels on ----------------------------------------------------------------

SPECS = (
    "slaf",
    "slaf(basis=power, degree=5, share=channel, normalize=none)",
    "slaf(basis=power, degree=5, share=channel, normalize=batch)",
    "slaf(basis=power, degree=3, share=channel, normalize=batch, input=identity)",
    "slaf(basis=legendre, degree=4, input=batch)",
)


def pair(spec, training, x):
    """A float32 module and its float64 twin, both having seen one batch; and their inputs."""
    torch.manual_seed(3)
    act = slaf.make(spec, num_channels=4)
    with torch.no_grad():
        for p in act.parameters():
            p.add_(0.05 * torch.randn_like(p))
        act.train()(torch.randn(32, 4, 6, 6) + 0.2)
    wide = copy.deepcopy(act).double()
    return act.train(training), wide.train(training), x.clone(memory_format=torch.preserve_format), x.double()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("spec", SPECS)
def test_first_and_second_derivatives_of_the_module(spec, training):
    torch.manual_seed(0)
    x = torch.randn(16, 4, 6, 6).contiguous(memory_format=torch.channels_last)
    act, wide, x32, x64 = pair(spec, training, x)
    w, v = torch.randn(2, *x.shape, dtype=torch.float64)
    found = []
    for module, inp in ((act, x32), (wide, x64)):
        inp.requires_grad_()
        inputs = [inp, *module.parameters()]
        y = module(inp)
        plain = torch.autograd.grad(y, inputs, w.to(y), retain_graph=True)
        first = torch.autograd.grad(y, inputs, w.to(y), create_graph=True)
        second = torch.autograd.grad((first[0] * v.to(y)).sum() + sum(f.sin().sum() for f in first[1:]), inputs)
        found.append([y, *plain, *first, *second])
    for got, exact in zip(*found, strict=True):
        torch.testing.assert_close(got.double(), exact, rtol=1e-3, atol=2e-5 * float(exact.detach().abs().max()) + 1e-6)
    for one, other in zip(act.buffers(), wide.buffers(), strict=True):
        torch.testing.assert_close(one.double(), other.double(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("spec", SPECS)
def test_transforms_of_the_module(spec):
    torch.manual_seed(0)
    x = torch.randn(5, 4)
    act, wide, x32, x64 = pair(spec, False, x)
    dx = torch.randn(5, 4)
    exact = wide(x64)
    slope = wide.derivative(x64)
    tangent = torch.func.jvp(act, (x32,), (dx,))[1]
    torch.testing.assert_close(tangent.double(), slope * dx, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(torch.func.vmap(lambda v: act(v[None])[0])(x32).double(), exact, rtol=1e-4, atol=1e-5)
    row = torch.func.jacrev(lambda v: act(v[None])[0])(x32[0])
    torch.testing.assert_close(row.diagonal().double(), slope[0], rtol=1e-4, atol=1e-5)
    second = torch.func.hessian(lambda v: act(v[None]).sum())(x32[0]).diagonal()
    torch.testing.assert_close(second.double(), wide.derivative(x64, order=2)[0], rtol=1e-3, atol=1e-4)
    batched = torch.autograd.grad(act(x32.requires_grad_()), x32, torch.eye(20).reshape(20, 5, 4), is_grads_batched=True)[0]
    torch.testing.assert_close(batched.reshape(20, 20).diagonal().reshape(5, 4).double(), slope, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("spec", SPECS[:3])
@pytest.mark.usefixtures("fresh_compiler")
def test_compiled_and_exported_modules_are_the_definition(spec, training):
    torch.manual_seed(0)
    act, _, x, _ = pair(spec, training, torch.randn(8, 4))
    compiled = torch.compile(copy.deepcopy(act), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), copy.deepcopy(act)(x), rtol=1e-4, atol=1e-5)
    if not training:
        program = torch.export.export(act, (x,))
        assert all(str(node.target).startswith("aten.") for node in program.graph.nodes if node.op == "call_function")
        torch.testing.assert_close(program.module()(x), act(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("spec", [*SPECS[:3], "rational"])
def test_checkpointing_autocast_and_repeated_backward(spec):
    from torch.utils.checkpoint import checkpoint

    torch.manual_seed(0)
    act, _, x, _ = pair(spec, False, torch.randn(8, 4))
    x.requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert act(x).dtype == torch.float32
        assert act(x.bfloat16()).dtype == torch.bfloat16
    y = act(x)
    first = torch.autograd.grad(y.sum(), [x, *act.parameters()], retain_graph=True)
    again = torch.autograd.grad(y.sum(), [x, *act.parameters()])
    kept = torch.autograd.grad(checkpoint(act, x, use_reentrant=False).sum(), [x, *act.parameters()])
    checkpoint(act, x, use_reentrant=True).sum().backward()  # which torch.autograd.grad cannot take
    for a, b, c, p in zip(first, again, kept, [x, *act.parameters()], strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a, c)
        assert torch.equal(a, p.grad)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("spec", [*SPECS[:3], "rational"])
def test_an_input_that_its_maker_keeps_is_not_kept_again(spec, training):
    """Behind a function that saves its output an activation adds its small tables alone."""

    def kept(run):
        storages = {}

        def look(t):
            storages[t.untyped_storage().data_ptr()] = (t.untyped_storage().nbytes(), t)  # alive, so that no address comes twice
            return t

        with torch.autograd.graph.saved_tensors_hooks(look, lambda t: t):
            run()
        return sum(size for size, _ in storages.values())

    torch.manual_seed(0)
    act = slaf.make(spec, num_channels=4).train(training)
    x = torch.randn(256, 4, 8, 8, requires_grad=True)
    assert kept(x.tanh) == x.nbytes
    assert kept(lambda: act(x.tanh())) <= x.nbytes + 1024


@pytest.mark.parametrize("shift", [0.0, 3.0, 100.0])
def test_normalised_terms_far_from_zero(shift):
    """The first batches find running statistics that are far off."""
    torch.manual_seed(0)
    act = slaf.make("slaf(basis=power, degree=9, share=channel, normalize=batch, input=identity)", num_channels=3)
    wide = copy.deepcopy(act).double()
    for step in range(3):
        x = torch.randn(64, 3, 8, 8) + shift * (1 + 0.01 * step)
        y, exact = act(x), wide(x.double())
        torch.testing.assert_close(y.double(), exact, rtol=1e-4, atol=1e-4)
    constant = act(torch.full((64, 3, 8, 8), shift))
    assert torch.isfinite(constant).all()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_units_in_any_memory_format(layout):
    torch.manual_seed(0)
    act = slaf.make("slaf(share=unit, normalize=batch, basis=power, degree=3)", num_features=(3, 4, 5))
    wide = copy.deepcopy(act).double()
    x = torch.randn(16, 3, 4, 5).contiguous(memory_format=layout).requires_grad_()
    twin = x.detach().double().requires_grad_()
    w = torch.randn(x.shape)
    for one, other in zip(
        torch.autograd.grad(act(x), [x, *act.parameters()], w),
        torch.autograd.grad(wide(twin), [twin, *wide.parameters()], w.double()),
        strict=True,
    ):
        torch.testing.assert_close(one.double(), other, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("spec", ["slaf(basis=power, normalize=batch, input=identity)", "rational"])
def test_a_slice_gives_the_bits_of_its_dense_copy(spec):
    """A module copies once, and so takes the kernels, in training too."""
    torch.manual_seed(0)
    act = slaf.make(spec, num_channels=3)
    x = torch.randn(16, 6, 5, 8, requires_grad=True)
    w = torch.randn(16, 3, 5, 4)
    twin = copy.deepcopy(act)
    y, z = act(x[:, ::2, :, ::2]), twin(x[:, ::2, :, ::2].contiguous())
    assert torch.equal(y, z)
    assert torch.equal(*(torch.autograd.grad(out, x, w)[0] for out in (y, z)))
    last = x.detach().contiguous(memory_format=torch.channels_last)[:, :, 1:]
    assert act.eval()(last[:, :3]).is_contiguous(memory_format=torch.channels_last)

"""Terms that are standardised by the batch, in one call each way, against the dense definition in float64."""

import copy

import pytest
import torch

import slaf
from slaf.kernels import native, raw_terms, use

pytestmark = pytest.mark.skipif(not native.available(), reason=f"no compiled kernels: {native.reason()}")

SPECS = [
    "slaf(basis=power, degree=5, share=channel, normalize=batch, input=identity)",
    "slaf(basis=power, degree=9, share=channel, normalize=batch)",
    "slaf(degree=7, normalize=batch, input=batch, share=layer, coefficient_scale=0.3)",
    "slaf(degree=4, normalize=batch, input=identity, share=group, groups=2, eps=0.01)",
    "slaf(basis=power, degree=3, normalize=batch, share=unit, num_features=(6, 4, 5))",
    "slaf(degree=3, normalize=batch, input=identity, share=unit, num_features=(6, 4, 5))",
    "slaf(preset=paper_a)",
    "slaf(preset=paper_c)",
    "slaf(basis=power, degree=1, normalize=batch)",
]


def made(spec):
    act = slaf.make(spec, **({} if "unit" in spec else {"num_channels": 6}))
    with torch.no_grad():
        act.weight.add_(0.1 * torch.randn_like(act.weight))
    return act


@pytest.fixture
def calls(monkeypatch):
    """For every call forward, whether the moments were taken by the running statistics, and whether it went well."""
    seen, found = [], raw_terms.normalise

    def watched(*arguments):
        out = found(*arguments)
        seen.append((arguments[-1] is None, out is not None))
        return out

    monkeypatch.setattr(raw_terms, "normalise", watched)
    return seen


def dense(act, x):
    """One tensor for every term, and the module's running statistics moved by hand; ``act`` and ``x`` in float64."""
    shape = act.sharing.shape(x, act.sharing.sites)
    dims = [d for d in range(x.dim()) if shape[d] == 1]

    def batch(v):
        mean = v.mean(dims, keepdim=True)
        return mean, ((v - mean) ** 2).mean(dims, keepdim=True)

    def move(kept, pairs):
        with torch.no_grad():
            kept.num_batches_tracked += 1
            weight = max(1 / kept.num_batches_tracked.item(), kept.momentum) if kept.warm_up else kept.momentum
            for buffer, value in pairs:
                buffer += weight * (value - buffer)

    u, inputs, kept = x, act.input_statistics, act.term_statistics
    if inputs is not None:
        mean, var = batch(u)
        move(inputs, [(inputs.mean, mean.reshape(-1)), (inputs.var, var.reshape(-1))])
        std = (var + inputs.eps).sqrt()
        own = (inputs.var.reshape(shape) + inputs.eps).sqrt()
        r, d = ((std / own).detach(), ((mean - inputs.mean.reshape(shape)) / own).detach()) if inputs.renorm else (1, 0)
        u = ((u - mean) / std * r + d) / act.input_scale
    phi = [torch.ones_like(u), u]
    for _ in range(2, act.num_terms + 1):
        phi.append(u * phi[-1] if str(act.basis) == "power" else 2 * u * phi[-1] - phi[-2])
    a, b = act.coefficients()
    y, means, variances = b.reshape(shape if len(b) > 1 else (1,) * x.dim()), [], []
    for k, term in enumerate(phi[1:]):
        mean, var = batch(term)
        floor = 1e-10 * (var + mean**2) + 1e-30 if kept.eps is None else kept.eps
        y = y + a[:, k].reshape(shape if len(a) > 1 else (1,) * x.dim()) * (term - mean) / (var + floor).sqrt()
        means.append(mean.reshape(-1)), variances.append(var.reshape(-1))
    move(kept, [(kept.mean, torch.stack(means, 1)), (kept.var, torch.stack(variances, 1))])
    return y


def gradients(f, act, x, g):
    x = x.clone().requires_grad_()
    y = f(x)
    return y.detach(), *torch.autograd.grad(y, (x, *act.parameters()), g)


def close(got, want, tolerance=2e-5):
    for one, other in zip(got, want, strict=True):
        size = other.abs().max().clamp(min=1e-6)
        torch.testing.assert_close(one.double() / size, other / size, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("spec", SPECS)
def test_values_gradients_and_running_statistics_are_the_definitions(spec, memory, calls):
    torch.manual_seed(3)
    act = made(spec)
    exact = copy.deepcopy(act).double()
    for shift in (0.3, 0.2, 40.0):  # the last too far from the running statistics to be measured by them
        x = (torch.randn(64, 6, 4, 5) * 1.3 + shift).to(memory_format=memory)
        g = torch.randn_like(x)
        with use("native"):
            got = gradients(act, act, x, g)
        close(got, gradients(lambda v: dense(exact, v), exact, x.double(), g.double()), 1e-3 if shift > 1 else 2e-5)
        for name, buffer in exact.named_buffers():
            if name.endswith(("mean", "var")):
                torch.testing.assert_close(dict(act.named_buffers())[name].double(), buffer, rtol=2e-4, atol=1e-5)
        act.load_state_dict(exact.state_dict())  # so that rounding is not carried on
    assert calls[0][0]
    assert (False, True) in calls or "momentum" in spec


def test_a_channel_of_constant_input_stays_finite():
    act = made(SPECS[0])
    x = torch.randn(16, 6)
    x[:, 2] = 5.0
    y, gx, *_ = gradients(act, act, x, torch.randn(16, 6))
    assert y.isfinite().all()
    assert gx.isfinite().all()
    torch.testing.assert_close(y[:, 2], act.coefficients()[1][2].float().expand(16), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("spec", [SPECS[0], SPECS[2], SPECS[1]])
def test_gradients_are_differentiable(spec):
    torch.manual_seed(4)
    act = made(spec)
    exact = copy.deepcopy(act).double()
    x, v = torch.randn(16, 6), torch.randn(16, 6)

    def second(f, act, dtype):
        leaf = x.to(dtype).requires_grad_()
        first = torch.autograd.grad((f(leaf) ** 2).sum(), (leaf, act.weight), create_graph=True)
        return torch.autograd.grad((first[0] * v).sum() + first[1].square().sum(), (leaf, act.weight))

    with use("native"):
        got = second(act, act, torch.float32)
    close(got, second(lambda u: dense(exact, u), exact, torch.float64), 2e-3)


@pytest.mark.parametrize("size", [(8, 40, 24, 24), (32, 70, 8, 9), (300, 300), (4, 24, 40, 60), (9, 66, 80, 90)])
def test_any_number_of_threads_gives_the_same_bits(size):
    torch.manual_seed(5)
    spec = "slaf(basis=power, degree=5, share=channel, normalize=batch)"
    act = slaf.make(spec, num_channels=size[1])
    x, g, found, before = torch.randn(size), torch.randn(size), [], torch.get_num_threads()
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            one = copy.deepcopy(act)
            found.append([*gradients(one, one, x, g), *one.buffers()])
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))
    few = slaf.make(spec, num_channels=3).double()
    few.load_state_dict({k: v[:3] if v.dim() else v for k, v in act.state_dict().items()})
    x, g = x[:, :3].double(), g[:, :3].double()
    want = gradients(lambda v: dense(few, v), few, x, g)
    y, gx, gweight, gbias = found[0][:4]
    close((y[:, :3], gx[:, :3], gweight[:3], gbias[:3]), want, 1e-4)


def test_what_is_refused_changes_nothing(calls):
    act = made(SPECS[1]).double()
    act(torch.randn(16, 6))
    assert not calls
    act = made(SPECS[1])
    with use("reference"):
        act(torch.randn(16, 6))
    assert not calls


def test_autograd_knows_that_the_statistics_changed(calls):
    act = made(SPECS[0])
    weight = torch.ones(6, 5, requires_grad=True)
    kept = (act.term_statistics.mean * weight).sum()
    act(torch.randn(32, 6))
    assert calls
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        kept.backward()


@pytest.mark.parametrize("degree", [9, 15])
@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (1.9, 0.0), (1.0, 0.8), (0.2, -0.1)])
@pytest.mark.parametrize("basis", ["power", "chebyshev"])
@pytest.mark.parametrize("more", ["", ", input=identity"])
def test_coefficients_do_not_cancel_where_the_batch_is_off_the_running_statistics(basis, more, degree, scale, shift):
    """The first batch is; T_18(1.7 u) as a sum of T_k(u) would lose eight digits."""
    torch.manual_seed(0)
    act = slaf.make(f"slaf(basis={basis}, degree={degree}, normalize=batch{more})", num_channels=2)
    with torch.no_grad():
        act.weight.normal_()
    x = scale * (2 * torch.rand(8, 2, 1000) - 1) + shift
    if more:  # running statistics at which the moments are taken
        act(0.3 * x)
    wide = copy.deepcopy(act).double()
    torch.testing.assert_close(act(x).double(), wide(x.double()), rtol=1e-4, atol=2e-5)

"""What the compiled kernels of every family of activations are held to."""

import copy

import pytest
import torch

from slaf.kernels import native, use

needs_native = pytest.mark.skipif(not native.available(), reason="the compiled kernels are not there")
ROUNDING = {torch.float32: 0.0, torch.bfloat16: 2**-8, torch.float16: 2**-11}
"""Of the dtypes that the kernels take, beside float32's."""
ISAS = [name for name in native.ISAS if native.force_isa(name)] if native.available() else []
native.force_isa(None)
LAYOUTS = ["contiguous", "channels_last"]


def laid(x, layout):
    """Channels last in memory, whatever the number of dimensions."""
    return x if layout == "contiguous" else x.movedim(1, -1).contiguous().movedim(-1, 1)


def near(found, wanted, dtype, tolerance, terms=1.0):
    """y and all gradients, to ``tolerance`` and two roundings of the dtype; ``terms``: the size of sums that may cancel."""
    slack = 2 * ROUNDING[dtype] + tolerance
    for got, value in zip(found, wanted, strict=True):
        torch.testing.assert_close(got.double(), value, rtol=slack, atol=slack * float(value.detach().abs().max()) + 1e-6 * terms)


def agree(act, x, tolerance, exact=None):
    """The module at ``x`` with its definition in float64, or with ``exact``(module in float64, x); that module, having run."""
    wide, g = copy.deepcopy(act).double(), torch.randn(x.shape).to(x.dtype)
    x, twin = x.detach().requires_grad_(), x.detach().double().requires_grad_()
    with use("native"):
        y = act(x)
        grads = torch.autograd.grad(y, [x, *act.parameters()], g)
    assert y.stride() == x.stride() == grads[0].stride()
    assert y.dtype == grads[0].dtype == x.dtype
    value = wide(twin) if exact is None else exact(wide, twin)
    near((y, *grads), (value, *torch.autograd.grad(value, [twin, *wide.parameters()], g.double())), x.dtype, tolerance)
    return wide


def same_bits(act, x, counts=(1, 2, 3, 1)):
    """y and all gradients, whatever the number of threads; every time from the same state."""
    w, before, found = torch.randn(x.shape), torch.get_num_threads(), []
    x = x.detach().requires_grad_()
    try:
        for threads in counts:
            torch.set_num_threads(threads)
            twin = copy.deepcopy(act)
            with use("native"):
                y = twin(x)
                found.append((y, *torch.autograd.grad(y, [x, *twin.parameters()], w)))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


def only_x_is_kept(act, x):
    """For backward: x, and as many numbers as the module has parameters. y."""
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t), use("native"):
        y = act(x)
    assert sum(t.numel() for t in kept) <= x.numel() + sum(p.numel() for p in act.parameters())
    return y


def twice(act, x):
    """First and second derivatives in x and all parameters with those of the definition in float64."""
    wide, found = copy.deepcopy(act).double(), []
    for module, leaf in ((act, x.clone().requires_grad_()), (wide, x.double().requires_grad_())):
        inputs = [leaf, *module.parameters()]
        first = torch.autograd.grad(module(leaf).sin().sum(), inputs, create_graph=True)
        found.append([*first, *torch.autograd.grad(sum(f.square().sum() for f in first), inputs)])
    for got, exact in zip(*found, strict=True):
        torch.testing.assert_close(got.double(), exact, rtol=1e-3, atol=1e-5 * float(exact.detach().abs().max()) + 1e-7)
    return wide


def transforms(act, x, wide):
    """jvp with the derivative in float64, and vmap with the batch."""
    slope = wide.derivative(x.double())
    torch.testing.assert_close(torch.func.jvp(act, (x,), (torch.ones_like(x),))[1].double(), slope, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(torch.func.vmap(lambda v: act(v[None])[0])(x), act(x), rtol=1e-5, atol=1e-6)

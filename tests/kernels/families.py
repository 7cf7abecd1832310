"""One module for every way that a learned family runs a kernel, and a step of it."""

import torch

import slaf

FAMILIES = {
    "series": "slaf(basis=power, degree=5, share=channel, normalize=none, input=identity)",
    "one for all": "slaf(degree=3, share=layer, input=identity)",
    "on an interval": "slaf(basis=chebyshev, degree=7, interval=(-2.0,2.0))",
    "standardised": "slaf",
    "gated, in another family": "slaf(basis=legendre, gate=true)",
    "terms": "slaf(basis=power, degree=5, normalize=batch)",
    "terms alone": "slaf(degree=3, normalize=batch, input=identity)",
    "bumps": "slaf(basis=rbf, terms=8, input=identity)",
    "bumps, standardised": "slaf(basis=rbf, terms=8)",
    "pieces": "piecewise_linear",
    "pieces of a basis": "slaf(basis=bspline, input=identity)",
    "spline": "spline",
    "rational": "rational",
    "hinges": "apl",
    "evonorm": "evonorm_s0",
}
SHAPE = (3, 4, 16, 32)


def made(spec, seed=0):
    torch.manual_seed(seed)
    act = slaf.make(spec, num_channels=SHAPE[1])
    with torch.no_grad():
        for p in act.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return act


def pair(shape=SHAPE, dtype=torch.float32):
    torch.manual_seed(1)
    return torch.randn(shape, dtype=dtype).requires_grad_(), torch.randn(shape, dtype=dtype)


def step(function, module, x, g):
    y = function(x)
    return [y, *torch.autograd.grad(y, [t for t in (x, *module.parameters()) if t.requires_grad], g)]


def equal(found, wanted):
    for a, b in zip(found, wanted, strict=True):
        assert a.dtype == b.dtype
        assert torch.equal(a, b)

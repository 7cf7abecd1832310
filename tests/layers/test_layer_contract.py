"""The contract over every layer that is no registry entry: dtypes, derivatives, transforms, exports, saving, layouts, errors.

Layers that share their code with another are exported and compiled with ``--slow`` alone.
"""

from functools import partial

import pytest
import torch
from torch import nn

from slaf import layers
from slaf.layers import GRKANMLP, AFKANLinear, GRKANLinear, KANConv1d, KANConv2d, KANConv3d, KANLinear, RBFNetwork, SelectableKAN
from slaf.layers.kan import SymbolicKANLinear
from slaf.layers.rbf_network import RADIAL_FUNCTIONS
from slaf.testing import Layer, check_layer, checks, parametrize_with_checks

BASES = ["bspline(degree=1)", "bspline(degree=2)", "bspline(degree=4)", "piecewise_linear", "chebyshev", "power", "legendre", "hermite"]
BASES += ["rbf", "gp", "relu_kan", "fourier", "wavelet", "mixture(relu, sine, tanh)"]
POOL = {"chebyshev": {"degree": 3}, "mixture(tanh)": {}}
EXPORTS = ("onnx_float32", "onnx_float16", "torch_export", "compile", "inductor")


def some(*shape):
    return 1.5 * torch.randn(shape, generator=torch.Generator().manual_seed(0))


def moved(**made):
    """The identity's denominators start at 0, the kink of their absolute values."""
    layer = GRKANMLP(4, 6, groups=2, **made)
    with torch.no_grad():
        layer.first.activation.denominator.add_(0.1)
    return layer


def mixed(**made):
    """Edges with names, and splines for the others."""
    return SymbolicKANLinear([["sin", "0"], ["0", "x^2"]], KANLinear(2, 2, bias=False, **made), **made)


X, SEQUENCE = some(5, 3), some(4, 2, 4)
FIRST = [
    Layer(partial(KANLinear, 3, 2), X, "KANLinear"),
    Layer(partial(KANConv2d, 2, 2, 2, padding=1, groups=2), some(4, 2, 2, 3), "KANConv2d"),
    Layer(moved, SEQUENCE, "GRKANMLP", features=-1),
    Layer(partial(AFKANLinear, 3, 2, grid=2, order=1), X, "AFKANLinear"),
    Layer(partial(SelectableKAN, KANLinear, 3, 2, pool=POOL), X, "SelectableKAN"),
    Layer(partial(SymbolicKANLinear, [["sin", "gelu"], ["x^2", "0"], ["0", "gaussian"]]), X, "SymbolicKANLinear"),
    Layer(partial(RBFNetwork, 3, 4, 2), X, "RBFNetwork"),
]
OTHERS = [
    *(Layer(partial(KANLinear, 2, 1, basis), X[:, :2], f"KANLinear-{basis}") for basis in BASES),
    Layer(partial(KANLinear, 3, 2, base=None, bias=False, track_range=True), X, "KANLinear-bare"),
    Layer(partial(KANLinear, 3, 2, base="prelu"), X, "KANLinear-prelu"),
    Layer(partial(KANConv1d, 2, 2, 2, padding_mode="circular", padding=1), some(4, 2, 3), "KANConv1d"),
    Layer(partial(KANConv3d, 1, 1, (1, 2, 2), basis="chebyshev", degree=2), some(4, 1, 2, 2, 2), "KANConv3d"),
    Layer(partial(GRKANLinear, 4, 3, groups=2, numerator="group"), SEQUENCE, "GRKANLinear", features=-1),
    *(
        Layer(partial(AFKANLinear, 3, 2, grid=2, order=1, scale_over="sample", reduce=reduce, norm=norm), X, f"AFKANLinear-{reduce}")
        for reduce, norm in (("global_attention", None), ("spatial_attention", "batch"), ("linear", None))
    ),
    Layer(partial(AFKANLinear, 3, 2, grid=1, order=1, activation="swish", scale_over="sample"), X, "AFKANLinear-swish"),
    Layer(partial(SelectableKAN, KANConv2d, 1, 1, 2, pool=POOL), some(4, 1, 2, 3), "SelectableKAN-KANConv2d"),
    Layer(mixed, some(5, 2), "SymbolicKANLinear-rest"),
    *(Layer(partial(RBFNetwork, 3, 4, 2, kernel=k, bias=False), X, f"RBFNetwork-{k}") for k in RADIAL_FUNCTIONS if k != "gaussian"),
]
GAPS = {"AFKANLinear": {"evaluation_is_a_function": "as published, features are scaled over the batch"}}


@parametrize_with_checks(FIRST, xfail=GAPS, groups=True)
def test_contract(activation, check):
    check(activation)


@parametrize_with_checks(OTHERS, checks=[name for name in checks() if name not in EXPORTS], groups=True)
def test_contract_of_kin(activation, check):
    check(activation)


@pytest.mark.slow
@parametrize_with_checks([*FIRST, *OTHERS], checks=EXPORTS, groups=True)
def test_exports_of_all(activation, check):
    check(activation)


def test_no_layer_is_left_out():
    """What is built of a layer is of the class that its name says."""
    told = {name.partition("-")[0] for name in (layer.name for layer in (*FIRST, *OTHERS))}
    assert told >= set(layers.__all__)
    assert all(type(layer.made()).__name__ == layer.name.partition("-")[0] for layer in (*FIRST, *OTHERS))


def test_torchs_own_layers_pass_but_for_their_errors():
    gap = {"wrong_size": "torch raises a RuntimeError"}
    quick = [name for name in checks() if name not in EXPORTS]
    for layer, x in ((partial(nn.Linear, 3, 4), X), (nn.Conv2d(2, 3, 2), some(4, 2, 3, 3))):
        report = check_layer(layer, x, xfail=gap, checks=quick)
        assert report.passed, report

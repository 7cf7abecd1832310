"""The kernels of spline layers against the layer's definition in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from slaf.kernels import native, use
from slaf.layers import KANLinear

pytestmark = pytest.mark.skipif(not native.available(), reason="the kernels are not built")

CASES = [
    (6, 5, 50, {"grid": 5}),
    (17, 64, 129, {"grid": 64}),
    (3, 1, 7, {"basis": "bspline(degree=2)", "grid": 2, "base": None}),
    (20, 83, 300, {"basis": "bspline(degree=1)", "grid": 7, "bias": False}),
    (33, 9, 20, {"base": "tanh"}),
    (1, 530, 1, {"basis": "bspline(degree=1)", "grid": 1, "base": None}),
]


def _results(layer: KANLinear, x: Tensor, g: Tensor, mode: str) -> list[Tensor]:
    x = x.detach().clone().requires_grad_()
    with use(mode):
        y = layer(x)
        return [y.detach(), *torch.autograd.grad(y, (x, *layer.parameters()), g)]


@pytest.fixture(params=["best", "portable"])
def _isa(request: pytest.FixtureRequest) -> object:
    assert native.force_isa(None if request.param == "best" else request.param)
    yield
    native.force_isa(None)


@pytest.mark.usefixtures("_isa")
@pytest.mark.parametrize(("inputs", "outputs", "batch", "options"), CASES)
def test_values_and_gradients_are_those_of_the_definition(inputs: int, outputs: int, batch: int, options: dict[str, object]) -> None:
    torch.manual_seed(0)
    layer = KANLinear(inputs, outputs, interval=(-1.5, 1), **options)
    layer.low[0] = -2
    x, g = 1.2 * torch.randn(batch, inputs), torch.randn(batch, outputs)
    found = _results(layer, x, g, "native")
    wanted = _results(layer.double(), x.double(), g.double(), "reference")
    tolerance = 3e-6 * max(1, (layer.grid or 1) / 8)  # the place in a cell loses digits to the number of the cell
    for a, b in zip(found, wanted, strict=True):
        assert a.dtype == torch.float32
        assert float((a - b).abs().max()) <= tolerance * float(b.abs().max())


def test_a_number_that_is_none_spoils_its_own_sample_alone() -> None:
    layer = KANLinear(4, 3)
    x = torch.randn(6, 4)
    clean = layer(x)
    x[2, 1] = float("nan")
    with use("native"):
        y = layer(x)
    assert bool(y[2].isnan().all())
    assert torch.equal(y[[0, 1, 3, 4, 5]], clean[[0, 1, 3, 4, 5]])


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    layer = KANLinear(70, 33)
    x, g = torch.randn(700, 70), torch.randn(700, 33)
    before = torch.get_num_threads()
    try:
        found = []
        for count in (1, 3):
            torch.set_num_threads(count)
            found.append(_results(layer, x, g, "native"))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_the_input_alone_is_kept_and_backward_is_differentiable() -> None:
    layer = KANLinear(5, 4)
    x = torch.randn(9, 5).requires_grad_()
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        y = layer(x)
    own = {x.data_ptr(), *(p.data_ptr() for p in layer.parameters())}
    assert {t.data_ptr() for t in kept} == own
    (gx,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
    (again,) = torch.autograd.grad(gx.square().sum(), layer.weight)
    wide = KANLinear(5, 4, dtype=torch.float64)
    wide.load_state_dict(layer.state_dict())
    z = x.detach().double().requires_grad_()
    (gz,) = torch.autograd.grad(wide(z).square().sum(), z, create_graph=True)
    (wanted,) = torch.autograd.grad(gz.square().sum(), wide.weight)
    assert torch.allclose(again.double(), wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))


def test_other_inputs_run_the_definition() -> None:
    layer = KANLinear(5, 4)
    x = torch.randn(6, 10)[:, ::2]
    assert torch.allclose(layer(x), layer(x.contiguous()), atol=1e-6)
    assert layer(torch.randn(2, 3, 5).transpose(0, 1)).shape == (3, 2, 4)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
    assert torch.allclose(torch.func.vmap(layer)(x.contiguous()), layer(x), atol=1e-6)

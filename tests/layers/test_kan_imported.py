"""State dicts as efficient-kan and pykan write them, made here from their names and shapes; SciPy's B-splines say what they compute."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.interpolate import BSpline

from slaf import SlafError
from slaf.layers.kan import from_state_dict

DEGREE, CELLS = 3, 4


def knots(inputs, unequal):
    """Extended uniform knots, the inner ones moved a little; every input has an interval of its own."""
    rng = np.random.default_rng(0)
    t = np.arange(-DEGREE, CELLS + DEGREE + 1) + np.zeros((inputs, 1))
    t[:, DEGREE + 1 : -DEGREE - 1] += unequal * rng.uniform(-1, 1, (inputs, CELLS - 1))
    return t / CELLS * rng.uniform(1, 3, (inputs, 1)) - rng.uniform(0.5, 1, (inputs, 1))


def network(kind, unequal=0.0, widths=(3, 4, 2)):
    """A state dict, and a function of one layer's inputs by SciPy."""
    torch.manual_seed(0)
    state, layers = {}, []
    for k, (n, m) in enumerate(pairwise(widths)):
        t, c = torch.from_numpy(knots(n, unequal)), torch.randn(n, m, CELLS + DEGREE, dtype=torch.float64)
        base, scale = torch.randn(n, m, dtype=torch.float64), torch.randn(n, m, dtype=torch.float64)
        if kind == "efficient":
            at = f"layers.{k}."
            state |= {at + "grid": t, at + "spline_weight": c.transpose(0, 1), at + "base_weight": base.T, at + "spline_scaler": scale.T}
            affine = torch.ones(4, m, dtype=torch.float64) * torch.tensor([1.0, 0.0, 1.0, 0.0], dtype=torch.float64)[:, None]
        else:
            at, affine = f"act_fun.{k}.", torch.randn(4, m, dtype=torch.float64)
            mask = (torch.arange(n * m).reshape(n, m) % 5 != 1).double()
            state |= {at + "grid": t, at + "coef": c, at + "scale_base": base, at + "scale_sp": scale, at + "mask": mask}
            names = (f"subnode_scale_{k}", f"subnode_bias_{k}", f"node_scale_{k}", f"node_bias_{k}")
            state |= dict(zip(names, affine, strict=True)) | {f"symbolic_fun.{k}.mask": torch.zeros(m, n)}
            base, scale = base * mask, scale * mask
        layers.append((t.numpy(), (c * scale[..., None]).numpy(), base, affine))
    return state, layers


def evaluated(layer, x):
    t, c, base, (a, b, s, d) = layer
    y = torch.nn.functional.silu(x) @ base
    for i in range(len(t)):
        y = y + torch.from_numpy(BSpline(t[i], c[i].T, DEGREE)(x[:, i].numpy()))
    return s * (a * y + b) + d


@pytest.mark.parametrize(("unequal", "tolerance"), [(0.0, 1e-5), (0.05, 1e-5)])
@pytest.mark.parametrize("kind", ["efficient", "pykan"])
def test_layers_are_the_same_functions_inside_their_grids(kind, unequal, tolerance):
    state, layers = network(kind, unequal)
    made = from_state_dict(state, dtype=torch.float64)
    assert len(made) == 2
    for layer, old in zip(made, layers, strict=True):
        assert (layer.grid == CELLS) == (unequal == 0)
        x = layer.low + torch.rand(200, layer.in_features, dtype=torch.float64) * (layer.high - layer.low)
        wanted = evaluated(old, x)
        error = (layer(x) - wanted).detach().abs().max()
        assert float(error) <= (tolerance if unequal else 1e-12) * 10 * float(wanted.abs().max())


def test_edges_go_on_straight_beyond_the_grid():
    state, _ = network("efficient")
    layer = from_state_dict({k: torch.zeros_like(v) if "base" in k else v for k, v in state.items()}, dtype=torch.float64)[0]
    y = layer.edges(layer.high + torch.tensor([[1.0], [2.0], [3.0]], dtype=torch.float64)).detach()
    torch.testing.assert_close(y[2] - y[1], y[1] - y[0])
    assert float(y.abs().min()) > 0


def test_what_cannot_be_read_is_refused():
    state, _ = network("pykan")
    for name, value, message in [
        ("symbolic_fun.1.mask", torch.ones(2, 4), "layer 1 of state has symbolic edges"),
        ("node_scale_0", torch.ones(3), "multiplies nodes"),
        ("act_fun.0.grid", torch.zeros(3, 11), "do not increase"),
    ]:
        with pytest.raises(SlafError, match=message):
            from_state_dict({**state, name: value})
    with pytest.raises(SlafError, match="neither"):
        from_state_dict({"weight": torch.ones(3)})
    with pytest.raises(SlafError, match="has no layers"):
        from_state_dict({k: v for k, v in network("efficient")[0].items() if k != "layers.0.base_weight"})
    with pytest.raises(SlafError, match="must be a state dict"):
        from_state_dict([1])
    with pytest.raises(SlafError, match="32 times as many equal ones err"):
        from_state_dict(network("efficient", unequal=0.3)[0], tolerance=1e-12)

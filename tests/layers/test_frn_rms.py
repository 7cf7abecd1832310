"""Filter response normalisation and root mean square normalisation: values by torch's own pieces, shapes, refusals."""

import pytest
import torch
import torch.nn.functional as F

import slaf
from slaf import SlafError

SHAPES = [(4, 6), (3, 6, 5), (4, 6, 3, 5), (2, 6, 2, 3, 2)]


def moved(act):
    torch.manual_seed(0)
    with torch.no_grad():
        for p in act.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return act.double()


@pytest.mark.parametrize("learn", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_frn_is_its_formula(shape, learn):
    act = moved(slaf.make(f"frn(learn_eps={str(learn).lower()}, eps=0.01)", num_channels=6))
    x = torch.randn(shape, dtype=torch.float64)
    eps = act.eps.abs() if learn else torch.full((6,), 0.01, dtype=torch.float64)
    wanted = torch.empty_like(x)
    for n in range(shape[0]):
        for c in range(6):
            z = x[n, c]
            root = ((z**2).mean() + eps[c]).sqrt()  # of the places; of one number, its square
            wanted[n, c] = (act.weight[c] * z / root + act.bias[c]).clamp(min=act.threshold[c])
    torch.testing.assert_close(act(x), wanted)


def test_frn_starts_as_relu_of_the_normalised_input_and_does_not_see_the_batch():
    act, x = slaf.make("frn", num_channels=3).double(), torch.randn(4, 3, 5, 5, dtype=torch.float64)
    y = act(x)
    torch.testing.assert_close(y, F.relu(x / (x.square().mean((2, 3), keepdim=True) + 1e-6).sqrt()))
    assert torch.equal(act.eval()(x[:1]), y[:1])
    last = slaf.make("frn(channel_dim=-1)", num_channels=3).double()
    torch.testing.assert_close(last(x.movedim(1, -1)).movedim(-1, 1), y)


@pytest.mark.parametrize("shape", SHAPES)
def test_rms_norm_is_torchs_with_a_shift_and_an_activation(shape):
    act = moved(slaf.make("rms_norm(prelu, eps=0.001)", num_channels=6))
    x = torch.randn(shape, dtype=torch.float64)
    inner = F.rms_norm(x.movedim(1, -1), (6,), act.weight, 0.001) + act.bias
    torch.testing.assert_close(act(x), F.prelu(inner.movedim(-1, 1), act.activation.weight))


@pytest.mark.parametrize(
    ("spec", "more", "message"),
    [
        ("frn", {}, "frn needs num_channels"),
        ("frn(eps=0)", {"num_channels": 3}, "eps must be a number above 0"),
        ("frn(learn_eps=1)", {"num_channels": 3}, "learn_eps must be true or false"),
        ("frn(channel_dim=0)", {"num_channels": 3}, "cannot be 0, the batch"),
        ("rms_norm(nothing)", {"num_channels": 3}, "unknown activation"),
    ],
)
def test_what_does_not_fit_is_refused(spec, more, message):
    with pytest.raises(SlafError, match=message):
        slaf.make(spec, **more)


def test_an_input_that_does_not_fit():
    with pytest.raises(SlafError, match="has no channel_dim=1"):
        slaf.make("frn", num_channels=3)(torch.randn(3))

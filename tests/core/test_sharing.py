"""Sharing: how many θ there are, where they go, and what is refused."""

import pytest
import torch

import slaf
from slaf.core import Sharing, SlafError


@pytest.mark.parametrize(
    ("arguments", "count", "sites", "shape"),
    [
        ({"share": "layer"}, 1, 1, (1, 1, 1, 1)),
        ({"share": "layer", "num_channels": 6}, 1, 6, (1, 1, 1, 1)),
        ({"share": "channel", "num_channels": 6}, 6, 6, (1, 6, 1, 1)),
        ({"share": "channel", "num_channels": 5, "channel_dim": -1}, 5, 5, (1, 1, 1, 5)),
        ({"share": "group", "num_channels": 6, "groups": 2}, 2, 6, (1, 6, 1, 1)),
        ({"share": "unit", "num_features": (6, 4, 5)}, 120, 120, (1, 6, 4, 5)),
        ({"share": "unit", "num_features": 5, "channel_dim": -1}, 5, 5, (1, 1, 1, 5)),
    ],
)
def test_sizes(arguments, count, sites, shape):
    sharing = Sharing(**arguments)
    assert (sharing.count, sharing.sites) == (count, sites)
    x = torch.zeros(2, 6, 4, 5)
    theta = sharing.per_site(torch.arange(count))
    assert sharing.shape(x, len(theta)) == shape


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"share": "chanel"}, "did you mean 'channel'"),
        ({"share": "channel"}, "needs num_channels"),
        ({"share": "group", "num_channels": 6}, "needs groups"),
        ({"share": "group", "num_channels": 6, "groups": 4}, "does not divide"),
        ({"share": "channel", "num_channels": 6, "groups": 2}, "only for share=group"),
        ({"share": "unit"}, "needs num_features"),
        ({"share": "unit", "num_features": (6, 4), "num_channels": 5}, "does not fit num_features"),
        ({"share": "unit", "num_features": (6, 4), "channel_dim": -1}, "does not fit num_features"),
        ({"num_channels": 0}, "positive integer"),
        ({"num_channels": True}, "positive integer"),
        ({"num_channels": 3, "channel_dim": 1.0}, "must be an integer"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(SlafError, match=message):
        Sharing(**arguments)


@pytest.mark.parametrize(
    ("arguments", "shape", "message"),
    [
        ({"num_channels": 6}, (2, 5, 3), "has 5 at dimension 1; num_channels=6"),
        ({"num_channels": 6}, (6,), "has no channel_dim=1"),
        ({"num_channels": 6, "channel_dim": -3}, (2, 6), "has no channel_dim=-3"),
        ({"share": "unit", "num_features": (6, 4)}, (2, 6, 5), r"num_features=\(6, 4\)"),
    ],
)
def test_an_input_that_does_not_fit_is_refused(arguments, shape, message):
    with pytest.raises(SlafError, match=message):
        slaf.make("prelu", **arguments)(torch.zeros(shape))


def test_each_theta_serves_its_own_elements():
    act = slaf.make("prelu(share=group, groups=2)", num_channels=4)
    with torch.no_grad():
        act.weight.copy_(torch.tensor([0.5, 2.0]))
    assert act(-torch.ones(1, 4)).tolist() == [[-0.5, -0.5, -2.0, -2.0]]
    assert repr(act) == "prelu(share=group, num_channels=4, groups=2)"
    assert act.curves(torch.tensor([-1.0, 1.0])).tolist() == [[-0.5, -0.5, -2.0, -2.0], [1.0] * 4]

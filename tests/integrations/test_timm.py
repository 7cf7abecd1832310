"""``act_layer`` in models by timm's convention, which is written here small: timm itself is not needed."""

import copy
import pickle
from functools import partial

import pytest
import torch
from torch import Tensor, nn

import slaf
from slaf.core import SlafError
from slaf.integrations.timm import act_layer


def create_act_layer(layer, inplace: bool | None = None, **options):
    """As timm's factory: a class or what is called like one, with ``inplace`` where it takes it."""
    if layer is None:
        return None
    if inplace is None:
        return layer(**options)
    try:
        return layer(inplace=inplace, **options)
    except TypeError:
        return layer(**options)


class BatchNormAct(nn.BatchNorm2d):
    def __init__(self, channels: int, act_layer=nn.ReLU, inplace: bool = True) -> None:
        super().__init__(channels)
        self.act = create_act_layer(act_layer, inplace=inplace)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(super().forward(x))


class Block(nn.Module):
    def __init__(self, channels: int, act_layer) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(channels, channels, 3, padding=1), BatchNormAct(channels, act_layer)
        self.gate, self.act = nn.Conv2d(channels, channels, 1), act_layer(inplace=True)
        self.prelu = act_layer(num_parameters=channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.prelu(self.act(x * self.gate(self.norm(self.conv(x))).sigmoid()))


class Mlp(nn.Module):
    def __init__(self, act_layer=nn.GELU) -> None:
        super().__init__()
        self.fc1, self.act, self.fc2 = nn.Linear(4, 6), act_layer(), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))


def run(model: nn.Module, x: Tensor) -> Tensor:
    y = model(x)
    y.square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())
    return y.detach()


@pytest.mark.parametrize("string", ["rational(5,4)", "relu", "gelu", "prelu", "prelu(share=channel)", "swish(beta=2.0)"])
def test_models_take_it(string: str) -> None:
    if "channel" not in string:
        run(Mlp(act_layer(string)), torch.randn(3, 5, 4))
        run(Block(4, act_layer(string)), torch.randn(2, 4, 6, 6))
    made = act_layer(string)(num_parameters=4)
    assert made(torch.randn(2, 4, 3)).shape == (2, 4, 3)
    assert sum(p.numel() for p in act_layer("prelu(share=channel)")(num_parameters=4).parameters()) == 4
    assert sum(p.numel() for p in act_layer("prelu")(num_parameters=4).parameters()) == 1


def test_the_same_function_gives_the_same_model() -> None:
    def block(layer) -> Tensor:
        torch.manual_seed(0)
        return run(Block(4, layer), torch.randn(2, 4, 6, 6))

    def relu(inplace: bool = False, num_parameters: int = 1) -> nn.Module:
        assert num_parameters in (1, 4)
        return nn.ReLU(inplace)

    assert torch.equal(block(act_layer("relu")), block(relu))


def test_inplace_is_used_where_it_can_be() -> None:
    assert act_layer("relu")(inplace=True).inplace is True
    assert act_layer("relu")().inplace is False
    x = torch.randn(5)
    assert act_layer("relu")(inplace=True)(x) is x
    y = x - 1.0
    before = y.clone()
    assert torch.equal(act_layer("gelu")(inplace=True)(y), slaf.make("gelu")(before))
    assert torch.equal(y, before), "gelu's backward needs its input, so it stays"


def test_device_and_dtype_reach_the_parameters() -> None:
    made = act_layer("rational(5,4)")(dtype=torch.float64, device="meta")
    assert {(p.dtype, p.device.type) for p in made.parameters()} == {(torch.float64, "meta")}


def test_it_pickles_compares_and_shows() -> None:
    layer = act_layer("rational(5,4)")
    for twin in (pickle.loads(pickle.dumps(layer)), copy.deepcopy(layer), act_layer("rational(5, 4)")):
        assert twin == layer
        assert hash(twin) == hash(layer)
    assert layer != act_layer("relu")
    assert repr(layer) == "act_layer('rational(5, 4)')"
    assert layer.__name__ == "rational(5, 4)"
    assert isinstance(partial(layer, inplace=True)(), slaf.Activation)


def test_errors() -> None:
    with pytest.raises(SlafError, match="did you mean 'rational'"):
        act_layer("rationale")
    with pytest.raises(SlafError, match=r"needs num_channels.*act_layer does not tell sizes.*slaf\.swap"):
        act_layer("prelu(share=channel)")()
    with pytest.raises(TypeError, match="init"):
        act_layer("relu")(init=0.25)

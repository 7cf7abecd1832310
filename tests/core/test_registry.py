"""The registry: names are unique, misses are helpful."""

import pytest
import torch
from torch import nn

import slaf
from slaf.core import Registry, SlafError, activations


def test_duplicates_and_bad_names_are_refused():
    registry = Registry("thing")
    registry.register("one", 1, ("uno",))
    for name, aliases in (("one", ()), ("uno", ()), ("two", ("one",)), ("two", ("uno",))):
        with pytest.raises(SlafError, match="taken already"):
            registry.register(name, 2, aliases)
    for name in ("no way", "1st", "", None):
        with pytest.raises(SlafError, match="must be an identifier"):
            registry.register(name, 2)
    assert registry.names() == ["one"]
    assert registry["uno"] == 1


def test_a_miss_suggests_the_nearest_name():
    with pytest.raises(SlafError, match="unknown activation 'rleu'; did you mean 'relu'"):
        slaf.make("rleu")
    with pytest.raises(SlafError, match="slaf list"):
        slaf.make("zzzzzzzz")


def test_unregister_removes_the_aliases_too():
    registry = Registry("thing")
    registry.register("one", 1, ("uno",))
    registry.unregister("uno")
    assert "one" not in registry
    assert "uno" not in registry


def test_a_class_of_ones_own():
    class Mine(nn.Module):
        def __init__(self, slope: float = 0.5, *, num_channels: int | None = None):
            super().__init__()
            self.slope, self.num_channels = slope, num_channels

        def forward(self, x):
            return torch.maximum(x, self.slope * x)

    slaf.register("mine_of_the_test", Mine)
    try:
        made = slaf.make("mine_of_the_test(0.25)", num_channels=7)
        assert (made.slope, made.num_channels) == (0.25, 7)
        with pytest.raises(SlafError, match="did you mean 'slope'"):
            slaf.make("mine_of_the_test(slop=1)")
        with pytest.raises(SlafError, match="taken already"):
            slaf.register("relu", Mine)
    finally:
        activations.unregister("mine_of_the_test")


def test_functional_gives_the_bare_functions():
    x = torch.linspace(-2, 2, 9)
    assert torch.equal(slaf.functional.elu(x, alpha=0.5), nn.functional.elu(x, 0.5))
    assert "gelu" in dir(slaf.functional)
    assert "prelu" not in dir(slaf.functional)
    with pytest.raises(AttributeError, match="did you mean 'relu'"):
        slaf.functional.rlu  # noqa: B018
    with pytest.raises(AttributeError, match=r"slaf\.make\('prelu'\)"):
        slaf.functional.prelu  # noqa: B018

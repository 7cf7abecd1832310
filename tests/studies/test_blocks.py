"""Blocks in the place of perceptrons: their size, their pairing, and how they are named."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from slaf.compare import make_plan
from slaf.compare.build import build_model
from slaf.core import SlafError
from slaf.studies import studies
from slaf.studies._blocks import BLOCKS, Gated
from slaf.studies._transformer import GPT

SIZES = (12, 32, 12)


def linears(sizes=SIZES):
    return [nn.Linear(a, b) for a, b in pairwise(sizes)]


def parameters(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("block", ["swiglu", "glu", "kan"])
@pytest.mark.parametrize("sizes", [SIZES, (10, 24, 24, 1)])
def test_a_block_is_as_large_as_the_perceptron_but_no_larger(block, sizes):
    places = linears(sizes)
    most = parameters(nn.Sequential(*places))
    built = BLOCKS[block](places)
    assert 0.85 * most < parameters(built) <= most
    assert built(torch.zeros(3, sizes[0])).shape == (3, sizes[-1])


def test_swiglu_has_two_thirds_of_the_width_and_its_formula():
    block = BLOCKS["swiglu"](linears((64, 96, 64)))
    assert isinstance(block, Gated)
    assert block.last.in_features == 64 - 1  # two thirds, but for the second bias
    x = torch.randn(5, 64)
    gate, value = (x @ block.hidden[0].weight.T + block.hidden[0].bias).chunk(2, -1)
    torch.testing.assert_close(block(x), (gate * torch.sigmoid(gate) * value) @ block.last.weight.T + block.last.bias)


def test_gr_kan_from_the_perceptron_computes_what_it_does():
    places = linears()
    block = BLOCKS["gr_kan"](places, start="gelu", groups=4, from_mlp=True)
    x = torch.randn(50, 12).clamp(-3, 3)
    expected = places[1](nn.functional.gelu(places[0](x)))
    torch.testing.assert_close(block(x), expected, atol=0.02, rtol=0)
    assert parameters(block) - parameters(nn.Sequential(*places)) == 2 * (6 + 4 * 4)


def test_no_block_is_small_enough_for_a_perceptron_of_one_unit():
    with pytest.raises(SlafError, match="no such block has as few parameters as the perceptron in its place, which has 4"):
        BLOCKS["kan"](linears((1, 1, 1)))


def built(activation):
    study = studies["language"]
    budget = {**study.budgets["smoke"], "rows": 16}
    return build_model(study, activation, study.data(0, budget), 0)


def test_all_but_the_blocks_starts_the_same():
    """The attention behind a block has the weights that it has behind a perceptron."""
    study = studies["language"]
    budget = {**study.budgets["smoke"], "rows": 16, "depth": 2}
    data = study.data(0, budget)
    reference, *others = (dict(build_model(study, a, data, 0).model.named_parameters()) for a in ("gelu", "swiglu", "gr_kan", "kan"))
    outside = [name for name in reference if ".mlp." not in name]
    assert sum("attention" in name for name in outside) == 8
    for other in others:
        assert all(torch.equal(reference[name], other[name]) for name in outside)


def test_a_norm_hides_the_size_of_an_activation_from_what_follows():
    matched = dict(built("relu").model.named_parameters())
    study = studies["language"]
    data = study.data(0, {**study.budgets["smoke"], "rows": 16})
    plain = dict(build_model(study, "relu", data, 0, variance_match=False).model.named_parameters())
    other = [name for name in plain if not torch.equal(plain[name], matched[name])]
    assert other == ["blocks.0.mlp.2.weight"]
    torch.testing.assert_close(matched[other[0]], plain[other[0]] * 2**0.5)


def test_counts_and_sites():
    kat = built("gr_kan(groups=4)")
    assert kat.activation_params == 2 * (6 + 4 * 4)
    assert not kat.variance_matched
    assert built("swiglu").activation_params == 0


def test_blocks_are_named_where_they_are_known():
    names = ["swiglu", "kan( basis = rbf )", "gelu"]
    assert make_plan("language", names, budget="smoke", identity=False).activations == ("swiglu", "kan(basis=rbf)", "gelu")
    with pytest.raises(SlafError, match="did you mean 'swiglu'"):
        make_plan("language", ["swigluu"], budget="smoke")
    with pytest.raises(SlafError, match="unknown activation 'swiglu'"):
        make_plan("sparse-polynomials", ["swiglu"], budget="smoke")
    with pytest.raises(SlafError, match="kan has no argument 'gird'"):
        make_plan("language", ["kan(gird=3)"], budget="smoke")


def test_no_token_sees_those_behind_it():
    torch.manual_seed(0)
    model = GPT(lambda *_: nn.GELU(), 11, context=8, width=16, hidden=32).eval()
    tokens = torch.randint(11, (2, 8))
    other = tokens.clone()
    other[:, 5:] = (other[:, 5:] + 1) % 11
    with torch.no_grad():
        before, after = model(tokens), model(other)
    torch.testing.assert_close(before[:, :5], after[:, :5])
    assert not torch.allclose(before[:, 5:], after[:, 5:])
    torch.testing.assert_close(model(tokens[:, :3]), before[:, :3])

"""The contract over every registered activation, and over SLAF in every basis that it takes."""

import slaf
from slaf.learnable import valid_pairs
from slaf.testing import parametrize_with_checks


@parametrize_with_checks([*slaf.list(), *valid_pairs()])
def test_contract(activation, check):
    check(activation)

"""The contract over every registered activation."""

import slaf
from slaf.testing import parametrize_with_checks


@parametrize_with_checks(slaf.list())
def test_contract(activation, check):
    check(activation)

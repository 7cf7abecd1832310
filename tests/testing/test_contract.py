"""The contract over every registered activation, and over SLAF in every basis that it takes.

A basis in other than its first kind of SLAF differs in statistics and sharing alone: exporting and compiling it again is left to the badges
of the site (``python benchmarks/contract_badges.py``).
"""

import slaf
from slaf.learnable import valid_pairs
from slaf.testing import checks, parametrize_with_checks

EXPORTS = {"onnx_float32", "onnx_float16", "torch_export", "compile"}
FIRST_KIND = [pair for pair in valid_pairs() if pair.count("=") == 1 or pair.count("(") == 2]
OTHER_KINDS = [pair for pair in valid_pairs() if pair not in FIRST_KIND]


@parametrize_with_checks([*slaf.list(), *FIRST_KIND], groups=True)
def test_contract(activation, check):
    check(activation)


@parametrize_with_checks(OTHER_KINDS, checks=[name for name in checks() if name not in EXPORTS | {"inductor"}], groups=True)
def test_contract_of_other_kinds(activation, check):
    check(activation)

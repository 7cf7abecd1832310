"""Inductor compiles one entry of every family; with ``--slow`` every entry."""

import slaf
from slaf.learnable import valid_pairs
from slaf.testing import check_activation

ONE_OF_EACH_FAMILY = [
    "gelu",
    "prelu",
    "apl",
    "batch_norm(relu)",
    "formula('x*sigmoid(beta*x)', beta=1.0, trainable=beta)",
    "gp",
    "mixture(relu, tanh)",
    "piecewise_linear",
    "polynorm",
    "polyrelu",
    "rational",
    "slaf",
    "slaf(basis=bspline)",
    "slaf(basis=fourier)",
    "spline",
]


def pytest_generate_tests(metafunc):
    entries = [*slaf.list(), *valid_pairs()] if metafunc.config.getoption("--slow") else ONE_OF_EACH_FAMILY
    metafunc.parametrize("entry", entries)


def test_inductor(entry):
    report = check_activation(entry, checks=["inductor"])
    assert report.passed, report

"""Inductor compiles one entry of every family; with ``--slow`` every entry."""

import slaf
from slaf.testing import check_activation

ONE_OF_EACH_FAMILY = ["gelu", "prelu", "snake", "slaf", "batch_norm(relu)", "formula('x*sigmoid(beta*x)', beta=1.0, trainable=beta)"]


def pytest_generate_tests(metafunc):
    entries = slaf.list() if metafunc.config.getoption("--slow") else ONE_OF_EACH_FAMILY
    metafunc.parametrize("entry", entries)


def test_inductor(entry):
    report = check_activation(entry, checks=["inductor"])
    assert report.passed, report

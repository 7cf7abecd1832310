"""``slaf check`` at the command line."""

import json
from dataclasses import replace

import pytest

from slaf.cli import main
from slaf.core import activations
from slaf.testing import check_activation, contract


@pytest.fixture(autouse=True)
def few_checks(monkeypatch):
    """Two checks are enough to see what the verb does with them."""
    monkeypatch.setattr(
        contract, "CHECKS", {n: c for n, c in contract.CHECKS.items() if n in ("parity", "monotone", "unknown_argument", "inductor")}
    )


def test_passes(capsys):
    assert main(["check", "relu", "elu(alpha=2.0)"]) == 0
    assert capsys.readouterr().out.splitlines() == ["relu: 3 passed", "elu(alpha=2.0): 3 passed"]


def test_a_failure_is_shown_and_ends_with_1(capsys, monkeypatch):
    monkeypatch.setattr(activations["tanh"], "claims", replace(activations["tanh"].claims, parity="even"))
    assert not check_activation("tanh").passed
    assert main(["check", "tanh"]) == 1
    assert "parity: claimed to be even; it is odd" in capsys.readouterr().out


def test_json(capsys):
    assert main(["check", "relu", "--json"]) == 0
    (report,) = json.loads(capsys.readouterr().out)
    assert report["counts"] == {"passed": 3, "failed": 0, "skipped": 0, "xfailed": 0}
    assert {r["check"] for r in report["results"]} == {"parity", "monotone", "unknown_argument"}


@pytest.mark.parametrize("arguments", [["check", "relu", "gelo"], ["check"], ["check", "relu("]])
def test_bad_input(capsys, arguments):
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines()[-1].startswith("slaf: ")

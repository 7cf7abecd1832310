"""`slaf plot`, `slaf list --tag`, and what `slaf show` adds: what they print and write, and one line and exit code 2 for bad input."""

import json
import math

import pytest

from slaf.cli import main
from slaf.cli._words import complete_tags
from slaf.plot import tagged, tags


def run(capsys, *arguments):
    code = main(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_plot_writes_a_file_and_says_where(capsys, tmp_path, kind):
    out = tmp_path / f"curves.{kind}"
    code, printed, error = run(capsys, "plot", "gelu,elu(alpha=2.0)", "--derivatives", "2", "--low", "-2", "--high", "2.5", "-o", str(out))
    assert (code, error) == (0, "")
    assert printed == f"wrote {out}\n"
    assert out.stat().st_size > 5000
    assert [p.name for p in tmp_path.iterdir()] == [out.name]


def test_plot_draws_text_without_a_file(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, printed, _ = run(capsys, "plot", "relu,tanh")
    assert code == 0
    assert any(0x2801 <= ord(c) <= 0x28FF for c in printed)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("plot",), "activations"),
        (("plot", ","), "no activation to draw"),
        (("plot", "gelo"), "did you mean 'gelu'"),
        (("plot", "elu(alpha=2"), "the bracket is not closed"),
        (("plot", "batch_norm"), "mixes elements"),
        (("plot", "gelu", "-d", "3"), "derivatives must be 0, 1 or 2"),
        (("plot", "gelu", "--low", "3", "--high", "2"), "low must be less than high"),
        (("plot", "gelu", "--low", "wide"), "--low"),
        (("plot", "gelu", "-o", "curve.gif"), "must end in .pdf, .png, .svg"),
        (("plot", "gelu", "-o", "no/such/folder.png"), "cannot write"),
        (("list", "--tag", "lernable"), "did you mean 'learnable'"),
        (("list", "--tag", "zzz"), "there are "),
    ],
)
def test_bad_input(capsys, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    code, out, error = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert error.splitlines()[-1].startswith("slaf: ")
    assert words in error.splitlines()[-1]
    assert not list(tmp_path.iterdir())


def test_list_by_tag(capsys):
    code, out, _ = run(capsys, "list", "--tag", "learnable", "-t", "torch.nn", "--json")
    assert code == 0
    found = json.loads(out)
    assert "prelu" in [entry["name"] for entry in found]
    assert all({"learnable", "torch.nn"} <= set(entry["tags"]) for entry in found)
    code, out, _ = run(capsys, "list", "-t", "learnable")
    assert [line.split()[0] for line in out.splitlines()] == tagged(["learnable"])


def test_show_adds_moments_and_latex(capsys):
    _, out, _ = run(capsys, "show", "relu", "--latex")
    assert "0.5 for z ~ N(0, 1)" in out
    assert f"{math.sqrt(2):.6g}" in out
    assert r"\tanh{\left(x \right)}" in run(capsys, "show", "tanh", "--latex")[1]
    assert "none: no closed form" in run(capsys, "show", "batch_norm", "--latex")[1]


def test_the_shell_completes_every_tag():
    assert set(complete_tags("")) == set(tags())
    assert complete_tags("learn") == ["learnable"]

"""The command line: what it prints, and that bad input ends in one line and exit code 2 with nothing written."""

import json
import subprocess
import sys

import pytest

import slaf
from slaf.cli import main


def run(capsys, *arguments):
    code = main(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("compare", "spirlas"), "did you mean 'spirals'"),
        (("compare", "--budget", "smal"), "did you mean 'small'"),
        (("compare", "--seeds", "0"), "seeds must be an integer from 1"),
        (("compare", "--seeds", "-2"), "seeds must be an integer from 1"),
        (("compare", "--seeds", "many"), "--seeds"),
        (("compare", "--threads", "0"), "threads must be"),
        (("compare", "--workers", "-1", "--budget", "smoke"), "workers must be"),
        (("compare", "-a", ","), "no activation to compare"),
        (("compare", "-a", "gelo"), "did you mean 'gelu'"),
        (("compare", "-a", "relu,slaf(degree=200)"), "degree must be an integer"),
        (("compare", "-a", "slaf(degree=0)"), "degree must be an integer"),
        (("compare", "-a", "slaf(degre=3)"), "did you mean 'degree'"),
        (("compare", "-a", "slaf(degree=3"), "the bracket is not closed"),
        (("compare", "-a", "__import__('os')"), "unknown activation '__import__'"),
        (("compare", "-a", "slaf(num_channels=5)"), "slaf(num_channels=5)"),
        (("compare", "-o", "epochs"), "NAME=VALUE"),
        (("compare", "-o", "epoch=3"), "did you mean 'epochs'"),
        (("compare", "--reference", "mish"), "not among the activations"),
        (("compare", "--import", "no_such_module"), "no_such_module"),
        (("compare", "--out", "file", "--budget", "smoke"), "is a file"),
        (("compare", "--out", "file/below", "--budget", "smoke"), "cannot write"),
        (("report", "nowhere"), "not a folder of results"),
        (("report",), "folder"),
        (("show", "relu("), "the bracket is not closed"),
        (("show", "leaky_relu(slope=1)"), "negative_slope"),
        (("shw", "relu"), "shw"),
        (("list", "--jsn"), "--jsn"),
    ],
)
def test_bad_input(capsys, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("x")
    code, out, error = run(capsys, *arguments)
    assert code == 2
    assert out == ""
    assert words in error.splitlines()[-1]
    assert error.splitlines()[-1].startswith("slaf: ")
    assert "Traceback" not in error
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_list(capsys):
    code, out, _ = run(capsys, "list")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == slaf.list()
    code, out, _ = run(capsys, "list", "--json")
    assert [entry["name"] for entry in json.loads(out)] == slaf.list()


@pytest.mark.parametrize("name", slaf.list())
def test_show_works_for_every_activation(capsys, name):
    code, out, error = run(capsys, "show", name)
    assert code == 0, error
    assert out.startswith(name)
    assert "formula" in out


def test_show_takes_arguments_and_draws(capsys):
    _, out, _ = run(capsys, "show", "elu(alpha=2.0)")
    assert "-2 … ∞" in out
    assert any(0x2801 <= ord(c) <= 0x28FF for c in out)


def test_studies(capsys):
    code, out, _ = run(capsys, "studies")
    assert code == 0
    for name in ("digits", "spirals", "sparse-polynomials", "smoke", "small", "full"):
        assert name in out


def test_version_and_help(capsys):
    assert run(capsys, "--version")[:2] == (0, f"slaf {slaf.__version__}\n")
    assert "compare" in run(capsys, "--help")[1]
    result = subprocess.run([sys.executable, "-m", "slaf", "--version"], capture_output=True, text=True, check=True)
    assert result.stdout == f"slaf {slaf.__version__}\n"


def test_compare_and_report_on_real_data(capsys, tmp_path):
    out = tmp_path / "run"
    arguments = ("compare", "digits", "-a", "relu,slaf(degree=3, share=channel)", "--seeds", "2", "--budget", "smoke", "--workers", "0")
    code, printed, error = run(capsys, *arguments, "--out", str(out))
    assert code == 0, error
    assert "report.html" in printed
    records = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert {r["activation"] for r in records} == {"relu", "slaf(degree=3, share=channel)", "identity"}
    assert all({"study", "activation", "seed", "budget", "metrics", "cost"} <= set(r) for r in records)
    assert all(0 < r["metrics"]["accuracy"] <= 1 for r in records)
    (out / "report.html").unlink()
    assert run(capsys, "report", str(out))[0] == 0
    assert (out / "report.html").stat().st_size < 3_000_000
    code, _, error = run(capsys, *arguments, "--out", str(out), "-o", "epochs=4")
    assert code == 2
    assert "was made with settings" in error


def test_importing_the_command_line_is_light():
    script = (
        "import slaf.cli, sys; print([m for m in ('typer', 'rich', 'matplotlib', 'sklearn', 'sympy', 'slaf.compare') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip() == "[]"

"""The command line: what it prints, and that bad input ends in one line and exit code 2 with nothing written."""

import json
import subprocess
import sys
from pathlib import Path

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


def toy(capsys, *more):
    return run(capsys, "compare", "toy", "--import", "toy_study", "--budget", "smoke", "--workers", "0", "--seeds", "1", *more)


@pytest.fixture
def _toy(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "compare"))
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("_toy")
def test_json_is_one_document_and_nothing_else(capsys):
    code, out, error = toy(capsys, "-a", "relu,tanh", "--json", "--out", "run")
    assert code == 0
    document = json.loads(out)
    assert [row["activation"] for row in document["rows"]][-1] in ("relu", "tanh", "identity")
    assert {t["activation"] for t in document["trials"]} == {"relu", "tanh", "identity"}
    assert document["metric"] == "nmse"
    assert document["options"]["study"] == "toy"
    assert Path(document["report"]).is_file()
    assert "[3/3]" in error


@pytest.mark.usefixtures("_toy")
def test_a_dry_run_writes_nothing(capsys, tmp_path):
    code, out, _ = toy(capsys, "-a", "relu", "--dry-run", "--sweep-lr")
    assert code == 0
    assert "2 activations × 1 seeds × 3 learning rates = 6 trials" in out
    assert "about" in out
    code, out, _ = toy(capsys, "-a", "relu", "--dry-run", "--json")
    document = json.loads(out)
    assert (document["trials"], document["stored"]) == (2, 0)
    assert document["seconds"] > 0
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("_toy")
def test_runs_are_joined(capsys):
    toy(capsys, "-a", "relu", "--out", "a")
    toy(capsys, "-a", "tanh", "--out", "b")
    code, out, _ = run(capsys, "compare", "--merge", "a", "b", "--out", "c", "--json")
    assert code == 0
    assert len(json.loads(out)["trials"]) == 3
    code, out, error = run(capsys, "compare", "--merge", "a", "b")
    assert (code, out) == (2, "")
    assert "--out" in error
    code, _, error = run(capsys, "compare", "a", "b")
    assert code == 2
    assert "did you mean --merge" in error


def test_the_shell_completes_every_activation_and_study():
    from slaf.cli._words import complete_activations, complete_studies
    from slaf.studies import studies

    assert complete_activations("") == sorted(slaf.list())
    assert complete_activations("slaf,rel") == ["slaf,relu", "slaf,relu6"]
    builtin = [n for n in studies.names() if type(studies[n]).__module__.startswith("slaf.studies")]
    assert complete_studies("") == sorted(n.replace("_", "-") for n in builtin)


def test_help_and_completion_do_not_wait_for_torch():
    code = "import sys; from slaf.cli import main; main(['compare', '--help']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_a_full_disk_behind_standard_output_is_one_sentence():
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-m", "slaf", "list"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "slaf: cannot write to standard output: No space left on device\n"

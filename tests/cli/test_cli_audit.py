"""``slaf audit`` at the command line."""

import json

import pytest
import torch
from torch import nn

from slaf.cli import main


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A module of a user's own, importable from here."""
    (tmp_path / "audited_models.py").write_text(
        "import torch\n"
        "import torch.nn.functional as F\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.lin = torch.nn.Linear(4, 4)\n"
        "    def forward(self, x):\n"
        "        return F.gelu(self.lin(x)) ** 2\n"
        "def build():\n"
        "    return Net(), torch.ones(2, 4)\n"
        "def alone():\n"
        "    return Net()\n"
        "def wrong():\n"
        "    return Net(), torch.ones(2, 3)\n"
    )
    monkeypatch.chdir(tmp_path)
    return "audited_models"


def test_table(source, capsys):
    assert main(["audit", f"{source}:build"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Net: 1 nonlinear call"
    assert "F.gelu(self.lin(x))" in lines[2]


def test_json_and_functions(source, capsys):
    assert main(["audit", f"{source}:build", "--json", "--functions"]) == 0
    assert [s["kind"] for s in json.loads(capsys.readouterr().out)["sites"]] == ["gelu", "pow"]


def test_page(source, capsys, tmp_path):
    assert main(["audit", f"{source}:build", "--html", str(tmp_path / "page.html")]) == 0
    written = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert written.count('class="chart"') == 1
    assert "<script" not in written
    assert capsys.readouterr().out.splitlines()[-1] == f"page: {tmp_path / 'page.html'}"


def test_a_saved_program(capsys, tmp_path):
    path = tmp_path / "model.pt2"
    torch.export.save(torch.export.export(nn.Sequential(nn.Linear(3, 3), nn.Tanh()), (torch.randn(2, 3),)), path)
    assert main(["audit", str(path), "--json"]) == 0
    (site,) = json.loads(capsys.readouterr().out)["sites"]
    assert (site["kind"], site["shape"]) == ("tanh", [2, 3])


@pytest.mark.parametrize(
    ("end", "message"),
    [
        (":alone", "must return (model, example)"),
        (":wrong", "the model fails on the example: RuntimeError: mat1 and mat2"),
        (":nothing", "nothing"),
    ],
)
def test_bad_input_is_one_sentence(source, capsys, end, message):
    assert main(["audit", source + end]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert message in told.err
    assert told.err.count("\n") == 1


def test_an_activation_is_no_model(capsys):
    assert main(["audit", "relu"]) == 2
    assert "package.module:function" in capsys.readouterr().err


def test_a_folder_that_is_missing_is_told_before_the_model_runs(source, capsys):
    assert main(["audit", f"{source}:build", "--html", "missing/page.html"]) == 2
    assert "missing" in capsys.readouterr().err

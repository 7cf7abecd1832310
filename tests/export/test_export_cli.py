"""`slaf export`: what it writes and prints, and one line and exit code 2 for bad input."""

import json

import pytest
import torch

import slaf
from slaf.cli import main


def run(capsys, *arguments):
    code = main(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


MODELS = """
import torch
from torch import nn

def pair():
    return nn.Sequential(nn.Linear(3, 2), nn.ReLU()), torch.randn(4, 3)

def alone():
    return nn.ReLU()

def number():
    return 3

def fails():
    raise RuntimeError("boom")
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "exported_models.py").write_text(MODELS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_an_activation_to_a_header_as_json(capsys, here):
    code, out, err = run(capsys, "export", "gelu", "gelu.h", "--interval", "-4", "4", "--tolerance", "1e-3", "--name", "my_gelu", "--json")
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert told["path"] == "gelu.h"
    assert told["functions"]["my_gelu"] <= 1e-3
    assert "static inline float my_gelu(float x)" in (here / "gelu.h").read_text()


def test_a_function_to_a_program_and_that_to_onnx(capsys, here):
    pytest.importorskip("onnxscript")
    code, out, err = run(capsys, "export", "exported_models:pair", "m.pt2")
    assert (code, err) == (0, "")
    assert "max absolute difference 0, max relative difference 0" in out
    code, out, err = run(capsys, "export", "m.pt2", "m.onnx", "--opset", "20")
    assert (code, err) == (0, "")
    assert "opset 20" in out
    assert "batch size free" in out
    assert "max relative difference" in out
    assert (here / "m.onnx").stat().st_size > 0


def test_an_activation_with_channels_and_a_fixed_batch_size(capsys, here):
    code, out, _ = run(capsys, "export", "slaf(degree=5)", "s.program", "--to", "pt2", "--channels", "4", "--static", "--no-check")
    assert code == 0
    assert "batch size fixed" in out
    assert "difference" not in out
    program = torch.export.load(here / "s.program").module()
    x = torch.randn(64, 4)
    torch.testing.assert_close(program(x), slaf.make("slaf(degree=5)", num_channels=4).eval()(x))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("gelo", "x.h"), "did you mean 'gelu'"),
        (("gelu", "x.txt"), "path must end in"),
        (("gelu", "x.h", "--opset", "20"), "opset is no option for to=c"),
        (("gelu", "x.h", "--form", "int4"), "to must be one of"),
        (("gelu", "no/x.h"), "there is no folder"),
        (("none.pt2", "x.onnx"), "there is no file 'none.pt2'"),
        (("exported_models.pt2", "x.onnx"), "no saved torch.export program"),
        (("exported_models:number", "x.onnx"), "must return a torch.nn.Module"),
        (("exported_models:fails", "x.onnx"), "boom"),
        (("exported_models:alone", "x.pt2"), "example is needed"),
        (("exported_models:nobody", "x.pt2"), "has no function 'nobody'"),
        (("gelu",), "OUT"),
    ],
)
def test_bad_input(capsys, here, arguments, words):
    (here / "exported_models.pt2").write_text("no program")
    before = sorted(p.name for p in here.iterdir() if p.name != "__pycache__")
    code, out, error = run(capsys, "export", *arguments)
    assert (code, out) == (2, "")
    assert error.splitlines()[-1].startswith("slaf: ")
    assert words.lower() in error.splitlines()[-1].lower()
    assert sorted(p.name for p in here.iterdir() if p.name != "__pycache__") == before

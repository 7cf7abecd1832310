"""``slaf encrypt-demo``: one small run for its JSON, page and words; bad input."""

import json

import pytest
from torch import nn

from slaf.cli import main

pytest.importorskip("tenseal")


def small():
    """Three levels, 32 products: the demonstration's own network takes half a minute."""
    return nn.Sequential(nn.Conv2d(1, 2, 2, stride=2), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(8, 10))


def test_demo_agrees_with_the_plain_network_and_writes_its_page(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("slaf.studies._encrypt_demo.network", small)
    page, picture = tmp_path / "demo.html", tmp_path / "demo.svg"
    options = ["--degree", "2", "--epochs", "2", "--images", "5", "--html", str(page), "--explain", str(picture)]
    assert main(["encrypt-demo", "--json", *options]) == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert "degree 2; along the line 2 with more than rounding" in said.err
    assert "From one input to another: degree 2" in picture.read_text(encoding="utf-8")
    assert (found["agreement"], found["images"]) == (1.0, 5)
    assert found["encrypted_accuracy"] == found["plain_accuracy"]
    assert found["max_logit_error"] <= 1e-3
    assert found["parameters"]["scale_bits"] == 40
    assert found["parameters"]["security_bits"] == 128
    assert found["seconds_per_image"] == found["latency_seconds"] / 5
    text = page.read_text(encoding="utf-8")
    assert "5 digits read without being seen" in text
    assert "http" not in text.replace("http-equiv", "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--images", "0"], "images must be from 1 to 540; got 0"),
        (["--degree", "1"], "degree must be from 2 to 22"),
        (["--html", "/nowhere/x.html"], "/nowhere"),
        (["--explain", "x.gif"], "must end in .pdf, .png, .svg; got 'x.gif'"),
    ],
)
def test_bad_input_is_one_sentence(arguments, words, capsys):
    assert main(["encrypt-demo", *arguments]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1

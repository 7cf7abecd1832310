"""Saved programs, safetensors, and what holds for every format: whole files, places, endings."""

import json
import os

import pytest
import torch
from torch import nn

import slaf
from slaf.core import SlafError
from slaf.export.example import examples
from slaf.export.exported import difference

safetensors = pytest.importorskip("safetensors.torch")


class Tied(nn.Module):
    """Two names of one tensor, a view of another, a buffer, a second activation that is the first."""

    def __init__(self):
        super().__init__()
        self.embed, self.out = nn.Embedding(5, 4), nn.Linear(4, 5, bias=False)
        self.out.weight = self.embed.weight
        self.act = slaf.make("rational(5,4)", num_channels=5)
        self.again = self.act
        big = torch.arange(12.0)
        self.register_buffer("part", big[:4])
        self.register_buffer("whole", big)
        self.slaf_recipe = {"version": 1, "sites": [{"name": "act", "to": "rational(5,4)"}]}

    def forward(self, ids):
        return self.act(self.out(self.embed(ids)))


def test_a_program_is_read_back_and_agrees(tmp_path):
    model = Tied()
    written = slaf.export(model, tmp_path / "m.pt2", example=torch.tensor([1, 4]))
    assert (written.format, written.dynamic) == ("pt2", True)
    assert written.max_abs <= 1e-6
    again = torch.export.load(tmp_path / "m.pt2").module()
    for batch in (1, 2, 7):
        ids = torch.arange(batch) % 5
        torch.testing.assert_close(again(ids), model.eval()(ids))


def test_safetensors_round_trip_with_shared_tensors_and_the_recipe(tmp_path):
    torch.manual_seed(0)
    model, path = Tied(), tmp_path / "m.safetensors"
    written = slaf.export(model, path)
    assert written.max_abs == 0.0
    assert len(safetensors.load_file(path)) == len(model.state_dict()) - 3
    other = Tied()
    assert not torch.equal(other.embed.weight, model.embed.weight)
    about = slaf.export.load(other, path)
    assert about["slaf_recipe"] == model.slaf_recipe
    assert (about["slaf_version"], about["torch_version"]) == (slaf.__version__, str(torch.__version__))
    assert slaf.export.metadata(path) == about
    assert other.out.weight is other.embed.weight
    for name, value in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name
    del model.part, model.whole, other.part, other.whole  # views, which the library's own reader does not take
    slaf.export(model, path)
    safetensors.load_model(other, path)


def test_loading_is_all_or_nothing(tmp_path):
    path = tmp_path / "m.safetensors"
    slaf.export(nn.Linear(2, 3), path)
    for model, words in (
        (nn.Linear(3, 3), r"'weight' has the shape \(3, 2\)"),
        (nn.Linear(2, 3, bias=False), "holds a tensor 'bias', which the model has not"),
        (nn.Sequential(nn.Linear(2, 3)), "holds no tensor '0."),
    ):
        before = {k: v.clone() for k, v in model.state_dict().items()}
        with pytest.raises(SlafError, match=words):
            slaf.export.load(model, path)
        assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    path.write_bytes(b"not safetensors")
    with pytest.raises(SlafError, match="as safetensors"):
        slaf.export.load(nn.Linear(2, 3), path)
    with pytest.raises(SlafError, match="as safetensors"):
        slaf.export.metadata(tmp_path / "none.safetensors")


def test_a_recipe_that_json_cannot_hold(tmp_path):
    model = nn.Linear(1, 1)
    model.slaf_recipe = {"x": torch.ones(1)}
    with pytest.raises(SlafError, match=r"slaf_recipe must be a dict that JSON can hold"):
        slaf.export(model, tmp_path / "m.safetensors")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["pt2", "safetensors", "h"])
def test_an_existing_file_is_replaced_only_with_success(tmp_path, monkeypatch, kind):
    path = tmp_path / f"m.{kind}"
    path.write_text("before")
    example = torch.randn(3, 2)

    def fails(*_given, **_options):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fails)
        with pytest.raises(SlafError, match="No space left"):
            slaf.export("relu", path, example=example)
    assert path.read_text() == "before"
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    written = slaf.export("relu", path, example=example)
    assert written.size == path.stat().st_size
    assert path.read_bytes() != b"before"
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_an_interrupted_write_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(*_given, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(torch.export, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        slaf.export("relu", tmp_path / "m.pt2")
    assert not list(tmp_path.iterdir())


def test_places_that_cannot_be_written(tmp_path):
    (tmp_path / "folder.h").mkdir()
    (tmp_path / "file").write_text("")
    for path, words in (
        (tmp_path / "folder.h", "it is a folder"),
        (tmp_path / "none" / "x.h", "there is no folder"),
        (tmp_path / "file" / "x.h", "there is no folder"),
        (tmp_path / "x.txt", r"path must end in .onnx \(onnx\)"),
        (tmp_path / "x", "or to= must say which"),
    ):
        with pytest.raises(SlafError, match=words) as told:
            slaf.export("relu", path)
        assert "\n" not in str(told.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder.h"]


@pytest.mark.parametrize(
    ("model", "options", "words"),
    [
        ("gelo", {}, "did you mean 'gelu'"),
        (torch.relu, {}, "model must be a module"),
        ("gelu", {"to": "onyx"}, "did you mean 'onnx'"),
        (nn.ReLU(), {"num_channels": 3}, "num_channels is for an activation string"),
        ("gelu", {"to": "safetensors", "opset": 20}, "opset is no option for to=safetensors; it takes none"),
    ],
)
def test_bad_arguments(tmp_path, model, options, words):
    with pytest.raises(SlafError, match=words):
        slaf.export(model, tmp_path / "x.h", **options)
    assert not list(tmp_path.iterdir())


def test_random_examples_are_like_the_example():
    x, ids = 5 + 0.1 * torch.randn(400, 3), torch.tensor([3, 9] * 200)
    (given,) = examples((x, {"ids": ids}, True))
    generator = torch.Generator().manual_seed(0)
    for size in (400, 900):
        args = given.resized(size).like(generator).args
        assert args[2] is True
        assert args[0].shape == (size, 3)
        assert not torch.equal(args[0][:400], x)
        assert abs(float(args[0].mean()) - 5) < 0.02
        assert abs(float(args[0].std()) - 0.1) < 0.02
        assert set(args[1]["ids"].tolist()) == {3, 9}


def test_the_difference_sees_nan_and_infinities():
    inf, nan = torch.inf, torch.nan
    assert difference(torch.tensor([nan, inf, 2.0]), torch.tensor([nan, inf, 4.0])).max_rel == 0.5
    assert difference(torch.tensor([nan]), torch.tensor([1.0])).max_abs == inf
    assert difference(torch.tensor([inf]), torch.tensor([-inf])).max_abs == inf
    assert difference(torch.zeros(0), torch.zeros(0)).max_abs == 0


def test_the_room_is_the_function():
    assert callable(slaf.export)
    assert "slaf_recipe" in slaf.export.export.__doc__
    assert json.dumps(slaf.export.Exported(path=__import__("pathlib").Path("x"), format="c", size=1).to_dict())

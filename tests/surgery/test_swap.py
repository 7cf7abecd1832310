"""Swaps keep what a model computes, report how far it moved, are undone bitwise and rebuilt from a recipe."""

import copy
import json
import subprocess
import sys
from pathlib import Path

import models
import pytest
import torch
import torch.nn.functional as F
from calibrated import calibrated
from torch import nn

import slaf
from slaf import SlafError
from slaf.surgery import drift, unshare
from slaf.surgery.watching.observe import call

HERE = Path(__file__).parent
RATIONAL, LINES = "rational(5,4)", "piecewise_linear(knots=32)"


def same(a, b):
    """Bitwise, in values, names, order and classes."""
    states = a.state_dict(), b.state_dict()
    classes = [[type(m) for m in model.modules()] for model in (a, b)]
    return (
        list(states[0]) == list(states[1])
        and all(torch.equal(*pair) for pair in zip(*(s.values() for s in states), strict=True))
        and (classes[0] == classes[1])
    )


# -- drift on held-out inputs, every site's input of a standard deviation in [1, 3] -----------------------------------------------------


@pytest.mark.xdist_group("transformers")
@pytest.mark.parametrize("name", ["bert", "vit", "gpt2", "llama"])
def test_transformers_keep_what_they_compute(name):
    model, given, held_out = calibrated(name, **({"hidden": 192} if name == "vit" else {}))
    sites = slaf.audit(model, given).activations
    swapped = slaf.swap(model, RATIONAL, given, held_out=held_out)
    report = swapped.slaf_report
    assert len(report.sites) == len(sites)
    assert not report.missed
    assert max(site.drift for site in report.sites) <= 1e-2
    assert drift(model, swapped, held_out).relative <= 1e-2
    assert report.output.relative == drift(model, swapped, held_out).relative
    assert {s.kind for s in slaf.audit(swapped, given).activations} == {"extended"}


@pytest.mark.xdist_group("transformers")
@pytest.mark.parametrize("name", ["mlp", "resnet18"])
def test_relu_by_a_rational(name):
    model, given, held_out = calibrated(name)
    swapped = slaf.swap(model, {"relu": RATIONAL}, given, held_out=held_out)
    assert max(site.drift for site in swapped.slaf_report.sites) <= 1.5e-2
    moved = drift(model, swapped, held_out)
    assert moved.relative <= 0.2
    assert moved.agreement >= 0.95


@pytest.mark.xdist_group("transformers")
@pytest.mark.parametrize("name", ["mlp", "resnet18"])
def test_relu_by_lines_with_a_knot_at_zero(name):
    model, given, held_out = calibrated(name)
    swapped = slaf.swap(model, {"relu": LINES}, given, held_out=held_out)
    assert max(site.drift for site in swapped.slaf_report.sites) <= 1e-5
    assert drift(model, swapped, held_out).relative <= 1e-5


@pytest.mark.xdist_group("transformers")
@pytest.mark.parametrize("name", ["mlp", "resnet18", "bert", "vit", "llama"])
def test_a_polynomial_is_finite_everywhere(name):
    model, given, held_out = calibrated(name)
    swapped = slaf.swap(model, "slaf(degree=9)", given, held_out=held_out)
    assert all(torch.isfinite(torch.tensor(site.drift)) for site in swapped.slaf_report.sites)
    far = held_out if isinstance(held_out, dict) else 1e3 * held_out
    for output in (call(swapped, held_out), call(swapped, far)):
        logits = output if isinstance(output, torch.Tensor) else output.logits
        assert torch.isfinite(logits).all()
    assert "drift" in str(swapped.slaf_report)


# -- what is replaced -------------------------------------------------------------------------------------------------------------------


def test_no_site_of_a_resnet_is_missed_and_shared_ones_are_split():
    model, x = models.resnet18()
    model.eval()
    swapped = slaf.swap(model, {"relu": LINES}, x)
    assert [s.kind for s in slaf.audit(swapped, x).activations] == ["piecewise_linear"] * 17
    block = swapped.layer2[0]
    assert block.relu_1 is not block.relu_2
    assert block.relu_1.sharing.num_channels == 16
    shared = slaf.swap(model, {"layer2.0.relu": LINES}, x, share="module").layer2[0]
    assert shared.relu.name == "piecewise_linear"
    assert not hasattr(shared, "relu_1")


class Attributes(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 4) for _ in range(3)])
        self.act = F.gelu
        self.prelu = nn.PReLU()

    def forward(self, x):
        for layer in self.layers:
            x = F.silu(layer(x))
        return self.prelu(self.act(x) + self.prelu(x))


def test_attributes_loops_and_shared_parameters():
    torch.manual_seed(0)
    model, x = Attributes(), torch.randn(32, 4)
    swapped = slaf.swap(model, {"gelu": LINES, "silu": RATIONAL, "prelu": "slaf(degree=5, share=layer)"}, x)
    kinds = [s.kind for s in slaf.audit(swapped, x).activations]
    assert len(kinds) == 6
    assert isinstance(swapped.act, slaf.Activation)
    assert isinstance(swapped.prelu, slaf.Activation)  # one θ for both calls, as before
    assert len({id(p) for p in swapped.silu_1.parameters()}) == 3 * 2  # each turn of the loop its own numerator and denominator
    assert model.act is F.gelu
    one = slaf.swap(model, {"silu": RATIONAL}, x, share="module")
    assert len({id(p) for p in one.silu_1.parameters()}) == 2
    assert call(one, x).shape == (32, 4)


def test_rules_by_pattern_predicate_function_and_none():
    model, x = models.resnet18()
    wide = slaf.swap(model, {"layer1.*": None, lambda s: s.num_channels > 16: "gelu", "relu": lambda s: f"leaky_relu({0.1 * s.index})"}, x)
    kinds = [s.kind for s in slaf.audit(wide, x).activations]
    assert kinds == ["leaky_relu"] + ["relu"] * 4 + ["leaky_relu"] * 4 + ["gelu"] * 8


def test_unshare_changes_nothing_but_the_modules():
    model, x = models.resnet18()
    model.eval()
    apart = unshare(model, x)
    assert torch.equal(apart(x), model(x))
    assert [s.calls for s in slaf.audit(apart, x)] == [1] * 17


def test_a_swapped_model_trains_its_new_activations():
    model, x = models.resnet18()
    model.train()
    swapped = slaf.swap(model, {"relu": RATIONAL}, x)
    assert swapped.training
    assert all(m.training for m in swapped.modules())
    swapped(x).square().sum().backward()
    learned = [m for m in swapped.modules() if isinstance(m, slaf.Activation)]
    assert learned
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for m in learned for p in m.parameters())


def test_swapping_twice_and_undoing_both():
    model, x = models.resnet18()
    model.eval()
    before, y = copy.deepcopy(model), model(x)
    once = slaf.swap(model, {"layer1.*": RATIONAL}, x)
    twice = slaf.swap(once, {"relu": LINES, "extended": "gelu"}, x)
    fresh = slaf.rebuild(models.resnet18()[0].eval(), twice.slaf_recipe)
    fresh.load_state_dict(twice.state_dict())
    assert torch.equal(fresh(x), twice(x))
    assert torch.equal(slaf.undo(twice)(x), once(x))
    assert same(slaf.undo(twice), before)
    assert torch.equal(twice(x), y)
    with pytest.raises(SlafError, match="nothing to undo"):
        slaf.undo(twice)


# -- undo, recipe -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.xdist_group("transformers")
@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("name", ["mlp", "resnet18", "bert", "vit", "gpt2", "llama"])
def test_undo_is_bitwise(name, inplace):
    model, example = getattr(models, name)()
    before = copy.deepcopy(model)
    swapped = slaf.swap(model, RATIONAL, example, inplace=inplace)
    assert (swapped is model) == inplace
    assert same(model, before) != inplace
    assert same(slaf.undo(swapped), before)
    assert drift(before, swapped, example).max_abs == 0
    assert not hasattr(swapped, "slaf_recipe")


LOAD = """
import json, sys, torch, slaf
sys.path.insert(0, sys.argv[1])
import models
model, example = getattr(models, sys.argv[2])()
model.eval()
slaf.rebuild(model, open("recipe.json").read())
model.load_state_dict(torch.load("weights.pt", weights_only=True))
from slaf.surgery.watching.observe import call
with torch.no_grad():
    out = call(model, example)
torch.save(out if isinstance(out, torch.Tensor) else out.logits, "out.pt")
"""


@pytest.mark.parametrize("name", ["resnet18", "gpt2"])
def test_a_fresh_process_gives_the_same_outputs_bitwise(name, tmp_path):
    model, example = getattr(models, name)()
    model.eval()
    swapped = slaf.swap(model, "rational(5, 4)" if name == "resnet18" else "slaf(degree=7)", example)
    with torch.no_grad():
        for parameter in swapped.parameters():
            parameter.add_(1e-3 * torch.randn_like(parameter))
        out = call(swapped, example)
    torch.save(swapped.state_dict(), tmp_path / "weights.pt")
    (tmp_path / "recipe.json").write_text(json.dumps(swapped.slaf_recipe))
    subprocess.run([sys.executable, "-c", LOAD, str(HERE), name], cwd=tmp_path, check=True)
    assert torch.equal(torch.load(tmp_path / "out.pt", weights_only=True), out if isinstance(out, torch.Tensor) else out.logits)


@pytest.mark.xdist_group("transformers")
def test_save_pretrained_and_from_pretrained(tmp_path):
    from transformers import BertForSequenceClassification

    from slaf.integrations.pretrained import rebuilt

    model, example = models.bert()
    swapped = slaf.swap(model, {"gelu": RATIONAL}, example)
    swapped.save_pretrained(tmp_path)
    loaded = rebuilt(BertForSequenceClassification).from_pretrained(tmp_path)
    assert isinstance(loaded, BertForSequenceClassification)
    assert torch.equal(loaded(**example).logits, swapped(**example).logits)
    assert not hasattr(model.config, "slaf_recipe")
    with pytest.raises(SlafError, match="from_pretrained"):
        rebuilt(nn.Linear)


# -- bad input --------------------------------------------------------------------------------------------------------------------------


class AliasedInPlace(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin = nn.Linear(4, 4)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x):
        h = self.lin(x)
        y = self.act(h)
        return y + h  # h was overwritten


class CalledInPlace(AliasedInPlace):
    def forward(self, x):
        h = self.lin(x)
        y = F.relu(h, inplace=True)
        return y + h


@pytest.mark.parametrize(
    ("rules", "options", "message"),
    [
        ({"rleu": "gelu"}, {}, r"'rleu' fits no activation; did you mean 'relu'\?; there are .*\(relu\)"),
        ({"softmax": "gelu"}, {}, "softmax.* no elementwise activation"),
        ({"relu": "gelo"}, {}, "gelo.*did you mean"),
        ({"relu": 3}, {}, "must give an activation string"),
        ({}, {}, "rules must be a mapping"),
        ({"relu": "gelu"}, {"outside": "lines"}, "outside must be"),
        ({"relu": "gelu"}, {"share": "calls"}, "share must be"),
        ({"relu": "gelu"}, {"example": torch.randn(2, 5)}, "model fails on the example"),
    ],
)
def test_bad_arguments_leave_the_model_as_it_was(rules, options, message):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.lin = nn.Linear(4, 4)

        def forward(self, x):
            return torch.softmax(F.relu(self.lin(x)), -1)

    model = Net()
    before = copy.deepcopy(model)
    example = options.pop("example", torch.randn(2, 4))
    with pytest.raises(SlafError, match=message):
        slaf.swap(model, rules, example, inplace=True, **options)
    assert same(model, before)


def test_an_overwritten_input_that_is_used_again_is_refused():
    model = AliasedInPlace()
    before = copy.deepcopy(model)
    with pytest.raises(SlafError, match="used again after it"):
        slaf.swap(model, {"relu": "gelu"}, torch.randn(8, 4), inplace=True)
    assert same(model, before)


def test_an_overwritten_name_goes_on_being_overwritten():
    torch.manual_seed(0)
    model, x = CalledInPlace(), torch.randn(8, 4)
    swapped = slaf.swap(model, {"relu": "relu"}, x)
    assert torch.equal(swapped(x), model(x))


def test_inputs_that_never_differ():
    class Constant(nn.Module):
        def __init__(self):
            super().__init__()
            self.lin = nn.Linear(4, 4)

        def forward(self, x):
            return F.relu(0 * self.lin(x))

    with pytest.raises(SlafError, match=r"F\.relu.* cannot become rational\(5, 4\)"):
        slaf.swap(Constant(), {"relu": RATIONAL}, torch.randn(8, 4))


def test_what_cannot_be_rerouted_is_said():
    namespace = {"F": F, "nn": nn}
    exec(  # a class without source
        "class Hidden(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.lin = nn.Linear(4, 4)\n        self.act = nn.GELU()\n"
        "    def forward(self, x):\n        return F.relu(self.act(self.lin(x)))\n",
        namespace,
    )
    model, x = namespace["Hidden"](), torch.randn(8, 4)
    with pytest.raises(SlafError, match=r"none of the sites .* can be swapped: .*source"):
        slaf.swap(model, {"relu": "gelu"}, x)
    swapped = slaf.swap(model, {"relu": "silu", "gelu": "silu"}, x)
    assert swapped.act.name == "silu"
    (missed,) = swapped.slaf_report.missed
    assert "relu" in missed
    assert f"not swapped: {missed}" in str(swapped.slaf_report)


@pytest.mark.parametrize("recipe", [None, {}, "{", {"version": 2, "replacements": []}, {"version": 1, "replacements": [{"paths": ["a"]}]}])
def test_recipes_that_are_none(recipe):
    with pytest.raises(SlafError, match="recipe"):
        slaf.rebuild(models.mlp()[0], recipe)


def test_a_recipe_of_another_model():
    model, x = models.resnet18()
    recipe = slaf.swap(model, {"relu": "gelu"}, x).slaf_recipe
    other = models.mlp()[0]
    before = copy.deepcopy(other)
    with pytest.raises(SlafError, match="made for another one"):
        slaf.rebuild(other, recipe)
    assert same(other, before)

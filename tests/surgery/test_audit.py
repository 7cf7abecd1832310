"""``slaf.audit``: every nonlinear call is found, in order, and the model is left as it was."""

from __future__ import annotations

import contextlib
import copy
import functools
import json
import math
import random
import warnings
from collections import Counter

import models
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import slaf
from slaf.core import SlafError
from slaf.surgery.audit import audit
from slaf.surgery.watching import watch
from slaf.surgery.watching.observe import call, untouched

ATEN = {
    **{name: name for name in ("relu", "silu", "tanh", "sigmoid", "leaky_relu", "softplus", "mish", "hardswish", "hardsigmoid", "glu")},
    **{name: name for name in ("hardshrink", "softshrink", "threshold", "celu")},
    "gelu": "gelu",
    "elu": "elu",
    "hardtanh": "hardtanh",
    "log_sigmoid_forward": "log_sigmoid",
    "_prelu_kernel": "prelu",
    "rrelu_with_noise": "rrelu",
    "_softmax": "softmax",
    "_safe_softmax": "softmax",
    "_log_softmax": "log_softmax",
    "_scaled_dot_product_flash_attention_for_cpu": "softmax",
    "_scaled_dot_product_flash_attention": "softmax",
    "_scaled_dot_product_efficient_attention": "softmax",
}
AUDITED = {"gelu_tanh": "gelu", "attention": "softmax", "relu6": "hardtanh", "selu": "elu"}


class Oracle(TorchDispatchMode):
    """An independent witness: the operators that really run, by a table written by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.kinds: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name.removeprefix("aten::")
        name = name[:-1] if name.endswith("_") else name
        if name in ATEN:
            self.kinds.append(ATEN[name])
        return func(*args, **(kwargs or {}))


def witnessed(model: nn.Module, example: object) -> list[str]:
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad(), Oracle() as oracle:
            call(copy.deepcopy(model).eval(), example)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return oracle.kinds


def audited(model: nn.Module, example: object) -> list[str]:
    return [AUDITED.get(site.kind, site.kind) for site in audit(model, example)]


def lines_of(cls: type) -> list[str]:
    import inspect

    return inspect.getsource(cls).splitlines()


class Calls(nn.Module):
    """A linear layer, then whatever a test wants."""

    def __init__(self, then, **attributes) -> None:
        super().__init__()
        self.lin = nn.Linear(4, 4)
        self.then = [then]
        for name, value in attributes.items():
            setattr(self, name, value)

    def forward(self, x: Tensor) -> Tensor:
        return self.then[0](self, self.lin(x))


X = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))


def one(then, **attributes):
    sites = list(audit(Calls(then, **attributes), X))
    assert len(sites) == 1, [s.name for s in sites]
    return sites[0]


# what is found, against an independent witness


@pytest.mark.parametrize("name", ["mlp", "resnet18"])
def test_plain_models_agree_with_the_operators_that_run(name):
    model, example = getattr(models, name)()
    assert audited(model, example) == witnessed(model, example) != []


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", ["bert", "vit", "gpt2", "llama"])
def test_transformers_agree_with_the_operators_that_run(name, attention):
    model, example = getattr(models, name)(attention)
    found = ["tanh" if name == "gpt2" and kind == "gelu" else kind for kind in audited(model, example)]
    assert found == witnessed(model, example)
    assert Counter(found)["softmax"] == 2


def test_gpt2s_gelu_is_known_by_its_values_though_no_gelu_operator_runs():
    """It is written as 0.5 x (1 + tanh(…)): one site, not a tanh and a cube."""
    model, example = models.gpt2()
    kinds = [site.kind for site in audit(model, example).activations]
    assert kinds == ["gelu_tanh", "gelu_tanh"]
    assert all(site.how == "module" and site.path.endswith("mlp.act") for site in audit(model, example).activations)


TORCH_ACTIVATIONS = {
    "relu": nn.ReLU(inplace=True),
    "relu6": nn.ReLU6(),
    "leaky_relu": nn.LeakyReLU(0.2),
    "elu": nn.ELU(),
    "celu": nn.CELU(),
    "selu": nn.SELU(inplace=True),
    "gelu": nn.GELU(),
    "gelu_tanh": nn.GELU("tanh"),
    "silu": nn.SiLU(),
    "mish": nn.Mish(),
    "softplus": nn.Softplus(),
    "sigmoid": nn.Sigmoid(),
    "log_sigmoid": nn.LogSigmoid(),
    "hardswish": nn.Hardswish(),
    "hardsigmoid": nn.Hardsigmoid(),
    "hardtanh": nn.Hardtanh(),
    "tanh": nn.Tanh(),
    "softsign": nn.Softsign(),
    "tanhshrink": nn.Tanhshrink(),
    "hardshrink": nn.Hardshrink(),
    "softshrink": nn.Softshrink(),
    "prelu": nn.PReLU(4),
    "rrelu": nn.RReLU(),
    "threshold": nn.Threshold(0.1, 20.0),
}
FUNCTIONS = {
    "relu": [F.relu, torch.relu, torch.relu_, torch.Tensor.relu_, torch.ops.aten.relu.default, torch.ops.aten.relu, F.relu_],
    "relu6": [F.relu6, lambda x: x.clamp(0, 6), lambda x: F.hardtanh(x, 0.0, 6.0)],
    "leaky_relu": [F.leaky_relu, F.leaky_relu_, torch.ops.aten.leaky_relu_.default],
    "elu": [F.elu, F.elu_, torch.ops.aten.elu.default],
    "celu": [F.celu, torch.celu],
    "selu": [F.selu, torch.selu_],
    "gelu": [F.gelu, torch.ops.aten.gelu.default],
    "gelu_tanh": [lambda x: F.gelu(x, approximate="tanh")],
    "silu": [F.silu, lambda x: F.silu(x, inplace=True)],
    "mish": [F.mish],
    "softplus": [F.softplus],
    "sigmoid": [torch.sigmoid, torch.Tensor.sigmoid_, F.sigmoid, torch.special.expit],
    "log_sigmoid": [F.logsigmoid],
    "hardswish": [F.hardswish],
    "hardsigmoid": [F.hardsigmoid],
    "hardtanh": [F.hardtanh, F.hardtanh_],
    "tanh": [torch.tanh, F.tanh, torch.Tensor.tanh, torch.Tensor.tanh_],
    "softsign": [F.softsign],
    "tanhshrink": [F.tanhshrink],
    "hardshrink": [F.hardshrink],
    "softshrink": [F.softshrink],
    "prelu": [lambda x: F.prelu(x, torch.full((1,), 0.2))],
    "rrelu": [F.rrelu],
    "threshold": [lambda x: F.threshold(x, 0.1, 20.0), lambda x: torch.threshold(x, 0.1, 20.0)],
    "sine": [torch.sin, torch.Tensor.sin_],
}
FUNCTION_CASES = [(kind, function) for kind, functions in FUNCTIONS.items() for function in functions]


@pytest.mark.parametrize("kind", TORCH_ACTIVATIONS)
def test_every_activation_module_of_torch_is_one_site_of_its_kind(kind):
    module = TORCH_ACTIVATIONS[kind]
    site = one(lambda m, x: m.act(x), act=module)
    assert (site.kind, site.group, site.how, site.path, site.name) == (kind, "activation", "module", "act", "act")
    assert site.inplace == getattr(module, "inplace", False)
    assert torch.equal(site.target(X), copy.deepcopy(module).eval()(X.clone()))


@pytest.mark.parametrize(("kind", "function"), FUNCTION_CASES, ids=[f"{k}-{i}" for i, (k, _) in enumerate(FUNCTION_CASES)])
def test_every_functional_form_is_one_site_of_its_kind(kind, function):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        site = one(lambda _, x: function(x))
    before = X.clone()
    assert (site.kind, site.group) == (kind, "activation")
    assert torch.equal(site.target(X), function(X.clone()))
    assert torch.equal(X, before)  # out of place


def test_all_torch_activations_agree_with_the_witness_in_one_network():
    model = nn.Sequential(*(m for m in TORCH_ACTIVATIONS.values() if type(m) not in (nn.Softsign, nn.Tanhshrink)))
    assert audited(model, X) == witnessed(model, X)


@pytest.mark.parametrize("activation", [F.relu, F.gelu, "relu", nn.SiLU()])
def test_transformer_encoder_layers_show_their_calls(activation):
    model = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(8, 2, 16, activation=activation, batch_first=True), 2, enable_nested_tensor=False
    )
    example = torch.randn(2, 5, 8)
    assert torch.backends.mha.get_fastpath_enabled()
    found = audit(model.eval(), example)
    assert [AUDITED.get(s.kind, s.kind) for s in found] == witnessed(model, example)
    assert [(s.group, s.how) for s in found][:2] == [
        ("attention", "module"),
        ("activation", "module" if isinstance(activation, nn.Module) else "attribute"),
    ]
    assert found[1].name == "layers.0.activation"
    assert found[1].channel_dim == 2
    assert torch.backends.mha.get_fastpath_enabled()


def test_softmax_glu_attention_and_recurrent_layers_are_what_they_are():
    class Several(nn.Module):
        def __init__(self):
            super().__init__()
            self.glu, self.attention = nn.GLU(), nn.MultiheadAttention(4, 2, batch_first=True)
            self.lstm, self.gru, self.rnn = nn.LSTM(4, 4), nn.GRU(4, 4), nn.RNNCell(4, 4)

        def forward(self, x):
            x = self.glu(torch.cat([x, x], -1))
            x = self.attention(x, x, x)[0]
            x = self.gru(self.lstm(x)[0])[0]
            x = self.rnn(x[:, 0])
            x = F.scaled_dot_product_attention(x[None], x[None], x[None])[0]
            return F.log_softmax(F.glu(x.softmax(-1)), dim=1)

    found = audit(Several(), torch.randn(2, 3, 4))
    assert [(s.kind, s.group) for s in found] == [
        ("glu", "glu"),
        ("attention", "attention"),
        ("lstm", "function"),
        ("gru", "function"),
        ("rnn", "function"),
        ("attention", "attention"),
        ("softmax", "softmax"),
        ("glu", "glu"),
        ("log_softmax", "softmax"),
    ]
    assert [s.arguments for s in found][6:] == [{"dim": -1}, {"dim": -1}, {"dim": 1}]
    assert found.activations == []
    assert math.isnan(found[0].dead)
    assert sum("kernel" in note for note in found.notes) == 3
    with pytest.raises(SlafError, match="no target"):
        found[1].target(X)


def test_arithmetic_is_listed_on_request_only():
    def then(_, x):
        return (x**2).exp().clamp(max=3).abs().sqrt() + 1 / (x.cos() + 2) + torch.maximum(x, -x)

    assert len(audit(Calls(then), X)) == 0
    found = audit(Calls(then), X, functions=True)
    assert [s.kind for s in found] == ["pow", "exp", "clamp", "abs", "sqrt", "cos", "reciprocal", "maximum"]
    assert {s.group for s in found} == {"function"}
    assert found[0].arguments == {"exponent": 2}
    assert found[2].arguments == {"max": 3}
    model, example = models.llama()
    kinds = Counter(s.kind for s in audit(model, example, functions=True))
    assert kinds == {"pow": 5, "rsqrt": 5, "attention": 2, "silu": 2}  # five norms; no cosine and sine of positions


def test_a_clamp_is_an_activation_only_where_it_is_one():
    assert one(lambda _, x: x.clamp(min=0)).kind == "relu"
    assert one(lambda _, x: torch.clamp_min(x, 0)).kind == "relu"
    assert len(audit(Calls(lambda _, x: x.clamp(min=1e-6)), X)) == 0
    assert len(audit(Calls(lambda _, x: torch.clamp_max(x, 0)), X)) == 0


# what is said of each


def test_order_shapes_channels_and_sharing_of_a_resnet():
    model, example = models.resnet18()
    found = audit(model, example)
    shapes = [(2, 8, 16, 16)] * 5 + [(2, 16, 8, 8)] * 4 + [(2, 32, 4, 4)] * 4 + [(2, 64, 2, 2)] * 4
    assert [s.shape for s in found] == shapes
    assert [s.num_channels for s in found] == [shape[1] for shape in shapes]
    assert {s.channel_dim for s in found} == {1}
    assert [s.index for s in found] == list(range(17))
    assert len({s.name for s in found}) == 17
    assert [(s.call, s.calls) for s in found if s.path == "layer2.0.relu"] == [(0, 2), (1, 2)]
    assert [s.name for s in found if s.path == "layer2.0.relu"] == ["layer2.0.relu", "layer2.0.relu#2"]
    assert [s.how for s in found] == ["module"] + ["call"] * 4 + ["module"] * 4 + ["call"] * 4 + ["module"] * 4
    assert [s.path for s in found][1:5] == ["layer1.0", "layer1.0", "layer1.1", "layer1.1"]
    assert all(s.inplace for s in found)


def test_where_a_call_is_written():
    model, example = models.mlp()
    source = lines_of(models.MLP)
    for site, text in zip(
        audit(model, example), ["F.relu(self.first(x))", "torch.tanh(self.second(x))", "self.third(x).relu_()"], strict=True
    ):
        assert site.place is not None
        assert site.place.file == models.__file__
        assert site.place.text == text == site.name
        assert text in source[site.place.line - models.MLP.__init__.__code__.co_firstlineno + 3]
        assert site.place.problem is None
    resnet, example = models.resnet18()
    site = audit(resnet, example).find("layer2.1.relu")[1]
    assert site.place.text == "self.relu(out)"
    assert site.place.function == "SharedBlock.forward"


@pytest.mark.parametrize(
    ("layers", "shape", "channel_dim"),
    [
        ([nn.Conv2d(3, 6, 3)], (2, 3, 8, 8), 1),
        ([nn.Conv1d(3, 6, 3)], (2, 3, 8), 1),
        ([nn.Conv2d(3, 6, 3), nn.MaxPool2d(2), nn.BatchNorm2d(6)], (2, 3, 8, 8), 1),
        ([nn.Conv2d(3, 6, 3)], (3, 8, 8), 0),
        ([nn.Linear(5, 6)], (2, 3, 5), 2),
        ([nn.Linear(5, 6)], (2, 4, 3, 5), 3),
        ([nn.Linear(5, 6), nn.LayerNorm(6)], (2, 4, 3, 5), 3),
        ([nn.Conv1d(3, 6, 3), nn.GroupNorm(2, 6), nn.Dropout()], (2, 3, 8), 1),
        ([nn.Conv2d(3, 6, 1), nn.Flatten(2)], (2, 3, 8, 8), 1),
        ([nn.AvgPool1d(2)], (2, 3, 8), 1),
        ([], (2, 3, 8), 2),
        ([], (2, 3), 1),
        ([], (2, 3, 4, 5), 1),
        ([], (7,), 0),
    ],
)
def test_the_channel_dimension_comes_from_the_layers_before(layers, shape, channel_dim):
    (site,) = audit(nn.Sequential(*layers, nn.ReLU()), torch.randn(shape))
    assert site.channel_dim == channel_dim
    assert site.num_channels == site.shape[channel_dim] == len(site.inputs.channel_mean)


def test_the_channel_dimension_follows_transposes():
    class Patches(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.lin = nn.Conv2d(3, 6, 2, 2), nn.Linear(6, 5)

        def forward(self, x):
            x = F.relu(self.conv(x).flatten(2).transpose(1, 2))  # (2, 16, 6)
            x = torch.tanh(self.lin(x).permute(0, 2, 1))  # (2, 5, 16)
            x = torch.sigmoid(x.reshape(2, 5, 4, 4))
            return F.silu(x.movedim(1, -1).mT)  # (2, 4, 5, 4)

    found = audit(Patches(), torch.randn(2, 3, 8, 8))
    assert [(s.channel_dim, s.num_channels) for s in found] == [(2, 6), (1, 5), (1, 5), (2, 5)]


def test_what_a_site_was_given():
    class Plain(nn.Module):
        def forward(self, x):
            return F.relu(x, inplace=True)

    x = torch.randn(4, 6, dtype=torch.float64)
    x[:, 2] = -x[:, 2].abs()  # a dead channel
    kept = x.clone()
    (site,) = audit(Plain(), x)
    assert torch.equal(x, kept)
    assert site.dtype == torch.float64
    assert site.inputs.count == 24
    assert site.inputs.mean == pytest.approx(float(x.mean()))
    assert site.inputs.std == pytest.approx(float(x.std(correction=0)))
    assert (site.inputs.min, site.inputs.max) == (float(x.min()), float(x.max()))
    dead = sum(bool((x[:, c] <= 0).all()) for c in range(6))
    assert site.dead == pytest.approx(dead / 6)
    assert dead >= 1
    assert site.saturated == pytest.approx(float((x <= 0).double().mean()))


def test_saturation_of_a_sigmoid_is_its_share_of_small_slopes():
    x = torch.linspace(-20, 20, 4000)[:, None]
    (site,) = audit(nn.Sequential(nn.Sigmoid()), x)
    slope = torch.sigmoid(x) * (1 - torch.sigmoid(x))
    assert site.saturated == pytest.approx(float((slope < 1e-3).double().mean()), abs=1e-3)
    assert site.dead == 0


def test_large_inputs_are_sampled_over_every_channel():
    x = torch.ones(64, 3000)
    x[:, 1::2] = -1
    (site,) = audit(nn.Sequential(nn.ReLU()), x)
    assert site.dead == site.saturated == 0.5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_dtypes(dtype):
    (site,) = audit(nn.Sequential(nn.Linear(4, 4), nn.GELU()).to(dtype), X.to(dtype))
    assert site.dtype == dtype
    assert site.inputs.count == 20
    assert site.dead == 0


# whether it depends on data


def test_a_call_on_positions_is_no_site_and_on_data_it_is():
    class Positions(nn.Module):
        def __init__(self):
            super().__init__()
            self.lin = nn.Linear(4, 4)
            self.register_buffer("table", torch.randn(4))
            self.plain = torch.randn(4)

        def forward(self, x):
            at = torch.arange(len(x), device=x.device)[:, None] * self.table
            x = self.lin(x) + torch.sin(at) + torch.sin(self.plain) + torch.tanh(torch.zeros_like(x)) + torch.tanh(x.new_ones(4))
            return torch.sin(x)

    (site,) = audit(Positions(), X)
    assert site.place.text == "torch.sin(x)"


def test_integer_inputs_are_no_data_but_what_an_embedding_makes_of_them_is():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(10, 4)

        def forward(self, ids):
            return torch.tanh(ids.float()) + torch.sigmoid(self.table(ids)).sum(-1)

    assert [s.kind for s in audit(Tokens(), torch.arange(5))] == ["sigmoid"]


def test_data_survive_functions_that_nobody_sees():
    class Double(torch.autograd.Function):
        @staticmethod
        def forward(_ctx, x):
            return torch.from_numpy(x.numpy() * 2)

        @staticmethod
        def backward(_ctx, g):
            return 2 * g

    assert one(lambda _, x: torch.tanh(Double.apply(x))).kind == "tanh"


def test_models_without_parameters_and_without_nonlinear_calls():
    assert [s.kind for s in audit(nn.Sequential(nn.Tanh()), X)] == ["tanh"]
    empty = audit(nn.Linear(4, 4), X)
    assert len(empty) == 0
    assert str(empty) == "Linear: 0 nonlinear calls"
    (site,) = audit(nn.ReLU(), X)  # the model itself
    assert (site.name, site.path, site.kind) == ("ReLU", "", "relu")


# modules and attributes as a whole


class Swish(nn.Module):
    def forward(self, x):
        return x * torch.sigmoid(x)


class HardSwish(nn.Module):
    def __init__(self):
        super().__init__()
        self.relu6 = nn.ReLU6(inplace=True)

    def forward(self, x):
        return x * self.relu6(x + 3) / 6


class ScaledReLU(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.5))

    def forward(self, x):
        return self.scale * F.relu(x)


class InPlaceTanh(nn.Module):
    def __init__(self, first: float = 1.0):
        super().__init__()
        self.first = first

    def forward(self, x):
        return (x if self.first == 1 else x.mul_(self.first)).tanh_().mul_(3)


class RMSNorm(nn.Module):
    def forward(self, x):
        return x * torch.rsqrt((x**2).mean(-1, keepdim=True) + 1e-6)


class Gate(nn.Module):
    """Elementwise in shape only: it mixes channels."""

    def forward(self, x):
        return x * torch.sigmoid(x.mean(-1, keepdim=True))


class BiasGELU(nn.Module):
    def __init__(self):
        super().__init__()
        self.bias = nn.Parameter(torch.randn(4))

    def forward(self, x):
        return F.gelu(x + self.bias)


@pytest.mark.parametrize(("module", "kind"), [(Swish(), "silu"), (HardSwish(), "hardswish"), (ScaledReLU(), "scaled_relu")])
def test_a_module_that_computes_an_elementwise_function_is_one_site(module, kind):
    site = one(lambda m, x: m.act(x), act=module)
    assert (site.kind, site.how, site.path) == (kind, "module", "act")
    assert torch.equal(site.target(X), module(X))
    assert site.inputs.count == 20


def test_a_module_that_overwrites_its_input_is_measured_before_or_shows_its_calls():
    site = one(lambda m, x: m.act(x), act=InPlaceTanh())
    assert (site.kind, site.how, site.inplace) == ("in_place_tanh", "module", True)
    assert site.inputs.std > 0.1
    assert torch.equal(site.target(X), 3 * X.tanh())
    site = one(lambda m, x: m.act(x), act=InPlaceTanh(2.0))  # overwritten before the first nonlinear call
    assert (site.kind, site.how, site.path, site.inplace) == ("tanh", "call", "act", True)


def test_a_wrapper_that_is_no_known_activation_shows_its_children():
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Sequential(nn.Tanh(), nn.Sigmoid())

        def forward(self, x):
            return x + self.inner(x)

    assert [s.path for s in audit(Calls(lambda m, x: m.act(x), act=Residual()), X)] == ["act.inner.0", "act.inner.1"]


def test_modules_that_mix_elements_show_their_calls():
    assert [s.kind for s in audit(nn.Sequential(RMSNorm()), X)] == []
    assert [s.kind for s in audit(nn.Sequential(RMSNorm()), X, functions=True)] == ["pow", "rsqrt"]
    (site,) = audit(nn.Sequential(Gate()), X)
    assert (site.kind, site.how, site.shape) == ("sigmoid", "call", (5, 1))
    (site,) = audit(nn.Sequential(BiasGELU()), X)
    assert (site.kind, site.how, site.path) == ("gelu", "call", "0")


def test_slafs_own_activations_are_sites():
    model = nn.Sequential(
        nn.Linear(4, 4), slaf.make("slaf(degree=3)", num_channels=4), slaf.make("elu(alpha=2.0)"), slaf.make("dyt", num_channels=4)
    )
    found = audit(model, X)
    assert [s.kind for s in found] == ["slaf", "elu", "dyt"]
    assert found[1].arguments == {"alpha": 2.0}
    assert found.missed == ()


TRANSFORMERS = {
    "gelu": "gelu",
    "gelu_10": "clipped_gelu_activation",  # gelu from -10 to 10
    "gelu_fast": "gelu_tanh",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "quick_gelu": "gelu_sigmoid",
    "laplace": "laplace_activation",
    "mish": "mish",
    "relu2": "squared_relu",
    "silu": "silu",
    "swish": "silu",
    "tanh": "tanh",
}


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_activations_of_transformers_are_one_site_each(name):
    known = pytest.importorskip("transformers.activations").ACT2FN
    site = one(lambda m, x: m.act(x), act=known[name])
    assert (site.kind, site.group, site.how, site.path) == (TRANSFORMERS[name], "activation", "module", "act")


def gelu_function(x):
    return F.gelu(x.float()).type_as(x)


class QuickGELU:
    def __call__(self, x):
        return x * torch.sigmoid(1.702 * x)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (F.gelu, "gelu"),
        (F.relu, "relu"),
        (torch.tanh, "tanh"),
        (functools.partial(F.leaky_relu, negative_slope=0.3), "leaky_relu"),
        (lambda x: x * torch.sigmoid(x), "silu"),
        (gelu_function, "gelu"),
        (QuickGELU(), "gelu_sigmoid"),
        (lambda x: torch.sin(x) + torch.tanh(x), "act_fn"),
    ],
)
def test_a_callable_in_an_attribute_is_one_site(value, kind):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.lin, self.act_fn = nn.Linear(4, 4), value

        def forward(self, x):
            return self.act_fn(self.lin(x)) + self.act_fn(x)

    model = nn.Sequential(Net())
    found = audit(model, X)
    assert [(s.kind, s.how, s.attribute, s.path, s.call, s.calls) for s in found] == [
        (kind, "attribute", "act_fn", "0", 0, 2),
        (kind, "attribute", "act_fn", "0", 1, 2),
    ]
    assert [s.name for s in found] == ["0.act_fn", "0.act_fn#2"]
    assert torch.allclose(found[0].target(X), value(X))
    assert found[0].place.text == "self.act_fn(self.lin(x))"
    assert model[0].act_fn is value


def test_a_direct_call_of_the_same_function_is_no_attribute():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.act_fn = F.relu

        def forward(self, x):
            return F.relu(x) + self.act_fn(x - 1)

    assert [(s.how, s.attribute) for s in audit(Net(), X)] == [("call", None), ("attribute", "act_fn")]


def test_a_callable_that_mixes_elements_shows_its_calls():
    site = one(lambda m, x: m.score(x), score=lambda x: torch.softmax(x, -1))
    assert (site.kind, site.how) == ("softmax", "call")


# control flow, several batches


class Looped(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell, self.act = nn.Linear(4, 4), nn.Tanh()

    def forward(self, x):
        for _ in range(3):
            x = F.relu(self.act(self.cell(x)))
        if x.sum() > 1000:
            x = torch.sigmoid(x)
        return x


def test_loops_are_several_calls_of_one_place():
    found = audit(Looped(), X)
    assert [s.kind for s in found] == ["tanh", "relu"] * 3
    assert [(s.call, s.calls) for s in found] == [(0, 3), (0, 3), (1, 3), (1, 3), (2, 3), (2, 3)]
    assert [s.name for s in found][1::2] == [f"F.relu(self.act(self.cell(x))){n}" for n in ("", "#2", "#3")]
    assert len({s.place for s in found if s.kind == "relu"}) == 1


def test_a_branch_taken_by_a_later_batch_is_found_and_batches_are_counted_together():
    model = Looped()
    with torch.no_grad():
        model.cell.bias.fill_(100.0)
    found = audit(model, [X, X.repeat(200, 1)])
    assert [s.kind for s in found] == ["tanh", "relu"] * 3 + ["sigmoid"]
    assert found[0].inputs.count == 20 + 4000
    assert found[-1].inputs.count == 4000


def test_shared_modules_name_all_their_paths():
    act = nn.ReLU()
    model = nn.Sequential(nn.Linear(4, 4), act, nn.Linear(4, 4), act)
    found = audit(model, X)
    assert [s.paths for s in found] == [("1", "3")] * 2
    assert [s.calls for s in found] == [2, 2]
    assert found.find("3") == list(found)
    assert any("one module called 2 times" in note for note in found.notes)


def test_graph_modules_and_exported_programs():
    model, example = models.mlp()
    expected = [s.kind for s in audit(model, example)]
    assert [s.kind for s in audit(torch.fx.symbolic_trace(model), example)] == expected
    exported = torch.export.export(model.eval(), (example,))
    assert [s.kind for s in audit(exported.module(), example)] == expected


# what else happens inside models


def test_data_written_into_a_constant_are_data():
    def then(_, x):
        first, second, third = torch.zeros(5, 4), torch.zeros(5, 8), torch.zeros(5, 4)
        first[:, :2] = x[:, :2]
        second[:, 4:].copy_(x)
        third.add_(x)
        return torch.relu(first).sum() + torch.tanh(second).sum() + torch.sigmoid(third).sum() + F.gelu(torch.zeros(3)).sum()

    assert [s.kind for s in audit(Calls(then), X)] == ["relu", "tanh", "sigmoid"]


def test_calls_inside_function_transforms_are_measured():
    assert one(lambda _, x: torch.vmap(lambda row: torch.tanh(row))(x)).inputs.count == 20
    site = one(lambda _, x: torch.func.grad(lambda row: torch.tanh(row).sum())(x))
    assert (site.inputs.count, site.shape) == (20, (5, 4))


def test_sparse_inputs_are_measured_where_they_are_stored():
    assert one(lambda _, x: torch.relu((x * (x > 0)).to_sparse()).to_dense()).inputs.min > 0


def test_an_error_that_the_model_handles_itself():
    class Fails(nn.Module):
        def forward(self, x):
            raise ValueError(f"no {torch.relu(x).shape}")

    def then(m, x):
        with contextlib.suppress(ValueError):
            m.fails(x)
        return torch.tanh(m.act(x))

    found = audit(Calls(then, fails=Fails(), act=nn.SiLU()), X)
    assert [(s.path, s.kind) for s in found] == [("fails", "relu"), ("act", "silu"), ("", "tanh")]


def test_a_module_whose_forward_is_called_directly_is_a_call_where_it_is_written():
    site = one(lambda m, x: m.act.forward(x), act=nn.ReLU())
    assert (site.kind, site.how, site.place.text) == ("relu", "call", "m.act.forward(x)")


def test_a_compiled_function_runs_as_it_is_written():
    assert one(lambda _, x: compiled_tanh(x)).kind == "tanh"


@torch.compile(backend="eager")
def compiled_tanh(x):
    return torch.tanh(x)


def test_what_cannot_be_listed_is_noted():
    found = audit(Calls(lambda _, x: torch.cond(x.sum() > 0, torch.relu, torch.tanh, (x,))), X)
    assert len(found) == 0
    assert any("calls functions whose nonlinear calls are not listed" in note for note in found.notes)
    found = audit(Calls(lambda _, x: torch.tanh(torch.complex(x, x)).abs()), X)
    assert any("tanh of complex numbers" in note for note in found.notes)


def test_gradients_inside_a_model():
    def then(m, x):
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            (slope,) = torch.autograd.grad(torch.tanh(m.lin(x)).sum(), x, create_graph=True)
        return torch.relu(slope)

    assert [s.kind for s in audit(Calls(then), X)] == ["tanh", "relu"]


# the model is left as it was


class Remembers(nn.Module):
    """Changes its buffers, its attributes and the random state, even in evaluation."""

    def __init__(self, fails: bool = False):
        super().__init__()
        self.norm, self.lin, self.fails = nn.BatchNorm1d(4, track_running_stats=True), nn.Linear(4, 4), fails
        self.register_buffer("seen", torch.tensor([0.0, math.nan]))
        self.count, self.cache = 0, {}

    def forward(self, x):
        self.seen += 1
        self.count += 1
        self.cache[self.count] = self.late = x
        x = torch.relu(self.norm(self.lin(x))) + torch.rand_like(x) + random.random() + np.random.rand()
        if self.fails:
            raise RuntimeError("no such thing")
        return x


def snapshot(model: nn.Module):
    tensors = {k: (id(v), v.clone().view(torch.uint8) if v.dim() else v.clone()) for k, v in model.state_dict(keep_vars=True).items()}
    plain = [{k: v for k, v in m.__dict__.items() if not k.startswith("_")} for m in model.modules()]
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._forward_hooks_always_called) for m in model.modules()]
    return tensors, [m.training for m in model.modules()], hooks, copy.copy(plain), dict(getattr(model, "cache", {}))


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_and_the_random_states_are_bitwise_unchanged(fails):
    model = Remembers(fails)
    model.norm.eval()  # a frozen layer in a model that trains
    calls = []
    model.lin.register_forward_hook(lambda *_: calls.append(1))
    before, states = snapshot(model), (torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate())
    if fails:
        with pytest.raises(SlafError, match=r"RuntimeError: no such thing \(test_audit.py, line \d+\)"):
            audit(model, X)
    else:
        audit(model, X)
    after = snapshot(model)
    assert calls == [1]
    assert before[1:3] == after[1:3]
    assert [list(d) for d in before[3]] == [list(d) for d in after[3]]
    assert all(a[k] is b[k] for a, b in zip(before[3], after[3], strict=True) for k in a)
    assert (model.count, model.cache, hasattr(model, "late")) == (0, {}, False)
    for key, (identity, value) in before[0].items():
        assert after[0][key][0] == identity
        assert torch.equal(after[0][key][1], value)
    assert torch.equal(states[0], torch.get_rng_state())
    assert np.array_equal(states[1], np.random.get_state()[1])
    assert states[2] == random.getstate()
    assert torch.is_grad_enabled()


def test_training_flags_within_and_after():
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.ReLU()).train()
    with untouched(model):
        assert not any(m.training for m in model.modules())
        assert not torch.is_grad_enabled()
    assert all(m.training for m in model.modules())


def test_the_cost_is_two_hooks_a_module_and_one_look_at_the_source_a_place(monkeypatch):
    looks, most = [], []
    locate = watch.locate
    monkeypatch.setattr(watch, "locate", lambda frames, owner: looks.append(1) or locate(frames, owner))

    class Counts(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(5))

        def forward(self, x):
            most.append(sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in self.modules()))
            for layer in self.layers:
                x = F.relu(layer(x))
            return x

    model = Counts()
    assert len(audit(model, [X, X, X])) == 5
    assert most == [2 * 7] * 3
    assert len(looks) == 1


# bad input


@pytest.mark.parametrize(
    ("model", "example", "message"),
    [
        (torch.relu, X, "must be a torch.nn.Module"),
        (nn.Linear(4, 4), torch.randn(5, 3), "the model fails on the example: RuntimeError: mat1 and mat2"),
        (nn.Linear(4, 4), torch.randn(0, 4), "shape \\(0, 4\\), without elements"),
        (nn.Linear(4, 4), [], "empty list"),
        (nn.Linear(4, 4), 3, "must be a tensor, a tuple"),
        (nn.Linear(4, 4), (X, X), "the model fails on the example: TypeError"),
        (nn.LazyLinear(4), X, "no shape yet"),
        (nn.Linear(4, 4, device="meta"), X, "meta device"),
    ],
)
def test_bad_input_is_one_sentence(model, example, message):
    with pytest.raises(SlafError, match=message) as caught:
        audit(model, example)
    assert "\n" not in str(caught.value)


def test_compiled_and_scripted_models_are_refused():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    with pytest.raises(SlafError, match="before compile"):
        audit(torch.compile(model), X)
    with pytest.raises(SlafError, match="module '0' of the model is compiled"):
        audit(nn.Sequential(torch.compile(model)), X)
    inside = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    inside.compile()
    with pytest.raises(SlafError, match="before compile"):
        audit(inside, X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scripted = torch.jit.script(model)
    with pytest.raises(SlafError, match="ScriptModule"):
        audit(scripted, X)
    found = audit(nn.Sequential(scripted, nn.Tanh()), X)
    assert [s.kind for s in found] == ["tanh"]
    assert found.missed == ("relu in Sequential, called below torch's functions",)
    assert any("ScriptModule" in note for note in found.notes)


# the table


def test_the_table_fits_and_the_data_are_json():
    model, example = models.bert()
    found = audit(model, example)
    lines = str(found).splitlines()
    assert lines[0] == "BertForSequenceClassification: 5 nonlinear calls"
    assert all(len(line) <= 120 for line in lines[:7])
    assert len(lines) >= 7
    data = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert [s["kind"] for s in data["sites"]] == ["attention", "gelu", "attention", "gelu", "tanh"]
    assert found._repr_html_().count("<tr>") == 6


def test_names_from_outside_are_escaped():
    model = nn.Sequential()
    model.add_module("<b>", nn.ReLU())
    assert "&lt;b&gt;" in audit(model, X)._repr_html_()


def test_find_and_slices():
    model, example = models.resnet18()
    found = audit(model, example)
    assert [s.index for s in found.find("layer2.*")] == [5, 6, 7, 8]
    assert len(found.find("relu")) == 17
    assert found[1:3] == tuple(found)[1:3]
    assert found[-1] in found

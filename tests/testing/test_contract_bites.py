"""The contract finds deliberate mistakes: one wrong claim or one broken behaviour of each kind, and the check that must notice."""

import sys
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn

import slaf
from slaf.core import INF, Activation, Elementwise, Facts, NormActivation, Paper, SlafError, activations
from slaf.core.facts import Param
from slaf.testing import Layer, check_activation, check_layer, checks, parametrize_with_checks

# entry, wrong claims, the check that must fail
WRONG = [
    ("sigmoid", {"formula": "1/(1 + exp(-x)) + 1e-9"}, "value_float64"),
    ("sigmoid", {"formula": "1/(1 + exp(-x)) + 1e-9*x"}, "first_derivative"),
    ("sigmoid", {"formula": "1/(1 + exp(-x)) + 1e-9*x**2"}, "second_derivative"),
    ("sigmoid", {"formula": "1/(1 + exp(-x)) + 1e-3"}, "expression"),
    ("silu", {"range": (-0.2784, INF)}, "range"),
    ("silu", {"range": (-0.28, INF)}, "range"),
    ("silu", {"range": (-0.27846454276, INF)}, "range"),
    ("relu", {"range": (0.0, 100.0)}, "range"),
    ("sigmoid", {"range": (0.0, INF)}, "range"),
    ("sigmoid", {"range": (-INF, 1.0)}, "range"),
    ("silu", {"lipschitz": 1.0998}, "lipschitz"),
    ("silu", {"lipschitz": 1.0998393201}, "lipschitz"),
    ("silu", {"lipschitz": 1.11}, "lipschitz"),
    ("silu", {"lipschitz": INF}, "lipschitz"),
    ("hardshrink", {"lipschitz": 1.0}, "lipschitz"),
    ("gelu", {"monotone": "nondecreasing"}, "monotone"),
    ("tanh", {"monotone": "nonincreasing"}, "monotone"),
    ("tanh", {"monotone": "neither"}, "monotone"),
    ("tanh", {"parity": "even"}, "parity"),
    ("tanh", {"parity": "neither"}, "parity"),
    ("sigmoid", {"parity": "odd"}, "parity"),
    ("relu", {"smoothness": 1}, "smoothness"),
    ("relu", {"smoothness": -1}, "smoothness"),
    ("celu", {"smoothness": 0}, "smoothness"),
    ("celu", {"smoothness": 2}, "smoothness"),
    ("hardshrink", {"smoothness": 0}, "smoothness"),
    ("celu", {"smoothness": INF, "kinks": ()}, "smoothness"),
    ("tanh", {"smoothness": 1}, "smoothness"),
    ("tanh", {"kinks": (0.0,)}, "kinks"),
    ("relu6", {"kinks": (0.0,)}, "kinks"),
    ("softsign", {"kinks": ()}, "kinks"),
    ("hardshrink", {"kinks": (0.5,)}, "kinks"),
    ("silu", {"critical_points": ()}, "critical_points"),
    ("silu", {"critical_points": (-1.27846,)}, "critical_points"),
    ("tanhshrink", {"critical_points": ()}, "critical_points"),
    ("silu", {"critical_points": ()}, "bounds"),
    ("relu", {"antiderivative": "max(x, 0)**2/2 + 1e-9*x"}, "antiderivative_claim"),
    ("relu", {"antiderivative": "max(x, 0)**2/2 + 1e-12"}, "antiderivative_claim"),
    ("gelu", {"name": "glue"}, "identity_of_facts"),
    ("gelu", {"summary": ""}, "identity_of_facts"),
    ("gelu", {"paper": Paper("T", "A", 2016, "1606.08415")}, "identity_of_facts"),
]


@pytest.mark.parametrize(("name", "claims", "check"), WRONG, ids=[f"{n}-{c}-{i}" for i, (n, _, c) in enumerate(WRONG)])
def test_a_wrong_claim_fails(name, claims, check, monkeypatch):
    assert check_activation(name, checks=[check]).passed
    entry = activations[name]
    monkeypatch.setattr(entry, "claims", replace(entry.claims, **claims))
    report = check_activation(name, checks=[check])
    assert report[check].status == "failed", report


class Broken(Activation):
    """tanh with mistakes to choose from."""

    facts = Facts("broken")

    def __init__(self, mistake):
        super().__init__()
        self.mistake = mistake
        self.scale = nn.Parameter(torch.ones(()))
        self.register_buffer("calls", torch.zeros(()), persistent=mistake != "forgets")
        self.name = "broken"

    def __repr__(self):
        return f"Broken({self.mistake}, {id(self)})" if self.mistake == "repr" else f"Broken({self.mistake})"

    def __getstate__(self):
        if self.mistake == "unpicklable":
            raise TypeError("cannot pickle")
        return super().__getstate__()

    def reset_parameters(self):
        if self.mistake != "reset":
            with torch.no_grad():
                self.scale.fill_(1)
                self.calls.zero_()

    def forward(self, x):
        y = torch.tanh(x) * self.scale.to(x.dtype) + self.calls.to(x.dtype)
        m = self.mistake
        if m == "shape":
            return y[..., :1]
        if m == "empty":
            return y + x.max() * 0
        if m == "no 0-d":
            return y + 0 * x.sum(-1, keepdim=True) if x.dim() else x[0]
        if m == "strides":
            return torch.tanh(torch.as_strided(x, x.shape, torch.empty(x.shape).stride()))
        if m == "contiguous":
            return y.contiguous()
        if m == "dtype":
            return y.float()
        if m == "writes":
            x.data.mul_(2)
        if m == "mixes":
            return y - 0.1 * y.mean()
        if m == "counts" or (m == "forgets" and self.training):
            self.calls.add_(1)
        if m == "unused":
            return torch.tanh(x)
        if m == "exp":
            return x * torch.tanh(torch.exp(x))
        if m == "where":
            return torch.where(x > 0, x, torch.exp(x) - 1)
        if m == "overflow":
            return torch.sqrt(x * x + 1)
        if m == "rough":
            return torch.tanh(x.bfloat16()).to(x.dtype) if x.dtype == torch.float32 else y
        if m == "first":
            return y.detach() + 0.9 * (x - x.detach())
        if m == "second":
            return torch.tanh(x.detach()) + (1 - torch.tanh(x.detach()) ** 2) * (x - x.detach())
        if m == "branches":
            return y if float(x.detach().sum()) > -1e9 else x
        return y

    def derivative(self, x, order=1):
        return torch.zeros_like(x) if self.mistake == "derivative" else super().derivative(x, order)

    def antiderivative(self, x):
        return torch.cosh(x).log() + (1 if self.mistake == "antiderivative" else 0)

    def second_moment(self):
        return 0.5 if self.mistake == "second moment" else super().second_moment()


MISTAKES = {
    "shape": "construct",
    "reset": "reset_parameters",
    "repr": "pickle_roundtrip",
    "unpicklable": "pickle_roundtrip",
    "forgets": "state_dict_roundtrip",
    "empty": "empty_input",
    "no 0-d": "scalar_input",
    "strides": "noncontiguous_input",
    "contiguous": "channels_last",
    "dtype": "dtype_kept",
    "writes": "input_unchanged",
    "mixes": "evaluation_is_a_function",
    "counts": "evaluation_is_a_function",
    "unused": "training_step",
    "exp": "finite_gradients",
    "where": "finite_gradients",
    "overflow": "finite_values",
    "rough": "value_float32",
    "first": "gradcheck",
    "second": "gradgradcheck",
    "derivative": "derivative_method",
    "antiderivative": "antiderivative_method",
    "second moment": "second_moment",
    "branches": "compile",
}


@pytest.mark.parametrize(("mistake", "check"), MISTAKES.items())
def test_a_mistake_fails(mistake, check):
    assert check_activation(lambda: Broken(""), checks=[check]).passed
    assert check_activation(lambda: Broken(mistake), checks=[check])[check].status == "failed"


@pytest.mark.parametrize("check", ["jvp", "hessian", "vmap", "torch_export", "onnx_float32", "onnx_float16", "autocast", "large_inputs"])
def test_a_mistake_in_a_transform_fails(check):
    class Silent(torch.autograd.Function):
        """A function whose forward-mode derivative is silently zero, and which no transform understands."""

        @staticmethod
        def forward(x):
            return torch.tanh(x).float() if torch.is_autocast_enabled("cpu") else torch.tanh(x)

        @staticmethod
        def setup_context(ctx, inputs, output):
            pass

        @staticmethod
        def backward(ctx, g):  # noqa: ARG004
            return g * float("nan")

        @staticmethod
        def jvp(ctx, t):  # noqa: ARG004
            return t * 0

    class Module(Broken):
        def forward(self, x):
            if check in ("torch_export", "onnx_float32", "onnx_float16"):
                return torch.tanh(x) + 0.1 * torch.compiler.is_compiling()
            return Silent.apply(x)

    assert check_activation(lambda: Module(""), checks=[check])[check].status == "failed"


def test_a_parameter_without_its_gradient_fails():
    class Module(Broken):
        def forward(self, x):
            return torch.tanh(x) * (self.scale + 0.5 * (self.scale.detach() - self.scale)).to(x.dtype)

    assert check_activation(lambda: Module(""), checks=["parameter_gradients"])["parameter_gradients"].status == "failed"


def test_a_gradient_off_its_subgradients_fails():
    class Module(Broken):
        facts = Facts("broken", kinks=(0.0,))

        def forward(self, x):
            return torch.where(x == 0, 3 * x, torch.relu(x))

    assert check_activation(lambda: Module(""), checks=["kink_gradients"])["kink_gradients"].status == "failed"


def _named(name, **overrides):
    """Register a class that breaks a rule about construction."""
    claims = Facts(name, formula="a*x", params={"a": Param(1.0, learnable=True)}, smoothness=INF, kinks=(), summary="s")
    body = {"name": name, "claims": claims, "function": staticmethod(lambda x, a: a * x), "__module__": __name__} | overrides
    entry = type(name, (Elementwise,), body)
    activations.register(name, entry)
    return entry


def _stays_on_cpu(self, **kwargs):
    Elementwise.__init__(self, **kwargs)
    self.register_buffer("table", torch.zeros(3))


def _ignores_dtype(self, **kwargs):
    kwargs.pop("dtype", None)
    Elementwise.__init__(self, **kwargs)


def _swallows(self, no_such_argument=None, **kwargs):  # noqa: ARG001
    Elementwise.__init__(self, **kwargs)


def _forgets_inplace(self, inplace=False, **kwargs):  # noqa: ARG001
    Elementwise.__init__(self, **kwargs)


@pytest.mark.parametrize(
    ("check", "overrides"),
    [
        ("meta_device", {"__init__": _stays_on_cpu}),
        ("factory_arguments", {"__init__": _ignores_dtype}),
        ("unknown_argument", {"__init__": _swallows}),
        ("repr_roundtrip", {"__repr__": lambda self: "relu"}),  # noqa: ARG005
        ("config_roundtrip", {"config": lambda self: {"a": [1.0]}}),  # noqa: ARG005
        ("inplace", {"__init__": _forgets_inplace}),
        ("deepcopy", {"__deepcopy__": lambda self, memo: self}),  # noqa: ARG005
        ("gradient_low_precision", {"function": staticmethod(lambda x, a: a * x if x.dtype == torch.float64 else a * x.detach())}),
        ("value_bfloat16", {"function": staticmethod(lambda x, a: a * x * (1 if x.dtype != torch.bfloat16 else 1.1))}),
        ("value_float16", {"function": staticmethod(lambda x, a: a * x * (1 if x.dtype != torch.float16 else 1.1))}),
        ("lipschitz_on_intervals", {"lipschitz": lambda self, low, high: torch.full_like(low, 0.999)}),  # noqa: ARG005
        ("lipschitz_on_intervals", {"lipschitz": lambda self, low, high: torch.full_like(low, 1.001)}),  # noqa: ARG005
        ("bounds", {"bounds": lambda self, low, high: (low - 1e-6 * (high - low), high)}),  # noqa: ARG005
        ("finite_second_gradients", {"function": staticmethod(lambda x, a: a * x + 1e-30 * torch.exp(-x * x).sqrt())}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_broken_class_fails(check, overrides):
    name = f"broken_{check}"
    _named(name, **overrides)
    try:
        assert check_activation(name, checks=[check])[check].status == "failed"
    finally:
        activations.unregister(name)


class FirstOrder(torch.autograd.Function):
    """tanh, whose gradient takes its slope for a constant."""

    @staticmethod
    def forward(ctx, x):
        ctx.slope = 1 - torch.tanh(x) ** 2
        return torch.tanh(x)

    @staticmethod
    def backward(ctx, g):
        return g * ctx.slope


class BrokenNorm(NormActivation):
    """Standardisation by batch statistics with mistakes to choose from."""

    name = "broken_norm"
    facts = Facts("broken_norm")
    scale_invariant = True

    def __init__(self, mistake):
        super().__init__()
        self.mistake = mistake
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("var", torch.ones(()))

    def forward(self, x):
        m, wide = self.mistake, x if self.mistake == "half" else x.to(torch.float64)
        mean, var = (wide.mean(), wide.var(correction=0)) if self.training else (self.mean.to(wide), self.var.to(wide))
        if self.training and m != "frozen":
            with torch.no_grad():
                self.mean.lerp_(mean.to(self.mean), 0.01)
                self.var.lerp_((2 * var if m == "biased" else var).to(self.var), 0.01)
        if m == "detached":
            mean = mean.detach()
        if m == "first order" and self.training:
            return (FirstOrder.apply((wide - mean) / (var + 1e-6).sqrt())).to(x.dtype)
        y = (wide - mean) / (var + (0 if m == "no eps" else 1e-6)).sqrt()
        if m == "sample" and self.training:
            y = (wide - wide.mean((-1, -2, -3), keepdim=True)) / (1 + var.detach() * 0)
        return (y * (x.abs().mean().to(y) if m == "scale" else 1)).to(x.dtype)

    def reset_parameters(self):
        self.mean.zero_()
        self.var.fill_(1)


NORM_MISTAKES = {
    "sample": "mixing_scope",
    "scale": "scale_invariance",
    "no eps": "constant_input",
    "half": "half_precision",
    "detached": "training_gradcheck",
    "first order": "training_gradgradcheck",
    "frozen": "running_statistics",
    "biased": "running_statistics",
}


@pytest.mark.parametrize(("mistake", "check"), NORM_MISTAKES.items())
def test_a_mistake_of_a_norm_fails(mistake, check):
    assert check_activation(lambda: BrokenNorm(""), checks=[check])[check].status == "passed"
    assert check_activation(lambda: BrokenNorm(mistake), checks=[check])[check].status == "failed"
    assert check_activation("relu", checks=[check])[check].status == "skipped"


@pytest.mark.parametrize("mixes", ["token", "sample", "word"])
def test_a_scope_that_is_too_small_fails(mixes):
    module = type("Narrow", (BrokenNorm,), {"mixes": mixes})
    assert not check_activation(lambda: module(""), checks=["mixing_scope"]).passed


class BrokenLayer(nn.Module):
    """Two outputs of three inputs, with mistakes to choose from."""

    def __init__(self, mistake, dtype=None, device=None):
        super().__init__()
        self.mistake = mistake
        self.weight = nn.Parameter(torch.empty(2, 3, dtype=dtype, device=device))
        self.register_buffer("sign", torch.ones((), device=device), persistent=False)
        self.reset_parameters()

    def reset_parameters(self):
        nn.init.uniform_(self.weight, 0.1, 0.5)
        if self.mistake != "buffer":
            self.sign.fill_(-1)

    def forward(self, x):
        m, weight = self.mistake, self.weight
        if x.shape[-1] != 3 and m != "cuts":
            raise (RuntimeError if m == "another error" else ValueError)("wrong" if m == "no shape" else f"got {tuple(x.shape)}")
        x = x[..., :3]
        if m == "detached" and x.dtype != torch.float64:
            weight = weight.detach()
        if m == "second":
            still = x.detach()
            return (torch.tanh(still) + (1 - torch.tanh(still) ** 2) * (x - still)) @ weight.T * self.sign
        if m == "item":
            weight = weight * (x.detach().abs().max().item() > -1)
        if not x.numel() and m == "nothing":
            return x.new_zeros(0, 2)
        return torch.tanh(x) @ weight.T * self.sign.to(x.dtype)


LAYER_MISTAKES = {
    "detached": "mixed_low_precision",
    "second": "parameter_gradgradcheck",
    "item": "per_sample_gradients",
    "cuts": "wrong_size",
    "another error": "wrong_size",
    "no shape": "wrong_size",
    "nothing": "empty_input",
    "buffer": "meta_device",
}


@pytest.mark.parametrize(("mistake", "check"), LAYER_MISTAKES.items())
def test_a_mistake_of_a_layer_fails(mistake, check):
    x = torch.linspace(-1, 1, 12).reshape(4, 3)
    assert check_layer(partial(BrokenLayer, ""), x, checks=[check])[check].status == "passed"
    assert check_layer(partial(BrokenLayer, mistake), x, checks=[check])[check].status == "failed"


def test_slow_checks_run_when_asked():
    class Module(Broken):
        def forward(self, x):
            return torch.tanh(x) + 0.1 * torch.compiler.is_compiling()

    assert "inductor" not in {r.check for r in check_activation("relu", checks=None).results}
    assert check_activation(lambda: Broken(""), checks=["inductor"])["inductor"].status == "passed"
    assert check_activation(lambda: Module(""), checks=["inductor"])["inductor"].status == "failed"


def test_measurements_are_reported():
    report = check_activation("silu", checks=["bounds"])
    assert report.to_dict()["results"][0]["measured"]["boxes"] == 10_000
    assert 0 < report["bounds"].measured["mean_excess_width"] < 1e-6


def test_every_check_is_shown_to_bite():
    shown = {c for _, _, c in WRONG} | set(MISTAKES.values()) | {"parameter_gradients", "kink_gradients", "inductor"}
    shown |= {*NORM_MISTAKES.values(), *LAYER_MISTAKES.values()}
    for test in (test_a_mistake_in_a_transform_fails, test_a_broken_class_fails):
        (mark,) = (m for m in test.pytestmark if m.name == "parametrize")
        shown |= {v if isinstance(v, str) else v[0] for v in mark.args[1]}
    assert set(checks()) == shown


def test_expected_failures_are_strict():
    ok = check_activation("tanh", xfail={"parity": "a reason"}, checks=["parity"])
    assert ok["parity"].status == "failed"
    assert "remove the xfail" in ok["parity"].message
    void = check_activation("tanh", xfail={"kink_gradients": "a reason"}, checks=["kink_gradients"])
    assert not void.passed
    gap = check_activation(lambda: Broken("second moment"), xfail={"second_moment": "known"}, checks=["second_moment", "construct"])
    assert gap.passed
    assert gap["second_moment"].status == "xfailed"
    assert gap.to_dict()["counts"] == {"passed": 1, "failed": 0, "skipped": 0, "xfailed": 1}
    with pytest.raises(SlafError, match="did you mean 'parity'"):
        check_activation("tanh", xfail={"party": "a reason"})
    with pytest.raises(SlafError, match="unknown check"):
        check_activation("tanh", checks=["nonsense"])


def test_gaps_declared_with_the_facts_are_strict_too(monkeypatch):
    claims = activations["tanh"].claims
    monkeypatch.setattr(activations["tanh"], "claims", replace(claims, parity="even", known_gaps={"parity": "said so"}))
    report = check_activation("tanh", checks=["parity", "monotone"])
    assert report.passed
    assert report["parity"].status == "xfailed"
    (marked,) = (p for p in parametrize_with_checks(["tanh"], checks=["parity"]).mark.args[1])
    assert marked.marks[0].kwargs == {"reason": "said so", "strict": True}
    monkeypatch.setattr(activations["tanh"], "claims", replace(claims, known_gaps={"parity": "said so"}))
    assert "remove the xfail" in check_activation("tanh", checks=["parity"])["parity"].message


def test_few_gaps_are_declared_and_each_has_a_reason():
    gaps = {name: slaf.facts(name).known_gaps for name in slaf.list()}
    declared = [reason for of_entry in gaps.values() for reason in of_entry.values()]
    assert len(declared) < 0.03 * len(gaps)
    assert all(len(reason.split()) > 4 for reason in declared)


def test_a_missing_package_is_named_with_its_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(SlafError, match=r'onnxruntime; install it with: pip install "slaf\[testing\]"'):
        check_activation("relu", checks=["onnx_float32"])


def test_what_can_be_checked():
    module = slaf.make("prelu", num_channels=3)
    before = module.weight.clone()
    report = check_activation(module, checks=["construct", "reset_parameters", "repr_roundtrip", "training_step", "pickle_roundtrip"])
    assert report.passed, report
    assert torch.equal(module.weight, before)
    report = check_activation(nn.ReLU(), checks=["construct", "range", "jvp", "repr_roundtrip"])
    assert [r.status for r in report.results] == ["passed", "skipped", "passed", "skipped"]
    with pytest.raises(SlafError, match=r"nn\.Module"):
        check_activation(lambda: 3)
    report = check_layer(nn.Linear(3, 2), torch.randn(2, 3), checks=["construct", "meta_device", "channels_last", "gradgradcheck"])
    assert [r.status for r in report.results] == ["passed", "skipped", "skipped", "skipped"]
    with pytest.raises(SlafError, match=r"two samples or more of floating point, \(batch, …\); got torch.float32 of shape \(1, 3\)"):
        Layer(nn.Linear(3, 2), torch.randn(1, 3))


def test_parametrize_makes_one_test_per_applicable_check():
    mark = parametrize_with_checks(["relu", "batch_norm(relu)"], xfail={"relu": {"jvp": "a reason"}}).mark
    ids = [p.id for p in mark.args[1]]
    assert "relu-range" in ids
    assert "batch_norm(relu)-range" not in ids
    (marked,) = (p for p in mark.args[1] if p.id == "relu-jvp")
    assert marked.marks[0].kwargs == {"reason": "a reason", "strict": True}
    with pytest.raises(ValueError, match="not among the entries"):
        parametrize_with_checks(["relu"], xfail={"gelu": {"jvp": "a reason"}})


def test_groups_of_checks_name_every_failure_and_keep_declared_gaps_strict():
    class Wrong(slaf.Activation):
        name = "wrong"
        facts = slaf.Facts(
            "wrong", formula="x", monotone="nonincreasing", parity="even", known_gaps={"smoothness": "not claimed, so it cannot fail"}
        )

        def forward(self, x):
            return x * 1.0

    tests = {str(check): (case, check) for case, check in (p.values for p in parametrize_with_checks([Wrong()], groups=True).mark.args[1])}
    case, check = tests["claims"]
    with pytest.raises(AssertionError, match=r"parity: .*") as raised:
        check(case)
    assert "monotone: " in str(raised.value)
    assert "smoothness: declared to fail (not claimed, so it cannot fail), but does not apply" in str(raised.value)
    tests["values"][1](tests["values"][0])

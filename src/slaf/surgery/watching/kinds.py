"""Which callables of torch are which nonlinearity: functions, methods, in-place forms and ATen operators, all found by their name."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from slaf.core import Activation, NormActivation, SlafError, make

__all__ = ["RECURRENT", "Rule", "base_name", "is_batch_norm", "is_inplace", "looks_like", "module_rule", "rule_of", "snake_case"]


@dataclass(frozen=True)
class Rule:
    """A kind of nonlinearity, its group, and the names of a call's arguments after the input."""

    kind: str
    group: str
    arguments: tuple[str, ...] = ()


_ACTIVATIONS: dict[str, tuple[str, ...]] = {
    "relu": (),
    "relu6": (),
    "leaky_relu": ("negative_slope",),
    "elu": ("alpha", "scale", "input_scale"),
    "celu": ("alpha",),
    "selu": (),
    "gelu": ("approximate",),
    "silu": (),
    "mish": (),
    "softplus": ("beta", "threshold"),
    "sigmoid": (),
    "log_sigmoid": (),
    "hardswish": (),
    "hardsigmoid": (),
    "hardtanh": ("min_val", "max_val"),
    "tanh": (),
    "softsign": (),
    "tanhshrink": (),
    "hardshrink": ("lambd",),
    "softshrink": ("lambd",),
    "prelu": ("weight",),
    "rrelu": ("lower", "upper"),
    "threshold": ("threshold", "value"),
    "sine": (),
}
_OTHER_NAMES = {
    "expit": "sigmoid",
    "special_expit": "sigmoid",
    "logsigmoid": "log_sigmoid",
    "log_sigmoid_forward": "log_sigmoid",
    "_threshold": "threshold",
    "_prelu_kernel": "prelu",
    "rrelu_with_noise": "rrelu",
    "sin": "sine",
    "swish": "silu",
}
_SOFTMAX = {
    "softmax": "softmax",
    "_softmax": "softmax",
    "_safe_softmax": "softmax",
    "_masked_softmax": "softmax",
    "special_softmax": "softmax",
    "gumbel_softmax": "softmax",
    "softmin": "softmin",
    "log_softmax": "log_softmax",
    "_log_softmax": "log_softmax",
    "special_log_softmax": "log_softmax",
}
_ATTENTION = {
    "scaled_dot_product_attention",
    "multi_head_attention_forward",
    "flex_attention",
    "_native_multi_head_attention",
    "_transformer_encoder_layer_fwd",
    "_scaled_dot_product_attention_math",
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention",
    "_scaled_dot_product_fused_attention_overrideable",
}
_RECURRENT = {
    **dict.fromkeys(("lstm", "lstm_cell"), "lstm"),
    **dict.fromkeys(("gru", "gru_cell"), "gru"),
    **dict.fromkeys(("rnn_tanh", "rnn_relu", "rnn_tanh_cell", "rnn_relu_cell"), "rnn"),
}
_FUNCTIONS = {
    name: name
    for name in (
        "exp",
        "exp2",
        "expm1",
        "log",
        "log2",
        "log10",
        "log1p",
        "pow",
        "float_power",
        "sqrt",
        "rsqrt",
        "reciprocal",
        "abs",
        "sign",
        "sgn",
        "square",
        "clamp",
        "maximum",
        "minimum",
        "fmax",
        "fmin",
        "erf",
        "erfc",
        "erfinv",
        "erfcx",
        "cos",
        "tan",
        "sinh",
        "cosh",
        "asin",
        "acos",
        "atan",
        "atan2",
        "asinh",
        "acosh",
        "atanh",
        "floor",
        "ceil",
        "round",
        "trunc",
        "frac",
        "sinc",
        "i0",
        "i0e",
        "i1",
        "i1e",
        "logit",
        "logaddexp",
        "logaddexp2",
        "logsumexp",
        "digamma",
        "lgamma",
        "ndtr",
        "ndtri",
        "log_ndtr",
        "xlogy",
        "xlog1py",
        "heaviside",
        "hypot",
        "fmod",
        "remainder",
        "cosine_similarity",
        "normalize",
    )
} | {
    "rpow": "pow",
    "rdiv": "reciprocal",
    "rtruediv": "reciprocal",
    "absolute": "abs",
    "clip": "clamp",
    "clamp_min": "clamp",
    "clamp_max": "clamp",
    **{f"arc{name}": f"a{name}" for name in ("cos", "sin", "tan", "tan2", "cosh", "sinh", "tanh")},
    **{f"special_{name}": name for name in ("erf", "erfc", "exp2", "expm1", "log1p", "sinc", "i0", "logit", "logsumexp", "ndtr", "round")},
}
_FUNCTION_ARGUMENTS = {"clamp": ("min", "max"), "pow": ("exponent",), "normalize": ("p", "dim")}


def _table() -> dict[str, Rule]:
    rules = {name: Rule(name, "activation", names) for name, names in _ACTIVATIONS.items() if name != "sine"}
    rules |= {name: Rule(kind, "activation", _ACTIVATIONS[kind]) for name, kind in _OTHER_NAMES.items()}
    rules |= {name: Rule(kind, "softmax", ("dim",)) for name, kind in _SOFTMAX.items()}
    rules |= {name: Rule("attention", "attention") for name in _ATTENTION}
    rules |= {name: Rule(kind, "function") for name, kind in _RECURRENT.items()}
    rules |= {name: Rule(kind, "function", _FUNCTION_ARGUMENTS.get(kind, ())) for name, kind in _FUNCTIONS.items()}
    return {**rules, "glu": Rule("glu", "glu", ("dim",))}


_RULES = _table()
RECURRENT = frozenset(_RECURRENT.values())
"""Kinds of group "function" that are layers with nonlinearities inside, so they are always listed."""


def base_name(function: Any) -> str:
    """``"relu"`` for ``F.relu``, ``torch.relu_``, ``Tensor.relu_``, ``aten.relu_.default``; ``"pow"`` for ``Tensor.__pow__``."""
    schema = getattr(function, "_schema", None)
    name = schema.name.rpartition("::")[2] if schema is not None else str(getattr(function, "__name__", ""))
    if name.startswith("__") and name.endswith("__"):
        return "pow" if name == "__ipow__" else name[2:-2]
    return name[:-1] if name.endswith("_") and name != "_" else name


def is_inplace(function: Any, keywords: Mapping[str, Any]) -> bool:
    """Whether a call writes its result over its input."""
    schema = getattr(function, "_schema", None)
    name = schema.name if schema is not None else str(getattr(function, "__name__", ""))
    return bool(keywords.get("inplace")) or (name.endswith("_") and not name.endswith("__")) or name == "__ipow__"


def rule_of(function: Any, args: Sequence[Any] = (), keywords: Mapping[str, Any] | None = None) -> tuple[Rule, dict[str, Any]] | None:
    """What a call of a torch function is, and its other arguments by name; ``None``: no nonlinearity."""
    name = base_name(function)
    rule = _RULES.get(name)
    if rule is None:
        return None
    arguments = _arguments(rule, args, keywords or {})
    return _special(name, rule, arguments), arguments


def _arguments(rule: Rule, args: Sequence[Any], keywords: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that say which function it is: plain values, and a tensor by its shape."""
    if rule.group == "attention" or rule.kind in RECURRENT:
        return {}
    named = dict(zip(rule.arguments, args[1:], strict=False))
    named |= {k: v for k, v in keywords.items() if k in rule.arguments}
    return {k: _plain(v) for k, v in named.items() if v is not None}


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.item() if value.numel() == 1 and value.device.type != "meta" else f"tensor{list(value.shape)}"
    return value if isinstance(value, (bool, int, float, str)) else str(value)


def _special(name: str, rule: Rule, arguments: dict[str, Any]) -> Rule:
    """Which activation it is where the arguments decide: the two GELUs, and the clamps that are relu and relu6."""
    if rule.kind == "gelu":
        return Rule("gelu_tanh", rule.group, rule.arguments) if arguments.get("approximate") == "tanh" else rule
    if rule.kind == "clamp":
        if name == "clamp_min":
            arguments |= {"min": arguments.get("min", 0)}
        elif name == "clamp_max" and "min" in arguments:
            arguments["max"] = arguments.pop("min")
        low, high = arguments.get("min"), arguments.get("max")
        kind = "relu" if low == 0 and high is None else "relu6" if (low, high) == (0, 6) else "clamp"
        return rule if kind == "clamp" else Rule(kind, "activation", rule.arguments)
    if rule.kind == "hardtanh" and (arguments.get("min_val"), arguments.get("max_val")) == (0, 6):
        return Rule("relu6", "activation", rule.arguments)
    return rule


_CLASS_KINDS = {
    "relu": "ReLU",
    "relu6": "ReLU6",
    "leaky_relu": "LeakyReLU",
    "rrelu": "RReLU",
    "prelu": "PReLU",
    "elu": "ELU",
    "celu": "CELU",
    "selu": "SELU",
    "gelu": "GELU",
    "silu": "SiLU",
    "log_sigmoid": "LogSigmoid",
    **{kind: kind.capitalize() for kind in ["threshold", "sigmoid", "hardsigmoid", "tanh", "mish", "hardswish", "hardshrink"]},
    **{kind: kind.capitalize() for kind in ["softplus", "softshrink", "softsign", "tanhshrink", "hardtanh"]},
}
_OTHER_CLASSES = {
    "GLU": Rule("glu", "glu", ("dim",)),
    "Softmax": Rule("softmax", "softmax", ("dim",)),
    "Softmax2d": Rule("softmax", "softmax"),
    "Softmin": Rule("softmin", "softmax", ("dim",)),
    "LogSoftmax": Rule("log_softmax", "softmax", ("dim",)),
    "MultiheadAttention": Rule("attention", "attention"),
    **{name: Rule(name.removesuffix("Cell").lower(), "function") for name in ("LSTM", "LSTMCell", "GRU", "GRUCell", "RNN", "RNNCell")},
}
_CLASSES: dict[type[nn.Module], Rule] = {
    **{getattr(nn, name): _RULES[kind] for kind, name in _CLASS_KINDS.items()},
    **{getattr(nn, name): rule for name, rule in _OTHER_CLASSES.items()},
}


def module_rule(module: nn.Module) -> tuple[Rule, dict[str, Any]] | None:
    """What a module is as a whole, and its options: one of slaf's, or of torch's own classes with its own forward; ``None``: neither."""
    if isinstance(module, (Activation, NormActivation)):
        return Rule(module.name, "activation"), {k: _plain(v) for k, v in module.config().items()}
    known = next((c for c in type(module).__mro__ if c in _CLASSES), None)
    if known is None or type(module).forward is not known.forward:
        return None
    rule = _CLASSES[known]
    names = ("num_parameters",) if rule.kind == "prelu" else rule.arguments
    arguments = {name: _plain(value) for name in names if (value := getattr(module, name, None)) is not None}
    return (_special("", rule, arguments) if rule.group == "activation" else rule), arguments


def is_batch_norm(module: nn.Module) -> bool:
    """Whether a module is one of torch's batch norms, with torch's own forward: other forwards may activate, too."""
    return isinstance(module, nn.modules.batchnorm._BatchNorm) and type(module).forward in _NORM_FORWARDS


_NORM_FORWARDS = (nn.modules.batchnorm._BatchNorm.forward, nn.SyncBatchNorm.forward)


def looks_like(function: Callable[[Tensor], Tensor]) -> str | None:
    """The registered activation at default parameters that ``function`` is, to single precision, from -100 to 100; ``None``: none."""
    from slaf.fit import identify

    try:
        found = identify(function, count=1)
    except SlafError:
        return None
    if found.max_difference > 2e-6:
        return None
    known = make(found.name).eval()
    for dtype in (torch.float64, torch.float32):
        x = torch.linspace(-100, 100, 2001, dtype=dtype)  # a clipped function shows far out
        try:
            with torch.no_grad():
                same = torch.allclose(function(x), known.to(dtype)(x), rtol=2e-6, atol=2e-6, equal_nan=True)
            return found.name if same else None
        except RuntimeError:
            continue
    return None


def snake_case(name: str) -> str:
    """``NewGELUActivation`` as ``new_gelu_activation``, ``ScaledReLU`` as ``scaled_relu``."""
    name = re.sub(r"(?<=[a-z])LU", "lu", name)  # ReLU, SiLU and the like are one word
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()

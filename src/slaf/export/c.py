"""A C99 header of activations: no includes, no tables to load, constants that read back exactly."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from slaf.core import Activation, Elementwise, NormActivation, SlafError, Spec, make
from slaf.core.writing import whole_file
from slaf.fit import Folded, fold

from .c_folded import folded_code
from .c_learned import learned_code
from .c_text import Code, check_name, comment, unique_name
from .capture import copied
from .exported import Exported, slaf_version

__all__ = ["export_c"]

INTERVAL = (-8.0, 8.0)
EXACT = 4e-7
"""Proven error, relative to the interval's ends, up to which a form with the pieces that the kinks make counts as the function itself."""


def export_c(
    model: nn.Module,
    path: Path,
    example: Any = None,  # one interface
    check: bool = True,
    *,
    name: str | None = None,
    to_form: str | None = None,
    interval: tuple[float, float] | None = None,
    tolerance: float | None = None,
    degree: int | None = None,
    pieces: int | None = None,
    outside: str | None = None,
    breakpoints: str | None = None,
    site: int | None = None,
    input_scale: float | None = None,
    input_zero: int | None = None,
    output_scale: float | None = None,
    output_zero: int | None = None,
) -> Exported:
    """Write an activation, or every activation module of a model, as functions ``static inline float name(float x)``.

    Folded activations, rationals, polynomials and uniform splines are written as they are; a second argument ``int channel`` chooses
    where channels differ. Every other activation, and any with one of the options below, is folded first, by default to pieces on
    [-8, 8]. Each function's comment states the formula, the interval, the behaviour outside and a proven bound of the error.

    Args:
        name: of the function, ``slaf_<activation>`` by default; for a model, what the functions' names begin with before the
            module's path, ``slaf`` by default.
        to_form: ``to`` of :func:`slaf.fit.fold`, by default ``"piecewise_linear"``.
        interval, tolerance, degree, pieces, outside, breakpoints, site, input_scale, input_zero, output_scale, output_zero: as there.

    Raises:
        SlafError: as :func:`slaf.fit.fold`; a name that C cannot have; a model without activations.
    """
    given = locals()
    if name is not None:
        check_name(name)
    options = {k: given[k] for k in _OPTIONS if given[k] is not None}
    model = copied(model)
    functions: dict[str, Code] = {}
    alike: dict[str, str] = {}
    left_out: list[str] = []
    if isinstance(model, Activation):
        _add(functions, alike, name or unique_name(f"slaf_{model.name}", ()), _code(model, options))
    elif isinstance(model, NormActivation):
        raise SlafError(f"{model.name} mixes elements, so it is no function of one number that a C header could hold")
    else:
        for at, module in _activations(model, left_out):
            _add(functions, alike, unique_name(f"{name or 'slaf'}_{at}", [*functions, *alike]), _code(module, options, at))
    if not functions:
        why = f" ({'; '.join(left_out)})" if left_out else ""
        raise SlafError(f"model has no activation module that could be written in C{why}")
    content = _header(path, functions, alike, left_out).encode("ascii")
    with whole_file(path) as temporary:
        temporary.write_bytes(content)
    bounds = {n: c.bound for n, c in functions.items()} | {n: functions[same].bound for n, same in alike.items()}
    return Exported(path=path, format="c", size=len(content), functions=bounds)


_OPTIONS = (
    "to_form",
    "interval",
    "tolerance",
    "degree",
    "pieces",
    "outside",
    "breakpoints",
    "site",
    "input_scale",
    "input_zero",
    "output_scale",
    "output_zero",
)


def _add(functions: dict[str, Code], alike: dict[str, str], name: str, code: Code) -> None:
    """Under its own name, or as another name of a function that is the same."""
    same = next((other for other, known in functions.items() if known == code), None)
    if same is None:
        functions[name] = code
    else:
        alike[name] = same


def _activations(model: nn.Module, left_out: list[str]) -> Iterator[tuple[str, Activation]]:
    """The activation modules by path, each once; those inside another activation belong to it."""
    inside: list[str] = []
    for at, module in model.named_modules():
        if any(at.startswith(f"{outer}.") for outer in inside):
            continue
        if isinstance(module, NormActivation):
            left_out.append(f"{at}: {module.name} mixes elements")
            inside.append(at)
            continue
        found = module if isinstance(module, Activation) else _torch_activation(module)
        if found is not None:
            inside.append(at)
            yield at, found


def _torch_activation(module: nn.Module) -> Activation | None:
    """One of torch's own modules as the activation that it is."""
    from slaf.surgery.watching.kinds import module_rule

    rule = module_rule(module)
    if rule is None or rule[0].group != "activation" or isinstance(module, nn.Identity):  # a shortcut, or what dropout became
        return None
    kind, arguments = rule[0].kind, rule[1]
    if not isinstance(module, nn.PReLU):
        arguments.pop("approximate", None)  # the two GELUs have names of their own
        return cast(Activation, make(Spec(kind, (), {} if kind == "relu6" else arguments)))
    out = make("prelu", num_channels=None if module.num_parameters == 1 else module.num_parameters)
    out.load_state_dict(module.state_dict())
    return cast(Activation, out)


def _code(module: Activation, options: dict[str, Any], at: str = "") -> Code:
    try:
        if not options:
            own = folded_code(module) if isinstance(module, Folded) else learned_code(module)
            if own is not None:
                return own
        return _folded(module, options)
    except SlafError as error:
        raise SlafError(f"{at}: {error}" if at else str(error)) from error


def _folded(module: Activation, options: dict[str, Any]) -> Code:
    chosen = {"interval": INTERVAL} | options
    to = chosen.pop("to_form", "piecewise_linear")
    sites = 1
    if "site" not in chosen:
        sites = module.curves(torch.zeros(1, dtype=next(module.parameters(), torch.zeros(0)).dtype)).shape[1]
    if sites == 1:
        return folded_code(_exact(module, to, chosen) or fold(module, to, **chosen))
    return _several([folded_code(_folded_site(module, i, to, chosen)) for i in range(sites)])


def _folded_site(module: Activation, site: int, to: str, options: dict[str, Any]) -> Folded:
    if not isinstance(module, Elementwise) or module.sharing is None:
        return fold(module, to, **options, site=site)
    # with numbers in place of parameters, which the proof is quick about
    values = {n: float(module.sharing.per_site(p.detach())[site]) for n, p in module.named_parameters()}
    fixed = {n: getattr(module, n) for n in module.claims.params if n not in values}
    own = type(module)(**fixed)
    with torch.no_grad():
        for name, parameter in own.named_parameters():
            parameter.fill_(values[name])
    return _exact(own, to, options) or fold(own, to, **options)


def _exact(module: Activation, to: str, options: dict[str, Any]) -> Folded | None:
    """With no more pieces than the kinks make, where that is the function itself, as it is for ReLU."""
    if to != "piecewise_linear" or {"pieces", "tolerance", "breakpoints"} & set(options) or not module.facts.kinks:
        return None
    low, high = options["interval"]
    found = fold(module, to, pieces=1 + sum(low < k < high for k in module.facts.kinks), **options)
    return found if found.error_bound <= EXACT * max(abs(low), abs(high)) else None


def _several(codes: list[Code]) -> Code:
    """One function of ``channel`` over the functions of the channels."""
    names: dict[Code, int] = {}
    for code in codes:
        names.setdefault(code, len(names))
    before = [line for code, i in names.items() for line in (*code.text(f"{{name}}_{i}").split("\n"), "")]
    last = names[codes[-1]]
    cases = [f"case {channel}: return {{name}}_{names[code]}(x);" for channel, code in enumerate(codes) if names[code] != last]
    body = ("switch (channel) {", *cases, f"default: return {{name}}_{last}(x);", "}")
    told = (codes[0].told[0], f"channel: 0 to {len(codes) - 1}; each has a function of its own above.")
    return Code(told, body, max(code.bound for code in codes), len(codes), tuple(before))


def _header(path: Path, functions: dict[str, Code], alike: dict[str, str], left_out: list[str]) -> str:
    guard = f"{unique_name(path.name, ()).upper()}_INCLUDED"
    about = [
        f"Activation functions, written by slaf {slaf_version()}.",
        "C99 without includes. The stated errors hold for IEEE single precision, not with options such as -ffast-math.",
        *(f"Left out: {each}." for each in left_out),
    ]
    same = []
    for name, other in alike.items():
        parameters, passed = ("float x", "x") if functions[other].sites == 1 else ("float x, int channel", "x, channel")
        same.append(f"/* The same as {other}. */\nstatic inline float {name}({parameters})\n{{\n    return {other}({passed});\n}}")
    parts = [comment(about), f"#ifndef {guard}\n#define {guard}", *(c.text(n) for n, c in functions.items()), *same, "#endif"]
    return "\n\n".join(parts) + "\n"

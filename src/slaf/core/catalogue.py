"""The catalogue of activations: ``make``, ``names``, ``facts`` and ``register`` over one registry."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from torch import nn

from .errors import SlafError
from .facts import Facts
from .registry import Registry, bind
from .spec import Spec, parse

__all__ = ["activations", "canonical", "facts", "make", "names", "register"]

activations: Registry[type[nn.Module]] = Registry("activation")
# the rooms are above this one: named by the package, not imported
activations.scan(*import_module("slaf").ACTIVATION_ROOMS)


def make(spec: str | Spec | nn.Module, **context: Any) -> nn.Module:
    """Build an activation from a string such as ``"gelu"`` or ``"slaf(degree=5, share=channel)"``.

    Args:
        spec: a name or ``name(arg, key=value, …)``; an ``nn.Module`` is returned as it is.
        context: what the place knows, such as ``num_channels=64``, ``channel_dim=-1``, ``inplace=True``, ``device``, ``dtype``;
            each is used where the activation takes it and the string does not say otherwise.

    Raises:
        SlafError: an unknown name or argument (the nearest valid one is suggested), or a value that is not allowed.

    Example:
        >>> slaf.make("leaky_relu(negative_slope=0.2)")
        leaky_relu(negative_slope=0.2)
    """
    if isinstance(spec, nn.Module):
        return spec
    parsed = spec if isinstance(spec, Spec) else parse(spec)
    known = ("num_channels", "num_features", "groups", "channel_dim", "share", "inplace", "device", "dtype")
    for name in context:
        if name not in known:
            raise SlafError(f"make has no argument {name!r}; it takes {', '.join(known)}")
    factory = activations[parsed.name]
    claims = getattr(factory, "claims", None)
    if isinstance(claims, Facts):  # the family's own parameters are behind **params
        return _make_elementwise(factory, claims, parsed, context)
    return bind(factory, parsed.args, parsed.kwargs, context, parsed.name)


def canonical(spec: str) -> str:
    """The one spelling of an activation string: aliases resolved, spaces and number formats normalised."""
    parsed = parse(spec)
    return str(Spec(activations.canonical(parsed.name), parsed.args, parsed.kwargs))


_SIZES = ("num_channels", "num_features", "groups", "channel_dim", "share")


def _make_elementwise(factory: Any, claims: Facts, parsed: Spec, context: dict[str, Any]) -> nn.Module:
    names = list(claims.params)
    learnable = any(p.learnable for p in claims.params.values())
    if len(parsed.args) > len(names):
        raise SlafError(f"{parsed.name} takes at most {len(names)} positional arguments; got {len(parsed.args)}")
    given = dict(zip(names, parsed.args, strict=False))
    twice = next((n for n in given if n in parsed.kwargs), None)
    if twice:
        raise SlafError(f"{parsed.name}: argument {twice!r} is given twice")
    if not learnable:
        context = {k: v for k, v in context.items() if k not in _SIZES}
        stray = next((k for k in parsed.kwargs if k in _SIZES), None)
        if stray:
            takes = ", ".join(names) or "none"
            raise SlafError(f"{parsed.name} has no argument {stray!r}: it has no learnable parameters; it takes {takes}")
    return factory(**(context | given | parsed.kwargs))


def names() -> list[str]:
    """The names of all registered activations, sorted, without aliases."""
    return activations.names()


def facts(name: str) -> Facts:
    """The claims about an activation at the parameters of the string ``name``, e.g. ``facts("elu(alpha=2.0)")``."""
    parsed = parse(name)
    claims = getattr(activations[parsed.name], "claims", None)
    if isinstance(claims, Facts) and not parsed.args and not parsed.kwargs:
        return claims.at()
    if isinstance(claims, Facts):
        return make(parsed).facts  # type: ignore[return-value]
    return activations[parsed.name].describe()  # type: ignore[attr-defined]


def register(name: str, factory: type[nn.Module], aliases: tuple[str, ...] = ()) -> type[nn.Module]:
    """Register a class of activations of your own under ``name``, so that ``make``, the contract and ``slaf compare`` find it.

    Raises:
        SlafError: the name is no identifier or is taken.
    """
    activations.names()  # built-in entries come first, so that a clash is reported here
    return activations.register(name, factory, aliases)

"""An activation from a formula that somebody typed, its parameters fixed or learned."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from slaf.core import INF, Elementwise, Facts, Param, SlafError, Spec, activations, nearest
from slaf.core.formula import CONSTANTS, FUNCTIONS, Node, read_formula
from slaf.core.formula_torch import compile_formula

__all__ = ["FormulaActivation", "from_formula"]

_KINKED = ("where", "max", "min", "abs", "sign", "floor", "sqrt", "asin", "acos", "acosh", "atanh", "log", "log1p", "tan", "div", "pow")


class FormulaActivation(Elementwise):
    """f(x) as the formula says; every other name in it is a parameter.

    Args:
        formula: in ``x`` and the parameters' names, with + - * / **, comparisons in ``where(condition, a, b)``, and the functions of
            :data:`slaf.core.formula.FUNCTIONS`. It is read by a parser of our own; nothing is evaluated as Python.
        trainable: the names of the parameters that are learned: one name, several, or ``True`` for all.
        parameters: the (initial) value of every parameter.
        num_channels, share, groups, num_features, channel_dim: for learned parameters, see :class:`slaf.core.Sharing`.
        inplace: refused: backward needs the input.

    Shapes: any input; the output has its shape and dtype. Half types compute inside in float32. A second derivative may be NaN where an
    intermediate result exceeds the square root of the largest number.

    Raises:
        SlafError: a formula that cannot be read (with the position), a name without a value, or one that is not in the formula.

    Example:
        >>> slaf.make("formula('x*sigmoid(beta*x)', beta=1.5, trainable=beta)")
        formula('x*sigmoid(beta*x)', beta=1.5, trainable=beta)
    """

    name = "formula"

    def __init__(
        self,
        formula: str = "x",
        trainable: bool | str | Iterable[str] = (),
        *,
        num_channels: int | None = None,
        share: str | None = None,
        groups: int | None = None,
        num_features: int | tuple[int, ...] | None = None,
        channel_dim: int = 1,
        inplace: bool = False,
        device: Any = None,
        dtype: torch.dtype | None = None,
        **parameters: float,
    ) -> None:
        for name, value in parameters.items():
            if hasattr(Elementwise, name) or name in ("training", "x", "text", "claims"):
                raise SlafError(f"formula cannot have a parameter called {name!r}: the module uses this name itself; choose another")
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise SlafError(f"formula: {name} must be a number; got {value!r}")
        missing = _without_value(formula, parameters)
        if missing:
            raise SlafError(f"formula {formula!r}: the parameter {missing!r} has no value; give one, such as {missing}=1.0")
        tree = read_formula(formula, ("x", *parameters))
        used = _names(tree)
        unused = next((n for n in parameters if n not in used), None)
        if unused is not None:
            raise SlafError(f"formula {formula!r} has no parameter {unused!r}{nearest(unused, used - {'x', 'pi', 'inf'})}")
        self.text, self._trainable = formula, _chosen(trainable, parameters)
        self.claims = Facts(
            name="formula",
            formula=formula,
            params={n: Param(float(v), learnable=n in self._trainable) for n, v in parameters.items()},
            smoothness=None if _has(tree, _KINKED) else INF,
            kinks=None if _has(tree, _KINKED) else (),
            tags=("learnable",) if self._trainable else (),
            summary=_SUMMARY,
        )
        sizes = {"num_channels": num_channels, "share": share, "groups": groups, "num_features": num_features, "channel_dim": channel_dim}
        super().__init__(**(sizes if self._trainable else {}), inplace=inplace, device=device, dtype=dtype)  # type: ignore[arg-type]
        self._function = compile_formula(self.text, ("x", *self.claims.params))

    def forward(self, x: Tensor) -> Tensor:
        return self._function(x, **self.parameters_at(x))

    def config(self) -> dict[str, Any]:
        shared = {k: v for k, v in super().config().items() if k not in self.claims.params}
        trained = {"trainable": self._trainable if len(self._trainable) > 1 else self._trainable[0]} if self._trainable else {}
        return {"formula": self.text} | {n: p.default for n, p in self.claims.params.items()} | trained | shared

    def spec(self) -> Spec:
        config = self.config()
        return Spec(self.name, (config.pop("formula"),), config)

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in super().__getstate__().items() if k != "_function"}  # a closure; made again from the text

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._function = compile_formula(self.text, ("x", *self.claims.params))

    @staticmethod
    def describe() -> Facts:
        """What is known of the family: each formula makes its own claims."""
        return Facts(name="formula", tags=("learnable",), summary=_SUMMARY)


_SUMMARY = "Any formula in x that you type, its parameters fixed or learned."


def from_formula(formula: str, trainable: bool | str | Iterable[str] | Mapping[str, float] = (), **options: Any) -> FormulaActivation:
    """An activation from a formula: ``from_formula("x*sigmoid(beta*x)", trainable={"beta": 1.0})``.

    ``trainable`` names the learned parameters, or gives them with their initial values; everything else is as in
    :class:`FormulaActivation`, and so are the errors.
    """
    if isinstance(trainable, Mapping):
        return FormulaActivation(formula, tuple(trainable), **{**trainable, **options})
    return FormulaActivation(formula, trainable, **options)


def _chosen(trainable: bool | str | Iterable[str], parameters: Mapping[str, float]) -> tuple[str, ...]:
    if isinstance(trainable, bool):
        return tuple(parameters) if trainable else ()
    names = (trainable,) if isinstance(trainable, str) else tuple(trainable)
    for name in names:
        if name not in parameters:
            values = f"give its initial value: {name}=1.0" if isinstance(name, str) and name.isidentifier() else "it is no name"
            raise SlafError(f"trainable names {name!r}, which has no value; {values}{nearest(str(name), parameters)}")
    return names


def _without_value(formula: object, parameters: Mapping[str, float]) -> str | None:
    """The first name in the text that is neither x, a constant, a function's nor a parameter's, if it does not look like a mistyped one."""
    text = formula if isinstance(formula, str) else ""
    for name in re.findall(r"(?<![\w.])[A-Za-z_]\w*(?!\w|\s*\()", text):
        if name not in parameters and name != "x" and name not in CONSTANTS and name not in FUNCTIONS:
            return str(name)
    return None


def _names(node: Node) -> set[str]:
    return {node.value} if node.kind == "name" else set().union(*(_names(a) for a in node.args))


def _has(node: Node, kinds: tuple[str, ...]) -> bool:
    """Whether a function that may have kinks is applied to something that varies (a division by a number has none)."""
    varies = node.constant is None
    harmless = (
        node.kind in ("div", "pow") and node.args[1].constant is not None and (node.kind == "div" or node.args[1].constant in range(65))
    )
    return (varies and node.kind in kinds and not harmless) or any(_has(a, kinds) for a in node.args)


activations.register(FormulaActivation.name, FormulaActivation)

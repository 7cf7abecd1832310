"""``expand``: a network of linear layers and polynomial activations, in evaluation, as one explicit multivariate polynomial."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import fx, nn

from slaf.core import Activation, NormActivation, SlafError

from .multivariate import Array, Multivariate, compose, count_monomials, grow, multiply

__all__ = ["expand"]

_PASS = (nn.Identity, nn.Dropout, nn.AlphaDropout, nn.Flatten)
_ADD, _SUBTRACT, _MULTIPLY = (operator.add, torch.add), (operator.sub, torch.sub), (operator.mul, torch.mul)


class _Tracer(fx.Tracer):
    """Keeps activations and torch's own layers whole."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, (Activation, NormActivation)) or super().is_leaf_module(m, module_qualified_name)


@dataclass
class _Value:
    """A vector of polynomials on its way through the graph; ``rows`` is None while only sizes are planned."""

    features: int
    degree: int
    rows: Array | None = None


def expand(model: nn.Module, in_features: int | None = None, max_monomials: int = 250_000) -> Multivariate:
    """Write a polynomial network (an SLNN in evaluation mode) as an explicit polynomial of its inputs.

    Linear layers, polynomial activations (``slaf`` without squash), batch norm in evaluation, sums, differences and products of
    branches are followed; dropout and flatten change nothing. Coefficients are computed in extended precision and returned in float64.

    Args:
        model: takes (n, N) to (n, outputs); must be in evaluation mode.
        in_features: N; read from the first linear layer if not given.
        max_monomials: refuse beyond this size, before memory is taken.

    Raises:
        SlafError: a layer is not polynomial (the first is named), the model is in training mode, or the polynomial is too large
            (the predicted number of monomials C(N + D, D) is stated).

    Source: Goyal, Goyal, Lall (2019), arXiv:1906.09529: L layers of degree k give total degree at most k^L.
    """
    if any(m.training for m in model.modules()):
        raise SlafError("expand needs a model in evaluation mode; call model.eval() first")
    graph = _trace(model)
    if in_features is None:
        in_features = next((m.in_features for m in model.modules() if isinstance(m, nn.Linear)), None)
        if in_features is None:
            raise SlafError("expand finds no linear layer to read the number of inputs from; pass in_features")
    plan = _Walk(model, graph, in_features, None)
    result = plan.run()
    count = count_monomials(in_features, plan.widest)
    if count > max_monomials:
        size = count * plan.rows * np.dtype(np.longdouble).itemsize / 2**30
        raise SlafError(
            f"the polynomial has up to {count} monomials (degree {plan.widest} in {in_features} inputs, about {size:.3g} GiB while "
            f"it is built), over max_monomials={max_monomials}"
        )
    start = np.zeros((in_features, in_features + 1), dtype=np.longdouble)
    start[np.arange(in_features), _unit_places(in_features)] = 1
    result = _Walk(model, graph, in_features, start).run()
    assert result.rows is not None
    return Multivariate(result.rows.astype(np.float64), in_features, result.degree)


def _unit_places(variables: int) -> Array:
    from .multivariate import rank

    return rank(np.eye(variables, dtype=np.int64))


def _trace(model: nn.Module) -> fx.Graph:
    try:
        root = nn.Sequential(model) if isinstance(model, (nn.Linear, Activation)) else model
        return _Tracer().trace(root)
    except (fx.proxy.TraceError, TypeError) as problem:
        raise SlafError(f"expand cannot follow the model's forward: {problem}") from None


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


class _Walk:
    """Runs a graph on vectors of polynomials; with ``start=None`` only on their sizes and degrees."""

    def __init__(self, model: nn.Module, graph: fx.Graph, in_features: int, start: Array | None) -> None:
        self.modules = dict((nn.Sequential(model) if isinstance(model, (nn.Linear, Activation)) else model).named_modules())
        self.graph, self.in_features, self.start = graph, in_features, start
        self.widest = 1
        self.rows = 1

    def run(self) -> _Value:
        values: dict[fx.Node, Any] = {}
        for node in self.graph.nodes:
            arguments = fx.node.map_arg(node.args, lambda n: values[n])
            if node.op == "output":
                result = arguments[0]
                if not isinstance(result, _Value):
                    raise SlafError("expand needs a model that returns one tensor")
                return result
            values[node] = self._step(node, arguments)
            value = values[node]
            self.widest, self.rows = max(self.widest, value.degree), max(self.rows, value.features)
        raise SlafError("expand finds no output in the model")

    def _step(self, node: fx.Node, arguments: Any) -> _Value:
        if node.op == "placeholder":
            return _Value(self.in_features, 1, self.start)
        if node.op == "call_module":
            return self._module(str(node.target), self.modules[str(node.target)], arguments[0])
        if node.op == "call_function":
            for functions, rule in ((_ADD, self._sum), (_SUBTRACT, self._difference), (_MULTIPLY, self._product)):
                if node.target in functions and not node.kwargs:
                    return rule(*arguments)
            if node.target in (operator.neg, torch.neg):
                return self._product(arguments[0], -1.0)
            if node.target is torch.flatten:
                return arguments[0]
        if node.op == "call_method" and node.target == "flatten":
            return arguments[0]
        raise SlafError(f"expand: {node.name!r}, a call of {getattr(node.target, '__name__', node.target)}, is not polynomial")

    def _module(self, path: str, module: nn.Module, value: _Value) -> _Value:
        if isinstance(module, nn.Linear):
            if module.in_features != value.features:
                raise SlafError(f"expand: layer {path!r} takes {module.in_features} features; it meets {value.features}")
            return self._affine(value, module.weight, module.bias, module.out_features)
        if isinstance(module, nn.BatchNorm1d) and module.running_mean is not None and module.running_var is not None:
            scale = (module.running_var.double() + module.eps).rsqrt()
            scale = scale if module.weight is None else scale * module.weight.double()
            shift = -module.running_mean.double() * scale
            return self._affine(value, torch.diag(scale), shift if module.bias is None else shift + module.bias.double(), value.features)
        if isinstance(module, _PASS) or getattr(module, "name", None) == "identity":
            return value
        if hasattr(module, "polynomial"):
            try:
                return self._activation(value, module.polynomial())  # type: ignore[operator]
            except SlafError as reason:
                raise SlafError(f"expand: layer {path!r} is not polynomial: {reason}") from None
        raise SlafError(f"expand: layer {path!r}, {module!r}, is not polynomial; it takes linear layers and slaf with squash=none")

    def _affine(self, value: _Value, weight: torch.Tensor, bias: torch.Tensor | None, features: int) -> _Value:
        if value.rows is None:
            return _Value(features, value.degree)
        rows = weight.detach().double().cpu().numpy().astype(np.longdouble) @ value.rows
        if bias is not None:
            rows[:, 0] += bias.detach().double().cpu().numpy()
        return _Value(features, value.degree, rows)

    def _activation(self, value: _Value, polynomials: Any) -> _Value:
        degree = value.degree * polynomials.degree
        if value.rows is None:
            return _Value(value.features, degree)
        powers = np.broadcast_to(polynomials.powers().cpu().numpy().astype(np.longdouble), (value.features, polynomials.degree + 1))
        inner = value.rows.copy()
        inner[:, 0] -= polynomials.center.cpu().numpy()
        inner *= polynomials.rscale.cpu().numpy()[:, None]
        return _Value(value.features, degree, compose(powers, inner, value.degree, self.in_features))

    def _sum(self, left: Any, right: Any) -> _Value:
        return self._combine(left, right, np.add)

    def _difference(self, left: Any, right: Any) -> _Value:
        return self._combine(left, right, np.subtract)

    def _combine(self, left: Any, right: Any, rule: Callable[[Array, Array], Array]) -> _Value:
        left, right = self._lift(left, right), self._lift(right, left)
        degree = max(left.degree, right.degree)
        if left.rows is None or right.rows is None:
            return _Value(left.features, degree)
        rows = rule(grow(left.rows, self.in_features, degree), grow(right.rows, self.in_features, degree))
        return _Value(left.features, degree, rows)

    def _product(self, left: Any, right: Any) -> _Value:
        left, right = self._lift(left, right), self._lift(right, left)
        degree = left.degree + right.degree
        if left.rows is None or right.rows is None:
            return _Value(left.features, degree)
        return _Value(left.features, degree, multiply(left.rows, left.degree, right.rows, right.degree, self.in_features))

    def _lift(self, value: Any, other: Any) -> _Value:
        """A plain number becomes a constant polynomial of the other operand's size."""
        if isinstance(value, _Value):
            return value
        if not _number(value) or not isinstance(other, _Value):
            raise SlafError(f"expand: an operand of type {type(value).__name__} is not polynomial")
        rows = None if other.rows is None else np.full((other.features, 1), value, dtype=np.longdouble)
        return _Value(other.features, 0, rows)

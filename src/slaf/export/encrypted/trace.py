"""From a model in evaluation mode to a :class:`~slaf.surgery.circuits.Network`; what has no encrypted form is refused by name."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from slaf.bases.polynomial import POWERS, Polynomials
from slaf.core import Activation, NormActivation, SlafError
from slaf.core.errors import blame
from slaf.export.capture import copied
from slaf.surgery.circuits import Affine, Network, Polynomial, Product
from slaf.surgery.frozen import FrozenBatchNorm

__all__ = ["read"]

_AFFINE = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, FrozenBatchNorm)
_SAME = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout, nn.Flatten, nn.Unflatten)
_SAME_CALLS = (torch.flatten, torch.reshape, torch.squeeze, torch.unsqueeze, F.dropout, F.dropout2d)
_SAME_METHODS = ("flatten", "reshape", "view", "squeeze", "unsqueeze", "contiguous", "clone", "detach")
_AFFINE_CALLS = (F.avg_pool1d, F.avg_pool2d, F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, torch.mean, operator.neg, torch.neg)
_ADD, _SUBTRACT, _MULTIPLY = (operator.add, operator.iadd, torch.add), (operator.sub, torch.sub), (operator.mul, torch.mul)
_POWER = (operator.pow, torch.pow)
_KNOWN = "linear, convolution, average pooling, batch norm, flatten, sums, products and polynomial activations have one"
_CHUNK = 1 << 24
"""Numbers at a time while the columns of a linear map are read off."""


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, (Activation, NormActivation, FrozenBatchNorm)) or super().is_leaf_module(m, module_qualified_name)


def read(model: nn.Module, example: Tensor) -> Network:
    """The network that ``model`` computes in evaluation mode on images like ``example`` (n, …).

    Raises:
        SlafError: the model cannot be followed, fails on the example, or a layer has no encrypted form.
    """
    module = copied(model).double()
    root = nn.Sequential(module) if _Tracer().is_leaf_module(module, "") else module
    try:
        graph = _Tracer().trace(root)
    except Exception as error:
        raise SlafError(f"model cannot be followed to its layers: {blame(error)}") from error
    reader = _Reader(fx.GraphModule(root, graph))
    try:
        with torch.no_grad():
            output = reader.run(example[:1].double().expand(2, *example.shape[1:]))
    except SlafError:
        raise
    except Exception as error:
        raise SlafError(f"model fails on the example: {blame(error)}") from error
    if not isinstance(output, Tensor):
        raise SlafError("model must return one tensor to run encrypted")
    network = Network(tuple(example.shape[1:]), tuple(output.shape[1:]), reader.steps)
    if reader.last != len(reader.steps):  # the output is not what was made last
        reader.steps.append(_identity(reader.last, network.features[reader.last]))
    return network.merged()


def _identity(source: int, size: int) -> Affine:
    return Affine("identity", (source,), np.arange(size + 1), np.arange(size), np.ones(size), np.zeros(size))


class _Reader(fx.Interpreter):
    """Runs the graph on two images and writes one step for every node that changes values."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.extra_traceback = False
        self.steps: list[Affine | Polynomial | Product] = []
        self.tensors: dict[fx.Node, int] = {}
        self.last = 0

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if n.op == "placeholder":
            if self.tensors:
                raise SlafError("model must take one tensor to run encrypted")
            self.tensors[n] = 0
        elif n.op == "output":
            result = n.args[0]
            if not isinstance(result, fx.Node) or result not in self.tensors:
                raise SlafError("model must return one tensor that it computes from its input")
            self.last = self.tensors[result]
        elif n.op != "get_attr" and isinstance(value, Tensor) and self._inputs(n):
            self.tensors[n] = self._step(n, value)
        return value

    def _inputs(self, n: fx.Node) -> list[fx.Node]:
        return [a for a in n.all_input_nodes if a in self.tensors]

    def _step(self, n: fx.Node, out: Tensor) -> int:
        inputs = self._inputs(n)
        source, x = self.tensors[inputs[0]], self.env[inputs[0]]
        if n.op == "call_module":
            step = self._module(n, source, x)
        elif n.op == "call_method":
            step = self._method(n, source, x)
        else:
            step = self._function(n, source, x, inputs)
        if step is None:
            if out.shape[:1] != x.shape[:1] or not torch.equal(out.reshape(-1), x.reshape(-1)):
                raise self._refused(n, f"where it makes {list(out.shape)} of {list(x.shape)} with other values or another batch")
            return source
        self.steps.append(step)
        return len(self.steps)

    def _module(self, n: fx.Node, source: int, x: Tensor) -> Affine | Polynomial | Product | None:
        module: Any = self.submodules[str(n.target)]
        if isinstance(module, _SAME):
            return None
        norm = isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None
        if isinstance(module, _AFFINE) or norm:
            return _affine(str(n.target), source, module, x)
        if isinstance(module, Activation):
            return _polynomial(str(n.target), source, module, x)
        raise self._refused(n)

    def _method(self, n: fx.Node, source: int, x: Tensor) -> Affine | None:
        if n.target in _SAME_METHODS:
            return None
        if n.target == "mean":
            options: Any = (n.args[1:], n.kwargs)
            return _affine(n.name, source, lambda t: t.mean(*options[0], **options[1]), x)
        raise self._refused(n)

    def _function(self, n: fx.Node, source: int, x: Tensor, inputs: list[fx.Node]) -> Affine | Polynomial | Product | None:
        target: Any = n.target
        if target in _SAME_CALLS:
            return None
        if target in _AFFINE_CALLS:
            args, kwargs = n.args[1:], n.kwargs
            return _affine(n.name, source, lambda t: target(t, *args, **kwargs), x)
        if n.kwargs:
            raise self._refused(n, "with keyword arguments")
        if target in (*_ADD, *_SUBTRACT) and sum(isinstance(a, fx.Node) and a in self.tensors for a in n.args) == 2:
            return self._sum(n, -1.0 if target in _SUBTRACT else 1.0)
        if target in _MULTIPLY and len(inputs) == 2:
            return self._product(n, inputs)
        if target is torch.square or (target in _MULTIPLY and n.args == (inputs[0], inputs[0])):
            return _power(n.name, source, 2, x)
        if target in _POWER and isinstance(n.args[1], int) and n.args[1] > 0:
            return _power(n.name, source, n.args[1], x)
        if target in (*_ADD, *_SUBTRACT, *_MULTIPLY, operator.truediv, torch.div) and len(inputs) == 1 and n.args.count(inputs[0]) == 1:
            fixed = [None if a is inputs[0] else self.env[a] if isinstance(a, fx.Node) else a for a in n.args]
            if not (target in (operator.truediv, torch.div) and fixed[0] is not None):
                return _affine(n.name, source, lambda t: target(*(t if a is None else a for a in fixed)), x)
        raise self._refused(n)

    def _sum(self, n: fx.Node, sign: float) -> Affine:
        pair: Any = n.args[:2]
        first, second = (self.env[i] for i in pair)
        if first.shape != second.shape:
            raise self._refused(n, "of tensors of two shapes")
        size = first[0].numel()
        sources = tuple(self.tensors[i] for i in pair)
        columns = np.stack([np.arange(size), size + np.arange(size)], 1).reshape(-1)
        return Affine(n.name, sources, 2 * np.arange(size + 1), columns, np.tile([1.0, sign], size), np.zeros(size))

    def _product(self, n: fx.Node, inputs: list[fx.Node]) -> Product:
        left, right = (self.env[i] for i in inputs)
        if left.shape != right.shape:
            raise self._refused(n, "of tensors of two shapes")
        return Product(n.name, (self.tensors[inputs[0]], self.tensors[inputs[1]]), left[0].numel())

    def _refused(self, n: fx.Node, why: str = "") -> SlafError:
        what: Any = n.target
        if n.op == "call_module":
            where, what = f"{n.target} ", type(self.submodules[str(n.target)]).__name__
        else:
            where, what = "", what if isinstance(what, str) else getattr(what, "__name__", str(what))
        pooled = "; average pooling takes its place" if "max" in what.lower() and "pool" in what.lower() else ""
        return SlafError(f"{where}({what}) has no encrypted form{' ' * bool(why)}{why}; {_KNOWN}{pooled}")


def _affine(name: str, source: int, f: Callable[[Tensor], Tensor], x: Tensor) -> Affine:
    """The columns f(e_i) - f(0) of a map that is known to be affine in one image."""
    zero = f(torch.zeros_like(x[:1]))[0].reshape(-1)
    size, shape = x[0].numel(), x.shape[1:]
    step = max(1, _CHUNK // max(size + len(zero), 1))
    entries: list[tuple[Tensor, Tensor]] = []
    for start in range(0, size, step):
        unit = torch.zeros(min(step, size - start), size, dtype=x.dtype)
        unit[torch.arange(len(unit)), start + torch.arange(len(unit))] = 1
        columns = f(unit.reshape(-1, *shape)).reshape(len(unit), -1) - zero
        i, o = columns.nonzero(as_tuple=True)
        entries.append((torch.stack([o, i + start]), columns[i, o]))
    where, values = torch.cat([e[0] for e in entries], 1), torch.cat([e[1] for e in entries])
    matrix = torch.sparse_coo_tensor(where, values, (len(zero), size), check_invariants=False)
    return Affine.of(name, (source,), matrix, zero.numpy())


def _power(name: str, source: int, exponent: int, x: Tensor) -> Polynomial:
    p = Polynomials(torch.eye(exponent + 1, dtype=torch.float64)[-1:], torch.zeros(1), torch.ones(1), POWERS)
    return _of_polynomials(name, source, p, np.zeros(x[0].numel(), dtype=np.int64), ranged=False)


def _polynomial(name: str, source: int, act: Any, x: Tensor) -> Polynomial:
    ranged = hasattr(act, "polynomial")
    try:
        p = act.polynomial() if ranged else _symbolic(act)
    except SlafError as error:
        raise SlafError(f"{name} ({act.name}) has no encrypted form: {error}") from error
    rows = len(p.coefficients)
    layout = act.sharing.shape(x, rows) if rows > 1 else (1,) * x.dim()
    index = torch.arange(rows).reshape(layout).expand(1, *x.shape[1:]).reshape(-1)
    half_width = getattr(getattr(act, "basis", None), "half_width", 1.0)
    return _of_polynomials(name, source, p.in_chebyshev(half_width), index.numpy(), ranged)


def _symbolic(act: Any) -> Polynomials:
    """Of a closed form that is a polynomial, such as ``square``."""
    import sympy

    x = sympy.Symbol("x", real=True)
    form = act.expression()
    poly = form.as_poly(x) if form.is_polynomial(x) else None
    if poly is None or not all(c.is_number for c in poly.all_coeffs()):
        raise SlafError("it is not a polynomial; slaf.polynomialize makes it one")
    c = torch.tensor([[float(v) for v in reversed(poly.all_coeffs())]], dtype=torch.float64)
    return Polynomials(c, torch.zeros(1), torch.ones(1), POWERS)


def _of_polynomials(name: str, source: int, p: Polynomials, index: Any, ranged: bool) -> Polynomial:
    p = p.in_chebyshev()
    return Polynomial(name, source, p.coefficients.numpy(), p.center.double().numpy(), p.rscale.double().numpy(), index, ranged)

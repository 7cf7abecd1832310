"""What a model computes with, read off its exported graph: whatever is no addition, multiplication or linear map; and the degree."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from slaf.core import SlafError
from slaf.core.errors import blame
from slaf.surgery.frozen import FrozenPolynomial

__all__ = ["Flow", "Step", "called", "names", "nonpolynomial_operations"]


def names(text: str) -> frozenset[str]:
    """The words of ``text``."""
    return frozenset(text.split())


_PRODUCTS = names("add sub rsub mul square matmul mm bmm mv dot addmm addbmm baddbmm addmv linear bilinear einsum addcmul")
"""Polynomial in all of their arguments together."""
_SUMS = names("add sub rsub")
_PLUS_PRODUCT = names("addmm addbmm baddbmm addmv addcmul")
"""The first argument plus the product of the others."""
_LINEAR = names(
    "conv1d conv2d conv3d convolution conv_transpose1d conv_transpose2d conv_transpose3d neg div mean sum cumsum avg_pool1d avg_pool2d "
    "avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d view reshape _unsafe_view view_as expand expand_as permute "
    "transpose t numpy_T movedim swapaxes squeeze unsqueeze flatten unflatten cat concat stack hstack vstack slice select narrow split "
    "split_with_sizes chunk unbind constant_pad_nd pad reflection_pad1d reflection_pad2d replication_pad1d replication_pad2d clone "
    "contiguous alias detach lift_fresh_copy index index_select roll flip tril triu masked_fill repeat repeat_interleave pixel_shuffle "
    "pixel_unshuffle channel_shuffle upsample_nearest1d upsample_nearest2d upsample_bilinear2d upsample_linear1d unfold im2col col2im copy "
    "diagonal"
)
"""Linear in their first argument, or list of them, if no other depends on the input."""
_CONSTANT = names("zeros_like ones_like full_like empty_like new_zeros new_ones new_full new_empty _assert_tensor_metadata")
"""Whatever the values are."""


@dataclass(frozen=True)
class Step:
    """One operation on what depends on the input; a call of a frozen polynomial is one.

    Attributes:
        node: the operation, of a polynomial the first one.
        operands: of each argument that depends on the input, once for every use, the step that makes it; -1 for an input.
        first: whether the first argument is among them.
        path: of the frozen polynomial, else None.
    """

    node: fx.Node
    operands: tuple[int, ...]
    first: bool
    path: str | None = None

    @property
    def plus_product(self) -> bool:
        """Whether it adds its first argument, which depends on the input, to a product of others."""
        return self.first and len(self.operands) > 1 and called(self.node) in _PLUS_PRODUCT


class Flow:
    """The exported graph of a model in evaluation mode, and which of its nodes depend on the input.

    Raises:
        SlafError: the model cannot be exported: its way depends on the data, or it fails on the example.
    """

    def __init__(self, model: nn.Module, example: Any) -> None:
        args, kwargs = _arguments(example)
        flags = [(m, m.training) for m in model.modules()]
        try:
            with torch.no_grad():
                program = torch.export.export(model.eval(), args, kwargs, strict=False)
        except Exception as problem:
            raise SlafError(f"the model has no graph of operations that is the same for all inputs: {blame(problem)}") from problem
        finally:
            for module, flag in flags:
                module.training = flag
        self.sites = {path: m for path, m in model.named_modules() if isinstance(m, FrozenPolynomial)}
        given = set(program.graph_signature.user_inputs)
        self.nodes = list(program.graph.nodes)
        self.inputs = {n for n in self.nodes if n.op == "placeholder" and n.name in given}
        self.dependent = set(self.inputs)
        for n in self.nodes:
            if n.op == "call_function" and called(n) not in _CONSTANT and any(a in self.dependent for a in n.all_input_nodes):
                self.dependent.add(n)

    def steps(self) -> Iterator[fx.Node]:
        """The operations on what depends on the input."""
        return (n for n in self.nodes if n.op == "call_function" and n in self.dependent)

    def left(self) -> tuple[str, ...]:
        """See :func:`nonpolynomial_operations`."""
        return tuple(dict.fromkeys(f"{_where(n)}: {called(n)}" for n in self.steps() if not _allowed(n, self.dependent)))

    def calls(self) -> list[Step]:
        """The steps, with every call of a frozen polynomial as one; those before come first."""
        return self._calls()[0]

    def results(self) -> list[int]:
        """Of each output that depends on the input, the step that makes it."""
        made = self._calls()[1]
        return [made[a] for a in self.nodes[-1].all_input_nodes if a in made]

    def _calls(self) -> tuple[list[Step], dict[fx.Node, int]]:
        out: list[Step] = []
        made: dict[fx.Node, int] = dict.fromkeys(self.inputs, -1)
        calls: dict[Any, int] = {}
        for n in self.steps():
            path, call = next(((p, tuple(n.meta["nn_module_stack"])) for p, _ in _modules(n) if p in self.sites), (None, None))
            if call in calls:
                made[n] = calls[call]
                continue
            operands = [a for value in (*n.args, *n.kwargs.values()) for a in _nodes(value) if a in self.dependent]
            first = bool(n.args) and any(a in self.dependent for a in _nodes(n.args[0]))
            made[n] = len(out)
            if path is not None:
                calls[call] = len(out)
            out.append(Step(n, tuple(made[a] for a in operands), first, path))
        return out, made

    def degree(self) -> int:
        """The total degree in the input, at most: frozen polynomials compose, products add."""
        found: list[int] = []
        for step in self.calls():
            found.append(self._degree(step, [1 if i < 0 else found[i] for i in step.operands]))
        return max(found, default=1)

    def _degree(self, step: Step, given: list[int]) -> int:
        name = called(step.node)
        if step.path is not None:
            return max(given) * self.sites[step.path].degree
        if step.plus_product:
            return max(given[0], sum(given[1:]))
        if name == "square":
            return 2 * given[0]
        if name == "pow":
            return int(step.node.args[1]) * given[0]  # type: ignore[arg-type]
        return sum(given) if name in _PRODUCTS - _SUMS else max(given)


def nonpolynomial_operations(model: nn.Module, example: Any) -> tuple[str, ...]:
    """Every operation of the exported model that is no addition, multiplication or linear map, with the module that makes it.

    None for a network that is a polynomial of its input: one that homomorphic encryption and multi-party computation can run.

    Args:
        model: in evaluation mode for the export; left as it is.
        example: what the model is exported with: a tensor, a tuple of arguments or a dict of keyword arguments.

    Returns:
        ``"layer1.0.act (GELU): gelu"``, one a module and operation, in the order of the data.

    Raises:
        SlafError: the model cannot be exported.
    """
    return Flow(model, example).left()


def _arguments(example: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(example, Tensor):
        return (example,), {}
    return (example, {}) if isinstance(example, tuple) else ((), dict(example))


def called(n: fx.Node) -> str:
    """The operator's name, without overload and underscores of in-place and private forms."""
    packet = getattr(n.target, "overloadpacket", n.target)
    name = str(getattr(packet, "__name__", packet))
    return name[:-1] if name.endswith("_") else name


def _modules(n: fx.Node) -> list[tuple[str, str]]:
    """Path and class of the modules that make the call, the outermost first."""
    stack = n.meta.get("nn_module_stack") or {}
    return [(path, kind.rsplit(".", 1)[-1] if isinstance(kind, str) else kind.__name__) for path, kind in stack.values()]


def _where(n: fx.Node) -> str:
    path, kind = (_modules(n) or [("", "model")])[-1]
    return f"{path} ({kind})" if path else kind


def _allowed(n: fx.Node, dependent: set[fx.Node]) -> bool:
    name = called(n)
    if name == "getitem" or name in _PRODUCTS:
        return True
    rest = [a for value in (*n.args[1:], *n.kwargs.values()) for a in _nodes(value)]
    if any(a in dependent for a in rest):
        return False
    if name in _LINEAR:
        return not (name == "div" and n.kwargs.get("rounding_mode"))
    if name == "pow":
        exponent = n.args[1] if len(n.args) > 1 else None
        return n.args[0] in dependent and isinstance(exponent, (int, float)) and exponent == int(exponent) >= 0
    if name in ("to", "_to_copy", "type_as"):
        value = n.meta.get("val")
        return isinstance(value, Tensor) and value.is_floating_point()
    if name in ("batch_norm", "native_batch_norm", "_native_batch_norm_legit_no_training", "dropout", "feature_dropout", "alpha_dropout"):
        return name.startswith("_") or not n.args[2 if "dropout" in name else 5]
    return False


def _nodes(value: Any) -> list[fx.Node]:
    found: list[fx.Node] = []
    fx.node.map_arg(value, found.append)
    return found

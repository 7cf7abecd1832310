"""A model as a ``torch.export`` program: what the ONNX graph and the saved program are made of."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from slaf.core import SlafError, one_of
from slaf.core.errors import blame
from slaf.core.exporting import quiet

from .example import Example, examples
from .exported import Difference, difference

__all__ = ["Captured", "capture", "compared", "copied"]

SAMPLES = (3, 5)
"""Batch sizes of the check, beside the example's own."""


@dataclass(frozen=True)
class Captured:
    """The program, a copy of the model in evaluation mode on the CPU, and what they are compared on.

    Attributes:
        names: of the inputs, as ``forward`` has them.
        shapes: of the dynamic dimensions, as torch's exporters take them; None where all are fixed.
    """

    program: ExportedProgram
    model: Any
    inputs: list[Example]
    names: tuple[str, ...]
    shapes: Any

    @property
    def dynamic(self) -> bool:
        """Whether the batch size is free."""
        return self.shapes is not None

    def checks(self) -> list[Example]:
        """The examples, and random inputs like them: in other batch sizes too where that is free."""
        generator = torch.Generator().manual_seed(0)
        out = list(self.inputs)
        for size in SAMPLES if self.dynamic else (None,):
            out += [(e if size is None else e.resized(size)).like(generator) for e in self.inputs]
        return out


def capture(model: nn.Module | ExportedProgram, example: Any, dynamic: str | None) -> Captured:
    """Export a copy of ``model``, in evaluation mode on the CPU; the model stays as it is.

    Raises:
        SlafError: there is no example, it does not fit, the model fails on it, or torch cannot export the model.
    """
    free = dynamic is not None and bool(one_of("dynamic", dynamic, ("batch",)))
    if isinstance(model, ExportedProgram):
        return _of_program(model, example)
    if example is None:
        raise SlafError("example is needed: a tensor, a tuple of arguments or a dict of keyword arguments that the model is called with")
    module = copied(model)
    named = [each.named(module) for each in examples(example)]
    inputs, values = [each for each, _ in named], named[0][1]
    first = inputs[0]
    _check_runs(module, inputs)
    free = free and first.batch is not None
    if free and first.batch == 1:  # torch.export takes a 1 for a constant
        first = first.resized(2)
        values = first.named(module)[1]
    shapes = _shapes(first, values) if free else None
    try:
        with quiet(), torch.no_grad(), torch.random.fork_rng(devices=[]):
            program = torch.export.export(module, first.args, first.kwargs, dynamic_shapes=shapes, strict=False)
    except Exception as error:
        how = "with a free batch size (dynamic=None fixes it)" if free else "by torch.export"
        raise SlafError(f"model cannot be exported {how}: {blame(error)}") from error
    return Captured(program, module, inputs, _input_names(values), shapes)


def copied(model: nn.Module) -> nn.Module:
    """A copy in evaluation mode on the CPU."""
    try:
        return copy.deepcopy(model).cpu().eval()
    except Exception as error:
        raise SlafError(f"model cannot be copied: {blame(error)}") from error


def _check_runs(model: nn.Module, inputs: list[Example]) -> None:
    for each in inputs:
        try:
            with torch.random.fork_rng(devices=[]):
                found = each.call(model)
        except Exception as error:
            raise SlafError(f"model fails on the example: {blame(error)}") from error
        if not found:
            raise SlafError("model must return a tensor, or some in a tuple or dict")


def _of_program(program: ExportedProgram, example: Any) -> Captured:
    if example is None:
        given = program.example_inputs
        if given is None:
            raise SlafError("example is needed: the program was saved without its example inputs")
        inputs = [Example(tuple(given[0]), dict(given[1]))]
    else:
        inputs = examples(example)
    names = tuple(program.graph_signature.user_inputs)
    shapes: Any = {} if program.range_constraints else None
    return Captured(program, program.module(), inputs, tuple(str(n) for n in names), shapes)


def _shapes(example: Example, values: dict[str, Any]) -> dict[str, Any]:
    batch = torch.export.Dim("batch")

    def free(leaf: Any) -> Any:
        return {0: batch} if isinstance(leaf, Tensor) and example.is_batched(leaf) else None

    return {name: pytree.tree_map(free, value) for name, value in values.items()}


def _input_names(values: dict[str, Any]) -> tuple[str, ...]:
    out: list[str] = []
    for name, value in values.items():
        count = sum(isinstance(leaf, Tensor) for leaf in pytree.tree_leaves(value))
        out += [name] if isinstance(value, Tensor) else [f"{name}_{i}" for i in range(count)]
    return tuple(out)


def compared(run: Any, captured: Captured) -> Difference:
    """How far ``run(example)``, a list of tensors, is from the model on all of :meth:`Captured.checks`.

    Raises:
        SlafError: it returns another number of tensors, or other shapes or dtypes.
    """
    worst = Difference()
    for example in captured.checks():
        with torch.random.fork_rng(devices=[]):
            wanted = example.call(captured.model)
        got = run(example)
        if [(t.shape, t.dtype) for t in got] != [(t.shape, t.dtype) for t in wanted]:
            shown = [", ".join(f"{t.dtype}{list(t.shape)}" for t in some) for some in (got, wanted)]
            raise SlafError(f"the exported model returns {shown[0]} where the model returns {shown[1]}")
        for a, b in zip(got, wanted, strict=True):
            worst = worst.worst(difference(a, b))
    return worst

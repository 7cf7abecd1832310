"""A network's circuit with a few features in place of each tensor's: what costs levels is the same, and it takes no time to schedule.

Each channel has two features. A layer that mixes features becomes a band of two entries, an average the two features of a channel, what
acts feature by feature a diagonal; a polynomial keeps those of its channels that decide how it can be evaluated.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from slaf.bases.polynomial import POWERS, Polynomials
from slaf.core import SlafError
from slaf.surgery.circuits import Affine, Network, Polynomial, Product, count, schedule

from .operations import Flow, Step, called, names

__all__ = ["levels", "multiplicative_depth", "outline"]

_GENERAL, _OTHER = 0.71, 0.43
"""Two numbers that are neither equal nor whole."""
_MIXING = names(
    "linear conv1d conv2d conv3d convolution conv_transpose1d conv_transpose2d conv_transpose3d matmul mm bmm mv dot addmm addbmm baddbmm "
    "addmv bilinear einsum upsample_bilinear2d upsample_linear1d"
)
_READS_ROWS = names("linear conv1d conv2d conv3d convolution")
_SCALES = names("mul div batch_norm native_batch_norm _native_batch_norm_legit_no_training addcmul")
_SUMS = names("add sub rsub")
_AVERAGES = names("mean avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d")


def levels(flow: Flow) -> int:
    """Rescalings on the longest path once constants are where they cost least: what ``export.encrypted`` needs."""
    network = outline(flow).merged()
    return count(schedule(network), network.features[0]).levels


def multiplicative_depth(model: nn.Module, example: Any) -> int:
    """Levels that a network of additions, multiplications and linear maps needs: what a ``Program`` of ``export.encrypted`` counts.

    One for every product of two values that depend on the input, and for every product with a number that is no small integer, on the
    longest path, once the constants are moved to where they cost least. Linear layers that follow one another are one; averages, batch
    norms and the leading coefficients of polynomials of degree 2, 4, 8, … cost none where a linear layer beside them takes their factors.

    Args:
        model: in evaluation mode for the export; left as it is.
        example: what the model is exported with: a tensor, a tuple of arguments or a dict of keyword arguments.

    Raises:
        SlafError: the model cannot be exported, or has operations without a polynomial form, by name.
    """
    flow = Flow(model, example)
    if left := flow.left():
        raise SlafError(f"the model has operations without a polynomial form: {', '.join(left)}; exchange or remove them first")
    return levels(flow)


def outline(flow: Flow) -> Network:
    """The circuit of ``flow``."""
    chosen = {path: _deciding(site.polynomial().in_chebyshev()) for path, site in flow.sites.items()}
    size = 2 * max([1, *(len(p.coefficients) for p in chosen.values())])
    out = _Outline(size, chosen)
    places: list[int] = []
    for step in flow.calls():
        places.append(out.add(step, [0 if i < 0 else places[i] for i in step.operands]))
    results = [0 if i < 0 else places[i] for i in flow.results()]
    if results != [len(out.steps)]:
        out.affine("output", tuple(results), [torch.eye(size, dtype=torch.float64)] * len(results))
    return Network((size,), (size,), out.steps)


def _deciding(p: Polynomials) -> Polynomials:
    """The rows with the extremes of degree, of coefficients over the leading one, of scale and of shift."""
    size, degrees = p.coefficients.abs(), torch.arange(p.degree + 1)
    degree = torch.where(size > 0, degrees, 0).amax(1)
    lead = size.gather(1, degree[:, None])[:, 0].clamp(min=torch.finfo(torch.float64).tiny)
    rows = {int(t.argmax()) for t in (degree, size.amax(1) / lead, p.rscale, -p.rscale, (p.center * p.rscale).abs())}
    kept = torch.tensor(sorted(rows))
    return Polynomials(p.coefficients[kept], p.center[kept], p.rscale[kept], p.recurrence)


class _Outline:
    """Steps as they are made; :meth:`add` gives the place of what an operation makes."""

    def __init__(self, size: int, polynomials: dict[str, Polynomials]) -> None:
        self.size, self.polynomials = size, polynomials
        self.steps: list[Affine | Polynomial | Product] = []
        self.eye = torch.eye(size, dtype=torch.float64)
        self.next = self.eye.roll(1, 1)
        self.pairs = torch.block_diag(*[torch.ones(2, 2, dtype=torch.float64)] * (size // 2))

    def add(self, step: Step, given: list[int]) -> int:
        """The step of one operation on tensors ``given``; of one that changes no value, what it is given."""
        name = called(step.node)
        if step.path is not None:
            return self.polynomial(name, given[0], self.polynomials[step.path])
        if name in ("square", "pow"):
            return self.power(name, given[0], 2 if name == "square" else int(step.node.args[1]))  # type: ignore[arg-type]
        if name in _AVERAGES:
            return self.affine(name, (given[0],), [self._average(step.node)])
        if len(given) > 1:
            return self._together(step, name, given)
        if name in _MIXING:
            whole = name in _READS_ROWS and _reads_one(step.node)
            return self.affine(name, (given[0],), [_GENERAL * self.eye + (0 if whole else _OTHER) * self.next])
        if name in _SCALES:
            factor = _constant(step.node)
            return self.affine(name, (given[0],), [(_GENERAL if factor is None or name == "div" else factor) * self.eye])
        if name in ("sum", "cumsum"):
            return self.affine(name, (given[0],), [self.pairs])
        if name in _SUMS or name == "neg":
            return self.affine(name, (given[0],), [-self.eye if name in ("neg", "rsub") else self.eye])
        return given[0]

    def _together(self, step: Step, name: str, given: list[int]) -> int:
        """What is made of several tensors, or of one in several places."""
        if name == "mul" and given[0] == given[1]:
            return self.power(name, given[0], 2)
        factors = given[1:] if step.plus_product else given
        if name not in _MIXING | _SCALES or len(factors) == 1:
            sign = -1.0 if name in ("sub", "rsub") else 1.0
            return self.affine(name, tuple(given), [self.eye] + [sign * self.eye] * (len(given) - 1))
        place = factors[0]
        for other in factors[1:]:
            self.steps.append(Product(name, (place, other), self.size))
            place = len(self.steps)
        return self.affine(name, (given[0], place), [self.eye, self.eye]) if step.plus_product else place

    def affine(self, name: str, sources: tuple[int, ...], matrices: list[Tensor]) -> int:
        self.steps.append(Affine.of(name, sources, torch.cat(matrices, 1), np.ones(self.size)))
        return len(self.steps)

    def power(self, name: str, source: int, exponent: int) -> int:
        if exponent < 2:
            return source
        p = Polynomials(torch.eye(exponent + 1, dtype=torch.float64)[-1:], torch.zeros(1), torch.ones(1), POWERS)
        return self.polynomial(name, source, p.in_chebyshev())

    def polynomial(self, name: str, source: int, p: Polynomials) -> int:
        index = np.arange(self.size) // 2 % len(p.coefficients)
        c, center, rscale = (t.cpu().double().numpy() for t in (p.coefficients, p.center, p.rscale))
        self.steps.append(Polynomial(name, source, c, center, rscale, index))
        return len(self.steps)

    def _average(self, n: Any) -> Tensor:
        """Rows of two equal entries; of several sizes where windows of several sizes overlap."""
        sizes = torch.full((self.size, 1), 0.5, dtype=torch.float64)
        if _windows_differ(n):
            sizes[1::2] = 1 / 3
        return sizes * self.pairs


def _constant(n: Any) -> float | None:
    """The number that a tensor is multiplied by, where the graph has it."""
    return next((float(a) for a in n.args if isinstance(a, (int, float)) and not isinstance(a, bool)), None)


def _reads_one(n: Any) -> bool:
    """Whether every feature that a layer makes reads a single one."""
    weight = n.args[1].meta.get("val") if len(n.args) > 1 and hasattr(n.args[1], "meta") else None
    return isinstance(weight, Tensor) and weight[0].numel() == 1


def _windows_differ(n: Any) -> bool:
    """Whether windows that overlap have several sizes, so that no factor of the inputs makes all of them plain sums."""
    name = called(n)
    if name.startswith("adaptive"):
        before, after = (tuple(v.meta["val"].shape) for v in (n.args[0], n))
        return any(len({-(-(i + 1) * b // a) - i * b // a for i in range(a)}) > 1 for a, b in zip(after[2:], before[2:], strict=True))
    if not name.startswith("avg_pool"):
        return False
    names = ("input", "kernel_size", "stride", "padding", "ceil_mode", "count_include_pad")
    given = dict(zip(names, n.args, strict=False)) | n.kwargs
    kernel, padding = (_listed(given.get(k, 0)) for k in ("kernel_size", "padding"))
    stride = _listed(given.get("stride") or kernel)
    overlap = any(k > s for k, s in zip(kernel, stride * len(kernel), strict=False))
    return overlap and bool(given.get("ceil_mode") or (any(padding) and not given.get("count_include_pad", True)))


def _listed(value: Any) -> list[int]:
    return list(value) if isinstance(value, (list, tuple)) else [value]

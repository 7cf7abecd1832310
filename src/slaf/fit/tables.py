"""The int8 table of an activation, and the proof of its error."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from slaf.core import Facts, SlafError
from slaf.kernels.folded import Forms, coded
from slaf.kernels.series import working_dtype

from .enclosures import PowerForm
from .folded import Folded
from .proof import Cells, Target, prove, with_kinks
from .target import Function

__all__ = ["FoldedTable", "fold_table", "quantized"]

Asked = tuple[float | None, int | None]
Quantizer = tuple[float, int]
"""Scale and zero point."""


class FoldedTable(Folded):
    """y = (table[q] - out_zero)·out_scale with q = clamp(round(x / in_scale) + in_zero, -128, 127): 256 int8 entries.

    Rounding is to the nearest integer, halves to the even one. The input's code is computed in float32 whatever the input's dtype.
    Outside the interval of the codes the nearest end's entry holds. The derivative is 0 everywhere.

    Buffer: ``table`` (256,), int8; ``table[q + 128]`` is the output's code for the input's code q.
    """

    table: Tensor

    def __init__(self, of: str, interval: tuple[float, float], table: Tensor, inputs: Quantizer, outputs: Quantizer) -> None:
        super().__init__(of, interval, "clamp", (0.0, 0.0))
        self.input_scale, self.input_zero = inputs
        self.output_scale, self.output_zero = outputs
        self._keep(table=table)

    @property
    def form(self) -> str:
        return "int8"

    @property
    def size(self) -> int:
        return len(self.table)

    def config(self) -> dict[str, Any]:
        quantizers = ("input_scale", "input_zero", "output_scale", "output_zero")
        return super().config() | {name: getattr(self, name) for name in quantizers}

    def codes(self, x: Tensor) -> Tensor:
        """The int8 codes of an input."""
        return self._index(x).sub(128).to(torch.int8)

    def _index(self, x: Tensor) -> Tensor:
        q = torch.round(x.detach().to(torch.float32).nan_to_num(nan=0.0) / self.input_scale) + self.input_zero
        return q.clamp(-128, 127).to(torch.int64) + 128

    def _forms(self) -> Forms | None:
        values = (self.table.to(torch.float32) - self.output_zero) * self.output_scale
        return coded(self._ends(), values[None], self.input_scale, self.input_zero)

    def _defined(self, x: Tensor) -> Tensor:
        code = self.table[self._index(x)].to(working_dtype(x.dtype))
        # what is added is 0, but keeps NaN and the graph to x
        return ((code - self.output_zero) * self.output_scale).to(x.dtype) + 0 * x.clamp(*self.interval)

    @property
    def facts(self) -> Facts:  # type: ignore[override]
        """A step function."""
        return Facts(name=self.name, smoothness=-1, lipschitz=None, tags=("folded",), summary=f"{self.of} as a table of int8.")

    def _joints(self) -> Tensor:
        q = torch.arange(-128, 127, dtype=torch.float64) + 0.5 - self.input_zero
        return q * self.input_scale

    def _marks(self) -> Tensor:
        return (torch.arange(-128, 128, dtype=torch.float64) - self.input_zero) * self.input_scale

    def _slack(self, reach: Tensor, eps: float) -> Tensor:  # noqa: ARG002
        return torch.zeros_like(reach)

    def antiderivative(self, x: Tensor) -> Tensor:
        """Exactly: the entries times the lengths of their steps between 0 and x."""
        infinite = torch.tensor([torch.inf], dtype=torch.float64)
        joints = self._joints()
        left, right = torch.cat([-infinite, joints]).to(x.device), torch.cat([joints, infinite]).to(x.device)
        zero = torch.zeros((), dtype=torch.float64, device=x.device)
        length = torch.minimum(torch.maximum(x.double()[..., None], left), right) - torch.minimum(torch.maximum(zero, left), right)
        values = (self.table.double() - self.output_zero) * self.output_scale
        return (length * values).sum(-1).to(x.dtype)

    def expression(self, site: int = 0) -> Any:  # noqa: ARG002
        raise SlafError("a table of 256 steps has no expression worth having; use its table")


def quantized(f: Function, input_scale: float, input_zero: int, output_scale: float, output_zero: int) -> Tensor:
    """clamp(round(f(input_scale·(q - input_zero)) / output_scale) + output_zero, -128, 127) for q = -128 … 127, in float64.

    Rounding is to the nearest integer, halves to the even one.
    """
    q = torch.arange(-128, 128, dtype=torch.float64)
    y = torch.round(f(input_scale * (q - input_zero)) / output_scale) + output_zero
    return y.clamp(-128, 127).to(torch.int8)


def fold_table(
    target: Target, f: Function, interval: tuple[float, float], of: str, inputs: Asked = (None, None), outputs: Asked = (None, None)
) -> FoldedTable:
    """The table of ``f``; scales and zero points that are not given come from the interval and f's range on it.

    ``inputs`` and ``outputs`` are pairs (scale, zero point).

    Raises:
        SlafError: a scale that is not positive, or a zero point that is no integer from -128 to 127.
    """
    in_scale, in_zero = _quantizer("input", *inputs, *interval)
    y = f(torch.linspace(*interval, 4097, dtype=torch.float64))
    out_scale, out_zero = _quantizer("output", *outputs, float(y.min()), float(y.max()))
    codes = quantized(f, in_scale, in_zero, out_scale, out_zero)
    module = FoldedTable(of, interval, codes, (in_scale, in_zero), (out_scale, out_zero))
    values = (codes.double() - out_zero) * out_scale
    form = PowerForm(torch.tensor(interval, dtype=torch.float64), torch.zeros(256, dtype=torch.float64), values[:, None])
    module.proof = prove(target, form, _cells(target, interval, in_scale, in_zero))
    module.error_bound = module.proof.bound
    if not math.isfinite(module.error_bound):
        raise SlafError(f"no finite error bound can be proved for {of} on this interval")
    return module.eval()


def _quantizer(which: str, scale: float | None, zero: int | None, low: float, high: float) -> tuple[float, int]:
    low, high = min(low, 0.0), max(high, 0.0)
    if scale is None:
        scale = (high - low) / 255 or 1 / 127
    elif isinstance(scale, bool) or not isinstance(scale, (int, float)) or not (scale > 0 and math.isfinite(scale)):
        raise SlafError(f"{which}_scale must be a positive number; got {scale!r}")
    scale = float(torch.tensor(scale, dtype=torch.float32))
    if zero is None:
        zero = max(-128, min(127, round(-128 - low / scale)))
    elif isinstance(zero, bool) or not isinstance(zero, int) or not -128 <= zero <= 127:
        raise SlafError(f"{which}_zero must be an integer from -128 to 127; got {zero!r}")
    return scale, zero


def _cells(target: Target, interval: tuple[float, float], scale: float, zero: int) -> Cells:
    """Every stretch of inputs with each code that it may get: neighbours overlap by the rounding of x / scale in float32."""
    low, high = interval
    border = (torch.arange(-128, 127, dtype=torch.float64) + 0.5 - zero) * scale
    room = border.abs() * 2.0**-22
    infinite = torch.tensor([math.inf], dtype=torch.float64)
    left, right = torch.cat([-infinite, border - room]), torch.cat([border + room, infinite])
    ends = torch.cat([torch.tensor(interval, dtype=torch.float64), left[1:], right[:-1]]).clamp(low, high)
    edges = with_kinks(ends.unique(), target.kinks)
    a, b = edges[:-1], edges[1:]
    middle = a + (b - a) / 2
    first = torch.searchsorted(right, middle)
    last = torch.searchsorted(left, middle, right=True) - 1
    both = first != last
    return torch.cat([a, a[both]]), torch.cat([b, b[both]]), torch.cat([first, last[both]])

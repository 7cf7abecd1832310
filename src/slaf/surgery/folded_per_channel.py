"""Several folded forms in one module: one for every channel or unit that has a function of its own, each with its own proof."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from slaf.core import Activation, Facts, Sharing, SlafError
from slaf.core.elementwise import spread_over_sites
from slaf.core.sharing import broadcast
from slaf.fit.folded import Folded, FoldedPieces, FoldedPolynomial, OnKernels
from slaf.fit.piecewise import CHEBYSHEV
from slaf.fit.proof import Proof
from slaf.fit.tables import FoldedTable
from slaf.kernels.folded import Forms, coded, folded, on_pieces, on_series
from slaf.kernels.series import series, working_dtype

from .frozen import Fixed

__all__ = ["FoldedPerChannel", "per_channel"]


class FoldedPerChannel(OnKernels, Fixed, Activation):
    """Folded forms of one kind over one interval, stacked: channel or unit i uses form ``index[i]``.

    Args:
        forms: of the same kind, interval and behaviour outside.
        index: (sites,), which form a site uses.
        sharing: which elements of the input are a site.

    Raises:
        SlafError: ``index`` has another number of entries than there are sites.

    Attributes:
        interval: (low, high), where the bounds hold.
        error_bounds, proofs, sizes: of every form.
        error_bound: the largest of them.

    Shapes: as ``sharing`` says; output of the input's shape and dtype. The numbers are those of :meth:`at`, bitwise, up to the order of
    sums in the polynomial. Buffers never get narrower than float32.
    """

    name = "folded_per_channel"
    index: Tensor
    slopes: Tensor

    def __init__(self, forms: Sequence[Folded], index: Tensor, sharing: Sharing) -> None:
        super().__init__()
        if len(index) != sharing.sites:
            raise SlafError(f"index must have {sharing.sites} entries, one for every channel or unit; got {len(index)}")
        first = forms[0]
        self.of, self.form, self.interval, self.outside, self.sharing = first.of, first.form, first.interval, first.outside, sharing
        self.proofs: tuple[Proof, ...] = tuple(f.proof for f in forms)
        self.error_bounds = tuple(f.error_bound for f in forms)
        self.sizes = tuple(f.size for f in forms)
        self._keep(index=index, slopes=torch.tensor([f.slopes for f in forms], dtype=torch.float32))
        self._sloped = bool(self.slopes.any())

    @property
    def error_bound(self) -> float:
        """Nowhere on the interval is any channel further off."""
        return max(self.error_bounds)

    @property
    def size(self) -> int:
        """Of the largest form: its degree, number of pieces, or entries of the table."""
        return max(self.sizes)

    def config(self) -> dict[str, Any]:
        low, high = self.interval
        own = {
            "of": self.of,
            "to": self.form,
            "low": low,
            "high": high,
            "size": self.size,
            "forms": len(self.sizes),
            "outside": self.outside,
        }
        return own | self.sharing.config()

    @property
    def facts(self) -> Facts:  # type: ignore[override]
        """No claims beyond the bounds and, for tables, that they are step functions: the forms differ."""
        return Facts(
            name=self.name,
            smoothness=-1 if self.form == "int8" else None,
            tags=("folded",),
            summary=f"{self.of} as {self.form.replace('_', ' ')}, channel by channel.",
        )

    def at(self, site: int) -> Folded:
        """The form of one channel or unit, as a module of its own."""
        number = int(self.index[site])
        slopes = self.slopes[number].tolist()
        form = self._at(number, (self.of, self.interval, self.outside, (slopes[0], slopes[1])))
        form.proof, form.error_bound = self.proofs[number], self.error_bounds[number]
        return form.eval()

    def _at(self, number: int, common: Any) -> Folded:
        raise NotImplementedError

    def _inside(self, x: Tensor, shape: tuple[int, ...]) -> Tensor:
        """The forms at ``x`` in the interval; ``shape`` has one entry per site and broadcasts against ``x``."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        y = folded(x, self._for_kernels, self.sharing.shape(x, self.sharing.sites), self._defined)
        return self._defined(x) if y is None else y

    def _defined(self, x: Tensor) -> Tensor:
        shape = self.sharing.shape(x, self.sharing.sites)
        z = x.to(working_dtype(x.dtype))
        if self.outside == "extrapolate":
            return self._inside(z, shape).to(x.dtype)
        inner = z.clamp(*self.interval)
        y = self._inside(inner, shape)
        if self._sloped:
            beyond = z - inner
            for slope, part in zip(self.slopes[self.index].to(z.dtype).T, (beyond.clamp(max=0), beyond.clamp(min=0)), strict=True):
                slope = slope.reshape(shape)
                y = y + torch.where(slope == 0, 0, slope * part)  # without a line infinity stays at the end
        return y.to(x.dtype)

    def _distinct(self, x: Tensor) -> Iterator[tuple[Tensor, Folded]]:
        """Every form in use, and where in ``x``."""
        number = self.index.reshape(self.sharing.shape(x, self.sharing.sites))
        for n, site in {int(n): i for i, n in enumerate(self.index.tolist())}.items():
            yield number == n, self.at(site).to(x.device)

    def bounds(self, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
        """The bounds of every form where it is used."""
        low, high = torch.zeros_like(lower), torch.zeros_like(upper)
        for here, form in self._distinct(lower):
            ends = form.bounds(lower, upper)
            low, high = torch.where(here, ends[0], low), torch.where(here, ends[1], high)
        return low, high

    def antiderivative(self, x: Tensor) -> Tensor:
        """That of every form where it is used."""
        out = torch.zeros_like(x)
        for here, form in self._distinct(x):
            out = torch.where(here, form.antiderivative(x), out)
        return out

    def second_moment(self) -> float:
        """The mean over the channels or units."""
        moments = {n: self.at(site).second_moment() for n, site in {int(n): i for i, n in enumerate(self.index.tolist())}.items()}
        return sum(moments[n] for n in self.index.tolist()) / len(self.index)

    def expression(self, site: int = 0) -> Any:
        """That of the form that channel or unit ``site`` uses."""
        return self.at(site).expression()

    def _several(self) -> bool:
        return True

    def _spread(self, z: Tensor) -> Tensor:
        return spread_over_sites(z, self.sharing)


class _Polynomials(FoldedPerChannel):
    """Buffer ``coefficients`` (forms, degree + 1), Chebyshev; shorter ones end in zeros."""

    coefficients: Tensor

    def __init__(self, forms: Sequence[FoldedPolynomial], index: Tensor, sharing: Sharing) -> None:
        super().__init__(forms, index, sharing)
        self.center, self.rscale = forms[0].center, forms[0].rscale
        self._keep(coefficients=torch.stack([_padded(f.coefficients, self.size + 1, 0.0) for f in forms]))

    def _inside(self, x: Tensor, shape: tuple[int, ...]) -> Tensor:
        u = x * self.rscale if self.center == 0 else (x - self.center) * self.rscale
        return series(u, broadcast(self.coefficients[self.index], shape).to(x.dtype), None, None, CHEBYSHEV)

    def _forms(self) -> Forms | None:
        if self.outside == "extrapolate":  # a series has kernels of its own
            return None
        return on_series(self._with_ends(self.slopes), self.coefficients, self.center, self.rscale, CHEBYSHEV, self.index)

    def _at(self, number: int, common: Any) -> Folded:
        return FoldedPolynomial(common, self.coefficients[number, : self.sizes[number] + 1], self.center, self.rscale)


class _Pieces(FoldedPerChannel):
    """Buffers ``breaks`` (forms, pieces + 1), ``center`` (forms, pieces), ``coefficients`` (degree + 1, forms, pieces).

    A form with fewer pieces has its last one again, beyond breaks at infinity.
    """

    breaks: Tensor
    center: Tensor
    coefficients: Tensor

    def __init__(self, forms: Sequence[FoldedPieces], index: Tensor, sharing: Sharing) -> None:
        super().__init__(forms, index, sharing)
        breaks = [torch.cat([_padded(f.breaks[:-1], self.size, torch.inf), f.breaks[-1:]]) for f in forms]
        center = [_padded(f.center, self.size, float(f.center[-1])) for f in forms]
        coefficients = [torch.stack([_padded(row, self.size, float(row[-1])) for row in f.coefficients]) for f in forms]
        self._keep(breaks=torch.stack(breaks), center=torch.stack(center), coefficients=torch.stack(coefficients, 1))

    def _inside(self, x: Tensor, shape: tuple[int, ...]) -> Tensor:
        inner, pieces = self.breaks[:, 1:-1].to(x.dtype)[self.index], self.breaks.shape[1] - 1
        at = x.detach()
        if torch.compiler.is_exporting():  # simpler for other runtimes than a search
            piece = (at[..., None] >= inner.reshape(*shape, -1)).sum(-1)
        else:
            dims = [d for d in range(x.dim()) if self._is_site(d, x.dim())]
            moved = at.movedim(dims, list(range(len(dims))))
            found = torch.searchsorted(inner, moved.reshape(len(inner), -1).contiguous(), right=True)
            piece = found.reshape(moved.shape).movedim(list(range(len(dims))), dims)
        piece = piece + (self.index * pieces).reshape(shape)
        t, c = x - self.center.to(x.dtype).reshape(-1)[piece], self.coefficients.to(x.dtype).flatten(1)
        y = c[-1][piece]
        for row in c[:-1].flip(0):
            y = t * y + row[piece]
        return y

    def _is_site(self, dim: int, dims: int) -> bool:
        first = self.sharing.channel_dim % dims
        own = 1 if self.sharing.share != "unit" else len(self.sharing.num_features or (1,))
        return first <= dim < first + own

    def _forms(self) -> Forms | None:
        return on_pieces(self._with_ends(self.slopes), self.breaks, self.center, self.coefficients, self.index)

    def _at(self, number: int, common: Any) -> Folded:
        count = self.sizes[number]
        breaks = torch.cat([self.breaks[number, :count], self.breaks[number, -1:]])
        return FoldedPieces(common, breaks, self.center[number, :count], self.coefficients[:, number, :count].T)


class _Tables(FoldedPerChannel):
    """Buffers ``table`` (forms, 256), int8, ``output_scale`` and ``output_zero`` (forms,); the input's codes are the same for all."""

    table: Tensor
    output_scale: Tensor
    output_zero: Tensor

    def __init__(self, forms: Sequence[FoldedTable], index: Tensor, sharing: Sharing) -> None:
        super().__init__(forms, index, sharing)
        self.input_scale, self.input_zero = forms[0].input_scale, forms[0].input_zero
        self._keep(
            table=torch.stack([f.table for f in forms]),
            output_scale=torch.tensor([f.output_scale for f in forms], dtype=torch.float32),
            output_zero=torch.tensor([f.output_zero for f in forms]),
        )

    def _forms(self) -> Forms | None:
        values = (self.table.to(torch.float32) - self.output_zero[:, None]) * self.output_scale[:, None]
        return coded(self._with_ends(self.slopes), values, self.input_scale, self.input_zero, self.index)

    def _defined(self, x: Tensor) -> Tensor:
        shape = self.sharing.shape(x, self.sharing.sites)
        q = torch.round(x.detach().to(torch.float32).nan_to_num(nan=0.0) / self.input_scale) + self.input_zero
        entry = q.clamp(-128, 127).to(torch.int64) + 128 + (self.index * self.table.shape[1]).reshape(shape)
        code = self.table.reshape(-1)[entry].to(working_dtype(x.dtype))
        zero, scale = (t[self.index].to(code.dtype).reshape(shape) for t in (self.output_zero, self.output_scale))
        # what is added is 0, but keeps NaN and the graph to x
        return ((code - zero) * scale).to(x.dtype) + 0 * x.clamp(*self.interval)

    def _at(self, number: int, common: Any) -> Folded:
        of, interval, *_ = common
        outputs = float(self.output_scale[number]), int(self.output_zero[number])
        return FoldedTable(of, interval, self.table[number], (self.input_scale, self.input_zero), outputs)


def _padded(row: Tensor, count: int, value: float) -> Tensor:
    return torch.nn.functional.pad(row, (0, count - len(row)), value=value)


def per_channel(forms: Sequence[Folded], index: Tensor, sharing: Sharing) -> FoldedPerChannel:
    """The stack of ``forms``; ``index`` (sites,) says which one a channel or unit uses.

    Raises:
        SlafError: forms of different kinds or intervals.
    """
    if len({(type(f), f.interval, f.outside.replace("asymptote", "linear")) for f in forms}) > 1:  # both are straight lines
        raise SlafError("forms of one module must have the same kind, interval and behaviour outside")
    stacks: dict[type[Folded], Any] = {FoldedPolynomial: _Polynomials, FoldedPieces: _Pieces, FoldedTable: _Tables}
    made: FoldedPerChannel = stacks[type(forms[0])](forms, index, sharing)
    return made.eval()

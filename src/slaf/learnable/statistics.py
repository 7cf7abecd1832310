"""The statistics that SLAF keeps: of its input (an affine map) and of its terms (the paper's normalisation)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from slaf.bases import PolynomialBasis
from slaf.bases.polynomial import substitute, times_u
from slaf.core import OverRanks
from slaf.kernels import moments
from slaf.kernels.again import again

__all__ = ["InputStatistics", "TermStatistics"]

RELATIVE_FLOOR = 1e-10
"""Of a term's second moment: below it a variance is rounding noise."""


def small_dtype(device: torch.device) -> torch.dtype:
    """What small matrices are computed in: float64 wherever the device has it."""
    return torch.float32 if device.type == "mps" else torch.float64


class Running(OverRanks, nn.Module):
    """Running statistics that stay at least float32 when the module is cast to a half type.

    Args:
        momentum: the weight of the newest batch. With ``warm_up`` the first 1/momentum batches are averaged evenly, so that the
            zeros and ones of the start are forgotten; the paper's presets do without.
    """

    num_batches_tracked: Tensor

    def __init__(self, momentum: float, warm_up: bool, device: Any = None) -> None:
        super().__init__()
        self.momentum, self.warm_up = momentum, warm_up
        self.register_buffer("num_batches_tracked", torch.zeros((), dtype=torch.int64, device=device))

    def weight(self) -> Tensor | float:
        """The weight of the newest batch; counts it, unless a checkpoint has it computed again."""
        if again():
            return 0.0
        self.num_batches_tracked.add_(1)
        if not self.warm_up:
            return self.momentum
        return (1.0 / self.num_batches_tracked).clamp(min=self.momentum)

    def blend(self, buffer: Tensor, value: Tensor, weight: Tensor | float) -> None:
        """Move ``buffer`` towards ``value``."""
        buffer.lerp_(value.detach().to(buffer.dtype), weight if isinstance(weight, float) else weight.to(buffer.dtype))

    def tables(self, device: torch.device) -> dict[str, Tensor]:  # noqa: ARG002 - for those that have some
        """The constant buffers, made anew: after a move from the meta device there is nothing to copy."""
        return {}

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Running:
        before = {name: buffer for name, buffer in self._buffers.items() if buffer is not None}
        super()._apply(fn, recurse)
        for name, old in before.items():
            new = self._buffers[name]
            if new is not None and new.dtype in (torch.float16, torch.bfloat16):
                self._buffers[name] = new.to(old.dtype) if old.is_meta else old.to(new.device)
        self._buffers |= self.tables(self.num_batches_tracked.device)
        return self


class InputStatistics(Running):
    """Mean and variance of each channel's input; makes it standard: (x - mean)/sqrt(var + eps).

    ``renorm`` is batch renormalisation (Ioffe, arXiv:1702.03275) without its clipping schedule: values are standardised by the
    *running* statistics in training too, gradients flow as in batch normalisation. So training and evaluation compute the same
    function, which a polynomial of high degree needs. Otherwise this is batch normalisation without its affine part.
    """

    mean: Tensor
    var: Tensor

    def __init__(self, sites: int, momentum: float, warm_up: bool, eps: float, renorm: bool, device: Any = None) -> None:
        super().__init__(momentum, warm_up, device)
        self.eps, self.renorm = eps, renorm
        self.register_buffer("mean", torch.zeros(sites, device=device))
        self.register_buffer("var", torch.ones(sites, device=device))

    def reset(self) -> None:
        """Back to mean 0 and variance 1."""
        self.mean.zero_()
        self.var.fill_(1)
        self.num_batches_tracked.zero_()

    def frozen(self) -> tuple[Tensor, Tensor]:
        """(mean, 1/std) per site from the running statistics."""
        dtype = small_dtype(self.mean.device)
        return self.mean.to(dtype), (self.var.to(dtype) + self.eps).rsqrt()

    def batch(self, x: Tensor, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """(mean, 1/std) of this batch in ``shape``, differentiable in x; updates the running statistics."""
        dims = [d for d in range(x.dim()) if shape[d] == 1]
        wide = x if x.dtype == torch.float64 else x.float()
        var, mean = torch.var_mean(wide, dims, correction=0, keepdim=True)
        if self.ranks is not None:
            _, mean, var = self.ranks.mean_and_var(x.numel() // mean.numel(), mean, var)
        self.update(mean, var)
        return self.standardizing(mean, var, self.running_map(shape))

    def update(self, mean: Tensor, var: Tensor) -> None:
        """Count a batch with these statistics."""
        with torch.no_grad():
            weight = self.weight()
            self.blend(self.mean, mean.reshape(-1), weight)
            self.blend(self.var, var.reshape(-1), weight)

    def running_map(self, shape: tuple[int, ...]) -> tuple[Tensor, Tensor] | None:
        """Running mean and variance in ``shape``, of their own memory; ``None`` where training standardises by the batch alone."""
        if not self.renorm:
            return None
        # detached: AOTAutograd follows a buffer through the updates without grad, and gives a module that is called twice wrong gradients
        return self.mean.reshape(shape).clone().detach(), self.var.reshape(shape).clone().detach()

    def standardizing(self, mean: Tensor, var: Tensor, running: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
        """Center and 1/std of the input map, differentiable in the batch's mean and variance."""
        std = (var + self.eps).sqrt()
        if running is None:
            return mean, 1 / std
        with torch.no_grad():
            running_mean, running_var = (t.to(mean.dtype) for t in running)
            running_std = (running_var + self.eps).sqrt()
            ratio = std / running_std
            shift = (mean - running_mean) / running_std
        return mean - shift * std / ratio, ratio / std


class TermStatistics(Running):
    """Mean and variance of every term φ_k of each channel, and the fold of normalised terms into one polynomial.

    (φ_k - mean_k)/sqrt(var_k + floor) needs no tensor per term: with the moments t_j = mean φ_j(u), j ≤ 2K, all means and variances
    follow, because products φ_i φ_j are sums of φ_l. Small matrices in float64, one pass over x.

    ``eps`` is added to the variance as in the paper; ``None`` takes 1e-10 of the second moment instead, which keeps constant channels
    finite.
    """

    mean: Tensor
    var: Tensor
    times_u: Tensor
    products: Tensor

    def __init__(
        self, sites: int, basis: PolynomialBasis, degree: int, momentum: float, warm_up: bool, eps: float | None, device: Any = None
    ) -> None:
        super().__init__(momentum, warm_up, device)
        self.basis, self.degree, self.eps = basis, degree, eps
        self.register_buffer("mean", torch.zeros(sites, degree, device=device))
        self.register_buffer("var", torch.ones(sites, degree, device=device))
        # buffers, so that they travel with the module and a compiler sees tensors
        for name, table in self.tables(self.mean.device).items():
            self.register_buffer(name, table, persistent=False)

    def tables(self, device: torch.device) -> dict[str, Tensor]:
        """u·φ_j and the products φ_i φ_j in the family; never cast to a narrower type."""
        recurrence, small = self.basis.recurrence, small_dtype(device)
        products = torch.from_numpy(recurrence.products(self.degree)[1:, 1:].copy())
        return {"times_u": times_u(recurrence, self.degree).to(device, small), "products": products.to(device, small)}

    def reset(self, mean: Tensor | None = None, var: Tensor | None = None) -> None:
        """Back to mean 0 and variance 1, or to the given ones of shape (degree,)."""
        self.mean.zero_() if mean is None else self.mean.copy_(mean.expand_as(self.mean))
        self.var.fill_(1) if var is None else self.var.copy_(var.expand_as(self.var))
        self.num_batches_tracked.zero_()

    def rstd(self, mean: Tensor, var: Tensor) -> Tensor:
        """1/sqrt(var + floor)."""
        if self.eps is not None:
            return (var + self.eps).rsqrt()
        return (var + RELATIVE_FLOOR * (var + mean * mean) + 1e-30).rsqrt()

    def expand_about(self, center: Tensor, scale: Tensor) -> Tensor:
        """S with φ_k(scale·u + center) = Σ_j S[:, k, j] φ_j(u): (sites, K + 1, K + 1)."""
        return substitute(self.basis.recurrence, center, scale, self.times_u)

    def location(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Running mean and standard deviation of φ_1 = u itself, per site; 1 where a channel is constant."""
        center = self.mean[:, 0].to(dtype)
        std = self.var[:, 0].to(dtype).sqrt()
        return center, torch.where(std > 1e-6 * center.abs() + 1e-30, std, torch.ones_like(std))

    def frozen(self, a: Tensor, b: Tensor) -> Tensor:
        """Fold Σ a_k N_k(φ_k) + b with the running statistics: coefficients (sites, K + 1) over φ, float64."""
        mean, var = self.mean.to(a.dtype), self.var.to(a.dtype)
        scaled = a * self.rstd(mean, var)
        return torch.cat([(b - (scaled * mean).sum(1))[:, None].expand(len(mean), 1), scaled], 1)

    def batch(
        self, x: Tensor, shape: tuple[int, ...], a: Tensor, b: Tensor, center: Tensor | None, rscale: Tensor | None
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Fold with this batch's statistics, differentiable in x, a and b; updates the running ones.

        Args:
            x: the input.
            shape: one entry per site, broadcasting against x.
            a, b: (sites or 1, K) and (sites or 1,), float64.
            center, rscale: the input map, or ``None`` for the identity; then the moments are taken about the batch mean, in units
                of the batch's std, and the terms re-expanded there: raw powers of an input with mean 100 lose all digits in float32.

        Returns:
            Coefficients (sites, K + 1), float64, and the center and rscale at which they hold.
        """
        recurrence, degree = self.basis.recurrence, self.degree
        expansion = None
        if center is None:
            dims = [d for d in range(x.dim()) if shape[d] == 1]
            with torch.no_grad():
                std, center = torch.std_mean(x if x.dtype == torch.float64 else x.float(), dims, correction=0, keepdim=True)
                if self.ranks is not None:
                    _, center, var = self.ranks.mean_and_var(x.numel() // center.numel(), center, std.square())
                    std = var.sqrt()
                std = torch.where(std > 1e-6 * center.abs() + 1e-30, std, torch.ones_like(std))
                rscale = 1 / std
            expansion = self.expand_about(center.reshape(-1).to(a.dtype), std.reshape(-1).to(a.dtype))
        t = moments(x, 2 * degree, shape, center, rscale, recurrence).reshape(2 * degree, -1).T.to(a.dtype)
        if self.ranks is not None:
            t = self.ranks.mean(x.numel() // len(t), t)
        c, mean, var = self.fold(t, a, b, expansion)
        self.update(mean, var)
        return c, center, rscale

    def update(self, mean: Tensor, var: Tensor) -> None:
        """Count a batch with these statistics of the terms."""
        with torch.no_grad():
            weight = self.weight()
            self.blend(self.mean, mean, weight)
            self.blend(self.var, var, weight)

    def fold(self, t: Tensor, a: Tensor, b: Tensor, expansion: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Coefficients (sites, K + 1), and mean and variance of every term (sites, K), from the moments t (sites, 2K) of φ_j(u).

        ``expansion`` as :meth:`expand_about` gives it, where the terms are not those of u itself.
        """
        degree, size = self.degree, len(t)
        mean_u = t[:, :degree]
        flat = self.products.reshape(degree * degree, -1)
        second = torch.addmm(flat[:, 0], t, flat[:, 1:].T).reshape(size, degree, degree)
        covariance = torch.baddbmm(second, mean_u[:, :, None], mean_u[:, None, :], alpha=-1)
        if expansion is None:
            slopes, mean, var = None, mean_u, covariance.diagonal(dim1=1, dim2=2)
        else:
            slopes = expansion[:, 1:, 1:]
            mean = expansion[:, 1:, 0] + (slopes @ mean_u[:, :, None])[:, :, 0]
            var = ((slopes @ covariance) * slopes).sum(2)
        var = var.clamp(min=0)
        scaled = a * self.rstd(mean, var)
        linear = scaled if slopes is None else (scaled[:, None, :] @ slopes)[:, 0]
        return torch.cat([(b - (linear * mean_u).sum(1))[:, None], linear], 1), mean, var

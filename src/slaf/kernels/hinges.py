"""Two lines that meet at a place, and hinges, by the kernels: value, and all gradients in one pass; only x is kept.

y = height + left·min(x - place, 0) + right·max(x - place, 0) + Σ_s slopes_s·max(places_s - x, 0). At a kink the slope is the one on the
left of ``place``, and that of the right side of a hinge, 0, as torch has it for ReLU.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor, nn

from . import raw
from .dispatch import Layout, on_gpu, place
from .fused import run
from .tables import columns, spread

__all__ = ["hinged", "hinged_by_site"]

MAX_HINGES = 64
LINES = {"place": 0.0, "left": 0.0, "right": 1.0, "height": 0.0}
NOTHING = -0.0
"""A slope that is not there: 0 at infinity too, where 0·∞ of a learned slope is NaN."""


def hinged(x: Tensor, definition: Callable[..., Tensor], **parameters: Tensor) -> Tensor | None:
    """y at ``x``, in its dtype; ``None`` where the definition must run.

    Args:
        definition: (x, **parameters) → y in plain torch, for what the kernels do not do.
        parameters: of ``place``, ``left``, ``right`` and ``height``, each broadcasting against x, those that are not 0, 0, 1 and 0;
            ``slopes`` and ``places``, (S, …), both or none.
    """
    if torch.compiler.is_compiling():
        return None
    shapes = (t.shape if name in LINES else t.shape[1:] for name, t in parameters.items())
    layout = place(x, *shapes)
    if layout is None or ("slopes" in parameters and len(parameters["slopes"]) > MAX_HINGES):
        return None
    strided = x.is_cpu and not on_gpu(x) and len(layout.dims) < 2 and all(map(_as_it_lies, parameters.values()))
    kernel = _Strided(definition, parameters, layout, _along) if strided else _Hinged(x, definition, parameters, layout)
    return run(kernel, x, *parameters.values())


def hinged_by_site(x: Tensor, shape: tuple[int, ...], definition: Callable[..., Tensor], **parameters: Tensor) -> Tensor | None:
    """:func:`hinged` of parameters as modules hold them: a view of each takes as long as the kernel; ``None`` where that is to be asked.

    Args:
        shape: in which one entry per site broadcasts against x.
        definition, parameters: as there, but (count,) and (count, S) for the slopes and places; count is 1 or the number of sites.
    """
    count = next(iter(parameters.values())).shape[0]
    if torch.compiler.is_compiling() or not x.is_cpu or on_gpu(x) or not all(map(_as_it_lies, parameters.values())):
        return None
    layout = place(x, shape if count > 1 else (1,) * x.dim())
    if layout is None or len(layout.dims) > 1 or count not in (1, layout.c):
        return None
    return run(_Strided(definition, parameters, layout, _rows), x, *parameters.values())


def _as_it_lies(theta: Tensor) -> bool:
    """Whether the kernels may read a parameter of any strides."""
    return theta.dtype is torch.float32 and type(theta) in (Tensor, nn.Parameter) and theta.is_cpu and not theta.is_neg()


Steps = dict[str, tuple[int, int]]
"""By name, from the number of a site to that of the next one, 0 where they share it, and from that of a hinge to the next one's."""


def _along(parameters: dict[str, Tensor], layout: Layout) -> Steps:
    """Of parameters that broadcast against x."""
    if layout.c == 1:
        return {name: (0, t.stride(0)) for name, t in parameters.items()}
    at = {name: layout.dims[0] if name in LINES else layout.dims[0] + 1 for name in parameters}
    return {name: (t.stride(at[name]) if t.shape[at[name]] == layout.c else 0, t.stride(0)) for name, t in parameters.items()}


def _rows(parameters: dict[str, Tensor], layout: Layout) -> Steps:  # noqa: ARG001 - as of _along
    """Of parameters as modules hold them."""
    return {name: (t.stride(0) if t.shape[0] > 1 else 0, t.stride(-1)) for name, t in parameters.items()}


class _Strided:
    """On the CPU, where float32 parameters run over one dimension of x at most."""

    def __init__(
        self,
        definition: Callable[..., Tensor],
        parameters: dict[str, Tensor],
        layout: Layout,
        steps: Callable[[dict[str, Tensor], Layout], Steps],
    ) -> None:
        self.definition, self.layout, self.parameters, self.steps = definition, layout, parameters, steps
        slopes = parameters.get("slopes")
        self.count = 0 if slopes is None else slopes.shape[1 if steps is _rows else 0]

    def forward(self, x: Tensor) -> Tensor:
        y, self.table = raw.strided_hinges_forward(x, self.layout, self.count, self.parameters, self.steps(self.parameters, self.layout))
        return y

    def gradients(self, x: Tensor, g: Tensor, need_x: bool) -> tuple[Tensor | None, ...]:
        found = {name: torch.empty_like(t) for name, t in self.parameters.items()}
        gx = raw.strided_hinges_backward(x, g, self.layout, self.count, found, self.steps(found, self.layout), self.table, need_x)
        return gx, *found.values()

    def defined(self, x: Tensor, *parameters: Tensor) -> Tensor:
        return self.definition(x, **dict(zip(self.parameters, parameters, strict=True)))


@lru_cache(maxsize=128)
def _nothing_given(sites: int, hinges: int, device: torch.device) -> Tensor:
    """The kernels' table of constants."""
    row = [value or NOTHING for value in LINES.values()] + [0.0] * (2 * hinges)
    return torch.tensor(row, dtype=torch.float32, device=device).repeat(sites, 1)


class _Hinged:
    def __init__(self, x: Tensor, definition: Callable[..., Tensor], parameters: dict[str, Tensor], layout: Layout) -> None:
        self.definition, self.layout = definition, layout
        self.given = {name: (t.shape if name in LINES else t.shape[1:], t.dtype) for name, t in parameters.items()}
        count = len(parameters["slopes"]) if "slopes" in parameters else 0
        with torch.no_grad():
            self.table = _nothing_given(layout.c, count, x.device).clone()
            for at, name in enumerate(LINES):
                if name in parameters:  # + 0: what is learned is never NOTHING
                    self.table[:, at : at + 1] = columns(parameters[name][None], layout) + 0.0
            if count:
                self.table[:, 4::2], self.table[:, 5::2] = (columns(parameters[name], layout) for name in ("slopes", "places"))

    def forward(self, x: Tensor) -> Tensor:
        return raw.hinges_forward(x, self.layout, self.table)

    def gradients(self, x: Tensor, g: Tensor, need_x: bool) -> tuple[Tensor | None, ...]:
        gx, sums = raw.hinges_backward(x, g, self.layout, self.table, need_x)
        return gx, *(self._spread(name, sums) for name in self.given)

    def _spread(self, name: str, sums: Tensor) -> Tensor:
        shape, dtype = self.given[name]
        found = spread(self._of(name, sums), shape, self.layout).to(dtype)
        return found[0] if name in LINES else found

    def _of(self, name: str, sums: Tensor) -> Tensor:
        """The gradient of a parameter for every channel, (c, 1) or (c, S)."""
        if name == "left":
            return sums[:, :1]
        if name == "right":
            return sums[:, 1:2]
        if name == "height":
            return sums[:, 2:3] + sums[:, 3:4]
        if name == "place":
            return -self.table[:, 1:2] * sums[:, 2:3] - self.table[:, 2:3] * sums[:, 3:4]
        return sums[:, 4::2] if name == "slopes" else self.table[:, 4::2] * sums[:, 5::2]

    def defined(self, x: Tensor, *parameters: Tensor) -> Tensor:
        return self.definition(x, **dict(zip(self.given, parameters, strict=True)))

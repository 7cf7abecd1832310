"""Two straight lines that meet: the one formula behind PReLU and its relatives."""

from collections.abc import Callable

import torch
from torch import Tensor

from slaf.core.elementwise import Elementwise
from slaf.kernels.dispatch import dense, transformed
from slaf.kernels.hinges import LINES, hinged, hinged_by_site


def two_lines(x: Tensor, **parameters: float | Tensor) -> Tensor:
    """height + left·min(x - place, 0) + right·max(x - place, 0); at ``place`` the slope is ``left``.

    Args:
        parameters: some of ``place``, ``left``, ``right``, ``height``, by default 0, 0, 1, 0: numbers, or tensors that broadcast.
    """
    learned = [p for p in parameters.values() if isinstance(p, Tensor)]
    if not learned or transformed() or any(p.dtype != x.dtype for p in learned):
        return _defined(x, **parameters)
    x = dense(x)
    given = {n: p if isinstance(p, Tensor) else x.new_full((1,) * x.dim(), p) for n, p in parameters.items() if not _is(p, LINES[n])}
    y = hinged(x, _defined, **given)
    return _defined(x, **parameters) if y is None else y


def by_lines(**names: str) -> Callable[[Elementwise, Tensor], Tensor | None]:
    """:func:`two_lines` of a module's own parameters, whose names are those of the arguments: no view of them is needed then."""

    def kernel(module: Elementwise, x: Tensor) -> Tensor | None:
        if x.dtype is not torch.float32 or transformed():
            return None
        x, sharing = dense(x), module.sharing
        assert sharing is not None
        shape = sharing.shape(x, sharing.sites)

        def definition(x: Tensor, **parameters: Tensor) -> Tensor:
            return _defined(x, **{line: p.reshape(shape if len(p) > 1 else (1,) * x.dim()) for line, p in parameters.items()})

        return hinged_by_site(x, shape, definition, **{line: getattr(module, name) for line, name in names.items()})

    return kernel


def _defined(
    x: Tensor,
    place: float | Tensor = LINES["place"],
    left: float | Tensor = LINES["left"],
    right: float | Tensor = LINES["right"],
    height: float | Tensor = LINES["height"],
) -> Tensor:
    right_side = x > place
    above, below = _side(x, right, right_side), _side(x, left, ~right_side)
    if not (_is(place, 0) and _is(height, 0)):  # the constants together, so that they may cancel exactly
        above, below = above + (height - right * place), below + (height - left * place)
    return torch.where(right_side, above, below)


def _side(x: Tensor, slope: float | Tensor, here: Tensor) -> Tensor:
    """slope·x, where it counts; elsewhere 0 times an infinite x would make the gradient of a learned slope NaN."""
    if isinstance(slope, Tensor):
        return slope * torch.where(here, x, 0)
    if slope == 0:
        return 0 * x.clamp(-1, 1)  # 0 at infinity, NaN at NaN
    return x if slope == 1 else slope * x


def _is(parameter: float | Tensor, number: float) -> bool:
    return not isinstance(parameter, Tensor) and parameter == number

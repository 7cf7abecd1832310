"""Hard sigmoid."""

import torch.nn.functional as F
from torch import Tensor

from slaf.core import Facts, Paper, activation


@activation(
    Facts(
        name="hardsigmoid",
        formula="where(x > 3, 1, where(x < -3, 0, (x + 3)/6))",
        paper=Paper("Searching for MobileNetV3", "Howard et al.", 2019, "arXiv:1905.02244", status="read"),
        range=(0.0, 1.0),
        monotone="nondecreasing",
        parity="neither",
        smoothness=0,
        lipschitz=1 / 6,
        kinks=(-3.0, 3.0),
        critical_points=(),
        antiderivative="min(max(x, -3), 3)**2/12 + min(max(x, -3), 3)/2 + max(x - 3, 0)",
        tags=("torch.nn",),
        summary="The sigmoid by three line segments.",
    ),
    inplace=True,
)
def hardsigmoid(x: Tensor, inplace: bool = False) -> Tensor:
    """min(max(x + 3, 0), 6) / 6. Written out, because ``torch.nn.functional.hardsigmoid`` has no second derivative."""
    y = F.hardtanh(x, -3.0, 3.0, inplace=inplace)
    return y.add_(3).div_(6) if inplace else (y + 3) / 6

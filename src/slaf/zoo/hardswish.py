"""Hard swish."""

import torch.nn.functional as F
from torch import Tensor

from slaf.core import INF, Facts, Paper, activation


@activation(
    Facts(
        name="hardswish",
        formula="where(x > 3, x, where(x < -3, 0, x*(x + 3)/6))",
        paper=Paper("Searching for MobileNetV3", "Howard et al.", 2019, "arXiv:1905.02244", status="read"),
        range=(-0.375, INF),
        monotone="neither",
        parity="neither",
        smoothness=0,
        lipschitz=1.5,  # the slope at 3 from the left
        kinks=(-3.0, 3.0),
        critical_points=(-1.5,),
        antiderivative="min(max(x, -3), 3)**3/18 + min(max(x, -3), 3)**2/4 + max(x - 3, 0)*(x + 3)/2",
        tags=("torch.nn",),
        summary="Swish with the hard sigmoid in place of the sigmoid.",
    ),
    inplace=True,
)
def hardswish(x: Tensor, inplace: bool = False) -> Tensor:
    """x · hardsigmoid(x)."""
    return F.hardswish(x, inplace=inplace)

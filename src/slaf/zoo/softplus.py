"""Softplus."""

import torch.nn.functional as F
from torch import Tensor

from slaf.core import INF, Facts, Paper, Param, activation


@activation(
    Facts(
        name="softplus",
        formula="log(1 + exp(beta*x))/beta",
        paper=Paper(
            "Incorporating Second-Order Functional Knowledge for Better Option Pricing", "Dugas, Bengio, Bélisle, Nadeau, Garcia", 2000
        ),
        params={"beta": Param(1.0, low=0.0, open=True, doc="sharpness: max(x, 0) for beta → ∞")},
        range=(0.0, INF),
        monotone="nondecreasing",
        parity="neither",
        smoothness=INF,
        lipschitz=1.0,
        kinks=(),
        critical_points=(),
        tags=("torch.nn",),
        summary="A smooth ReLU, the integral of the sigmoid.",
    )
)
def softplus(x: Tensor, beta: float = 1.0) -> Tensor:
    """log(1 + exp(beta · x)) / beta, for every x.

    ``torch.nn.Softplus`` switches to x above a threshold (20 by default), where it jumps by 2e-9 / beta: it is then neither continuous
    nor monotone. Here the switch is where float64 cannot tell the difference; the values equal torch's to the rounding of float32.
    """
    return F.softplus(x, beta, threshold=50.0)  # log(1 + exp(50)) - 50 = 2e-22

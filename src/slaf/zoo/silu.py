"""SiLU: Swish at beta = 1."""

import torch.nn.functional as F
from torch import Tensor

from slaf.core import INF, Facts, Paper, activation


@activation(
    Facts(
        name="silu",
        formula="x/(1 + exp(-x))",
        paper=Paper(
            "Sigmoid-Weighted Linear Units for Neural Network Function Approximation in Reinforcement Learning",
            "Elfwing, Uchibe, Doya",
            2017,
            "arXiv:1702.03118",
            status="read",
        ),
        range=(-0.27846454276107380, INF),  # f at the critical point
        monotone="neither",
        parity="neither",
        smoothness=INF,
        lipschitz=1.0998393201288669,  # f'(2.39935728051546767), where f'' = 0
        kinks=(),
        critical_points=(-1.2784645427610738,),
        tags=("torch.nn",),
        summary="The input weighted by its sigmoid.",
    ),
    inplace=True,
)
def silu(x: Tensor, inplace: bool = False) -> Tensor:
    """x · sigmoid(x)."""
    return F.silu(x, inplace=inplace)

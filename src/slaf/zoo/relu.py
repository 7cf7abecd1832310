"""ReLU."""

import torch.nn.functional as F
from torch import Tensor

from slaf.core import INF, Facts, Paper, activation


@activation(
    Facts(
        name="relu",
        formula="where(x > 0, x, 0)",
        paper=Paper("Rectified Linear Units Improve Restricted Boltzmann Machines", "Nair, Hinton", 2010),
        range=(0.0, INF),
        monotone="nondecreasing",
        parity="neither",
        smoothness=0,
        lipschitz=1.0,
        kinks=(0.0,),
        critical_points=(),
        antiderivative="max(x, 0)**2/2",
        tags=("torch.nn",),
        summary="Zero for negative inputs, the input itself for positive ones.",
    ),
    inplace=True,
)
def relu(x: Tensor, inplace: bool = False) -> Tensor:
    """max(x, 0); its gradient at 0 is 0, as in torch."""
    return F.relu(x, inplace=inplace)

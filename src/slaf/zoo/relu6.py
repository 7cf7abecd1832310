"""ReLU6."""

import torch.nn.functional as F
from torch import Tensor

from slaf.core import Facts, Paper, activation


@activation(
    Facts(
        name="relu6",
        formula="where(x > 6, 6, where(x > 0, x, 0))",
        paper=Paper("Convolutional Deep Belief Networks on CIFAR-10", "Krizhevsky", 2010),
        range=(0.0, 6.0),
        monotone="nondecreasing",
        parity="neither",
        smoothness=0,
        lipschitz=1.0,
        kinks=(0.0, 6.0),
        critical_points=(),
        antiderivative="min(max(x, 0), 6)**2/2 + 6*max(x - 6, 0)",
        tags=("torch.nn",),
        summary="ReLU capped at 6, so that it fits few bits.",
    ),
    inplace=True,
)
def relu6(x: Tensor, inplace: bool = False) -> Tensor:
    """min(max(x, 0), 6)."""
    return F.relu6(x, inplace=inplace)

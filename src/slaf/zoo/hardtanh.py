"""Hard tanh."""

import torch.nn.functional as F
from torch import Tensor

from slaf.core import Facts, Paper, Param, activation


@activation(
    Facts(
        name="hardtanh",
        formula="where(x > max_val, max_val, where(x < min_val, min_val, x))",
        paper=Paper("Large Scale Machine Learning", "Collobert", 2004),
        params={"min_val": Param(-1.0, below="max_val", doc="lowest value"), "max_val": Param(1.0, doc="highest value")},
        range=lambda min_val, max_val: (min_val, max_val),
        monotone="nondecreasing",
        parity=lambda min_val, max_val: "odd" if min_val == -max_val else "neither",
        smoothness=0,
        lipschitz=1.0,
        kinks=lambda min_val, max_val: (min_val, max_val),
        critical_points=(),
        antiderivative=(
            "min(max(x, min_val), max_val)**2/2 + max_val*max(x - max_val, 0) + min_val*min(x - min_val, 0)"
            " - min(max(0, min_val), max_val)**2/2 - max_val*max(-max_val, 0) - min_val*min(-min_val, 0)"
        ),
        tags=("torch.nn",),
        summary="The identity clipped to an interval.",
    ),
    inplace=True,
)
def hardtanh(x: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    """min(max(x, min_val), max_val)."""
    return F.hardtanh(x, min_val, max_val, inplace=inplace)

"""Threshold."""

import torch.nn.functional as F
from torch import Tensor

from slaf.core import INF, Facts, Paper, Param, activation


@activation(
    Facts(
        name="threshold",
        formula="where(x > threshold, x, value)",
        paper=Paper(
            "Zero-bias autoencoders and the benefits of co-adapting features", "Konda, Memisevic, Krueger", 2014, "arXiv:1402.3337"
        ),
        params={"threshold": Param(1.0, doc="inputs above it are kept"), "value": Param(0.0, doc="what the others become")},
        range=lambda threshold, value: (min(threshold, value), INF),
        monotone=lambda threshold, value: "nondecreasing" if value <= threshold else "neither",
        parity="neither",
        smoothness=lambda threshold, value: 0 if value == threshold else -1,
        lipschitz=lambda threshold, value: 1.0 if value == threshold else INF,
        kinks=lambda threshold, value: (threshold,),  # noqa: ARG005 - claims are called with every parameter
        critical_points=(),
        antiderivative="(max(x, threshold)**2 - max(0, threshold)**2)/2 + value*(min(x - threshold, 0) - min(-threshold, 0))",
        tags=("torch.nn",),
        summary="The identity above a threshold, a constant below it.",
    ),
    inplace=True,
)
def threshold(x: Tensor, threshold: float = 1.0, value: float = 0.0, inplace: bool = False) -> Tensor:
    """x where x > threshold, value otherwise."""
    return F.threshold(x, threshold, value, inplace=inplace)

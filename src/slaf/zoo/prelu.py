"""Parametric ReLU."""

from torch import Tensor

from slaf.core import INF, Facts, Paper, Param, activation

from ._lines import by_lines, two_lines


@activation(
    Facts(
        name="prelu",
        formula="where(x > 0, x, weight*x)",
        paper=Paper(
            "Delving Deep into Rectifiers: Surpassing Human-Level Performance on ImageNet Classification",
            "He, Zhang, Ren, Sun",
            2015,
            "arXiv:1502.01852",
        ),
        params={"weight": Param(0.25, learnable=True, doc="slope for x < 0, learned")},
        range=lambda weight: (-INF if weight > 0 else 0.0, INF),
        monotone=lambda weight: "nondecreasing" if weight >= 0 else "neither",
        parity=lambda weight: {1.0: "odd", -1.0: "even"}.get(weight, "neither"),
        smoothness=lambda weight: INF if weight == 1 else 0,
        lipschitz=lambda weight: max(1.0, abs(weight)),
        kinks=lambda weight: () if weight == 1 else (0.0,),
        critical_points=(),
        antiderivative="where(x > 0, x*x, weight*x*x)/2",
        tags=("torch.nn", "learnable"),
        summary="Leaky ReLU whose negative slope is learned, per layer, channel, group or unit.",
    ),
    kernel=by_lines(left="weight"),
)
def prelu(x: Tensor, weight: float | Tensor = 0.25) -> Tensor:
    """max(x, 0) + weight · min(x, 0), the weight broadcast against x; at 0 the slope is the weight, as in ``torch.nn.PReLU``."""
    return two_lines(x, left=weight)

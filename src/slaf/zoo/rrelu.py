"""Randomised leaky ReLU."""

import torch
import torch.nn.functional as F
from torch import Tensor

from slaf.core import INF, ContractError, Elementwise, Facts, Paper, Param, activations


def rrelu(x: Tensor, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False, inplace: bool = False) -> Tensor:
    """x for x ≥ 0, slope · x otherwise; the slope is drawn from U(lower, upper) per element in training and is its mean otherwise."""
    if not training:
        return F.leaky_relu(x, (lower + upper) / 2, inplace=inplace)
    # torch.nn.functional.rrelu has no float16 kernel on CPU
    slope = torch.where(x.detach() >= 0, torch.ones_like(x), torch.empty_like(x).uniform_(lower, upper))
    return x.mul_(slope) if inplace else x * slope


class RReLU(Elementwise):
    """Leaky ReLU with a random slope in training and the mean slope in evaluation; the facts are those of evaluation."""

    name = "rrelu"
    function = staticmethod(rrelu)
    can_inplace = True
    claims = Facts(
        name="rrelu",
        formula="where(x >= 0, x, (lower + upper)/2*x)",
        paper=Paper(
            "Empirical Evaluation of Rectified Activations in Convolutional Network", "Xu, Wang, Chen, Li", 2015, "arXiv:1505.00853"
        ),
        params={
            "lower": Param(1 / 8, low=0.0, below="upper", doc="smallest slope for x < 0"),
            "upper": Param(1 / 3, low=0.0, doc="largest slope for x < 0"),
        },
        range=(-INF, INF),
        monotone="nondecreasing",
        parity=lambda lower, upper: "odd" if lower + upper == 2 else "neither",
        smoothness=lambda lower, upper: INF if lower + upper == 2 else 0,
        lipschitz=lambda lower, upper: max(1.0, (lower + upper) / 2),
        kinks=lambda lower, upper: () if lower + upper == 2 else (0.0,),
        critical_points=(),
        antiderivative="where(x >= 0, x*x, (lower + upper)/2*x*x)/2",
        tags=("torch.nn", "random"),
        summary="Leaky ReLU whose negative slope is random in training.",
    )

    def forward(self, x: Tensor) -> Tensor:
        return rrelu(x, self.lower, self.upper, self.training, self.inplace)  # type: ignore[arg-type]

    def _require_scalar(self, what: str) -> None:
        if self.training:
            raise ContractError(f"{what} of rrelu is not defined in training mode, where its slope is random; call .eval() first")


activations.register(RReLU.name, RReLU)

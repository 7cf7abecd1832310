"""Two lines whose slopes or places are learned: LeLeLU, DPReLU, DualLine, AReLU, RPReLU."""

from typing import Any

import torch
from torch import Tensor

from slaf.core import INF, Facts, Paper, Param, activation

from ._lines import by_lines, two_lines
from ._numeric import expit
from ._precision import in_float32


def claims_of_lines(right: float, left: float, shift: float = 0.0) -> dict[str, Any]:
    """The claims of ``right`` · max(x, 0) + ``left`` · min(x, 0) + ``shift``."""
    straight = right == left
    if straight:
        parity = ("neither" if right else "even") if shift else "odd" if right else None
    else:
        parity = "even" if right == -left else "neither"
    return {
        "range": (-INF if right < 0 or left > 0 else shift, INF if right > 0 or left < 0 else shift),
        "monotone": "nondecreasing" if min(right, left) >= 0 else "nonincreasing" if max(right, left) <= 0 else "neither",
        "parity": parity,
        "smoothness": INF if straight else 0,
        "lipschitz": max(abs(right), abs(left)),
        "kinks": () if straight else (0.0,),
    }


def _claims(lines: Any) -> dict[str, Any]:
    """The claims of a family, each a function of the parameters, from ``lines(**params)`` = (right, left, shift)."""

    def claim(name: str) -> Any:
        return lambda **params: claims_of_lines(*lines(**params))[name]

    return {name: claim(name) for name in ("range", "monotone", "parity", "smoothness", "lipschitz", "kinks")}


@activation(
    Facts(
        name="lelelu",
        formula="where(x > 0, alpha*x, negative_slope*alpha*x)",
        paper=Paper(
            "Learnable Leaky ReLU (LeLeLU): An Alternative Accuracy-Optimized Activation Function",
            "Maniatopoulos, Mitianoudis",
            2021,
            "doi:10.3390/info12120513",
            status="read",
        ),
        params={
            "alpha": Param(1.0, learnable=True, doc="scale of both sides, learned"),
            "negative_slope": Param(0.1, low=0.0, doc="slope for x < 0, over alpha"),
        },
        **_claims(lambda alpha, negative_slope: (alpha, alpha * negative_slope)),
        critical_points=(),
        antiderivative="alpha*(max(x, 0)**2 + negative_slope*min(x, 0)**2)/2",
        tags=("learnable",),
        summary="Leaky ReLU with a learned scale.",
    )
)
@in_float32
def lelelu(x: Tensor, alpha: float | Tensor = 1.0, negative_slope: float = 0.1) -> Tensor:
    """alpha · (max(x, 0) + negative_slope · min(x, 0))."""
    return two_lines(x, left=alpha * negative_slope, right=alpha)


@activation(
    Facts(
        name="dprelu",
        formula="where(x > 0, alpha*x, beta*x)",
        paper=Paper("Learn-able parameter guided Activation Functions", "Balaji, Kavya, Sebastian", 2019, "arXiv:1912.10752"),
        params={
            "alpha": Param(1.0, learnable=True, doc="slope for x > 0, learned"),
            "beta": Param(0.01, learnable=True, doc="slope for x < 0, learned"),
        },
        **_claims(lambda alpha, beta: (alpha, beta)),
        critical_points=(),
        antiderivative="(alpha*max(x, 0)**2 + beta*min(x, 0)**2)/2",
        tags=("learnable",),
        summary="PReLU both of whose slopes are learned.",
    ),
    kernel=by_lines(left="beta", right="alpha"),
)
@in_float32
def dprelu(x: Tensor, alpha: float | Tensor = 1.0, beta: float | Tensor = 0.01) -> Tensor:
    """alpha · max(x, 0) + beta · min(x, 0)."""
    return two_lines(x, left=beta, right=alpha)


@activation(
    Facts(
        name="dual_line",
        formula="where(x > 0, alpha*x, beta*x) + m",
        paper=Paper("Learn-able parameter guided Activation Functions", "Balaji, Kavya, Sebastian", 2019, "arXiv:1912.10752"),
        params={
            "alpha": Param(1.0, learnable=True, doc="slope for x > 0, learned"),
            "beta": Param(0.01, learnable=True, doc="slope for x < 0, learned"),
            "m": Param(0.0, learnable=True, doc="shift of the mean, learned"),
        },
        **_claims(lambda alpha, beta, m: (alpha, beta, m)),
        critical_points=(),
        antiderivative="(alpha*max(x, 0)**2 + beta*min(x, 0)**2)/2 + m*x",
        tags=("learnable",),
        summary="Two lines of learned slopes that meet at a learned height.",
    ),
    kernel=by_lines(left="beta", right="alpha", height="m"),
)
@in_float32
def dual_line(x: Tensor, alpha: float | Tensor = 1.0, beta: float | Tensor = 0.01, m: float | Tensor = 0.0) -> Tensor:
    """alpha · max(x, 0) + beta · min(x, 0) + m."""
    return two_lines(x, left=beta, right=alpha, height=m)


@activation(
    Facts(
        name="arelu",
        formula="where(x > 0, (1 + sigmoid(beta))*x, max(0.01, min(alpha, 0.99))*x)",
        paper=Paper("AReLU: Attention-based Rectified Linear Unit", "Chen, Li, Xu", 2020, "arXiv:2006.13858", status="read"),
        params={
            "alpha": Param(0.9, learnable=True, doc="slope for x < 0, learned, clipped to [0.01, 0.99]"),
            "beta": Param(2.0, learnable=True, doc="the slope for x > 0 is 1 + sigmoid(beta), learned"),
        },
        **_claims(lambda alpha, beta: (1 + float(expit(beta)), max(0.01, min(alpha, 0.99)))),
        critical_points=(),
        antiderivative="((1 + sigmoid(beta))*max(x, 0)**2 + max(0.01, min(alpha, 0.99))*min(x, 0)**2)/2",
        tags=("learnable",),
        summary="Two learned slopes, the positive one above 1 and the negative one below.",
    )
)
@in_float32
def arelu(x: Tensor, alpha: float | Tensor = 0.9, beta: float | Tensor = 2.0) -> Tensor:
    """(1 + sigmoid(beta)) · max(x, 0) + clip(alpha, 0.01, 0.99) · min(x, 0)."""
    alpha, beta = (torch.as_tensor(p, dtype=x.dtype, device=x.device) for p in (alpha, beta))
    return two_lines(x, left=alpha.clamp(0.01, 0.99), right=1 + torch.sigmoid(beta))


def _rprelu_parity(gamma: float, zeta: float, weight: float) -> str:
    if weight == 1:
        return "odd" if gamma == zeta else "neither"
    return "even" if weight == -1 and gamma == 0 else "neither"


@activation(
    Facts(
        name="rprelu",
        formula="where(x > gamma, x - gamma, weight*(x - gamma)) + zeta",
        paper=Paper(
            "ReActNet: Towards Precise Binary Neural Network with Generalized Activation Functions",
            "Liu, Shen, Savvides, Cheng",
            2020,
            "arXiv:2003.03488",
            status="read",
        ),
        params={
            "gamma": Param(0.0, learnable=True, doc="place of the kink, learned"),
            "zeta": Param(0.0, learnable=True, doc="height of the kink, learned"),
            "weight": Param(0.25, learnable=True, doc="slope left of the kink, learned"),
        },
        range=lambda gamma, zeta, weight: claims_of_lines(1.0, weight, zeta)["range"],  # noqa: ARG005 - claims take every parameter
        monotone=lambda gamma, zeta, weight: claims_of_lines(1.0, weight, zeta)["monotone"],  # noqa: ARG005
        parity=_rprelu_parity,
        smoothness=lambda gamma, zeta, weight: INF if weight == 1 else 0,  # noqa: ARG005
        lipschitz=lambda gamma, zeta, weight: max(1.0, abs(weight)),  # noqa: ARG005
        kinks=lambda gamma, zeta, weight: () if weight == 1 else (gamma,),  # noqa: ARG005
        critical_points=(),
        antiderivative=("(max(x - gamma, 0)**2 - max(-gamma, 0)**2 + weight*(min(x - gamma, 0)**2 - min(-gamma, 0)**2))/2 + zeta*x"),
        tags=("learnable",),
        summary="PReLU whose kink is moved to a learned place, made for binary networks.",
    ),
    kernel=by_lines(left="weight", place="gamma", height="zeta"),
)
@in_float32
def rprelu(x: Tensor, gamma: float | Tensor = 0.0, zeta: float | Tensor = 0.0, weight: float | Tensor = 0.25) -> Tensor:
    """max(x - gamma, 0) + weight · min(x - gamma, 0) + zeta."""
    return two_lines(x, left=weight, place=gamma, height=zeta)

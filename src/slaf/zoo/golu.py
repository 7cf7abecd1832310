"""Gates of the input by a power of the sigmoid or by the Gompertz function: ARiA2, GoLU, PFTS."""

import torch
import torch.nn.functional as F
from torch import Tensor

from slaf.core import INF, Facts, Paper, Param, activation

from ._gates import gate_claims
from ._numeric import SILU_MIN_SLOPE, expit
from ._precision import in_float32


@activation(
    Facts(
        name="golu",
        formula="x*exp(-exp(-max(x, -9)))",  # below -9 the gate is < 1e-3500; arbitrary precision is slow there
        paper=Paper(
            "Gompertz Linear Units: Leveraging Asymmetry for Enhanced Learning Dynamics",
            "Das et al.",
            2025,
            "arXiv:2502.03654",
            status="read",
        ),
        range=(-0.09726013122763941, INF),  # f at the critical point
        monotone="neither",
        parity="neither",
        smoothness=INF,
        lipschitz=1.1133972752756767,  # f'(2.2386458346062827), where f'' = 0
        kinks=(),
        critical_points=(-0.56714329040978387,),  # where x + exp(x) = 0
        summary="The input weighted by the Gompertz function, a sigmoid steeper on its left.",
    )
)
@in_float32
def golu(x: Tensor) -> Tensor:
    """x · exp(-exp(-x))."""
    return x * torch.exp(-torch.exp(-x.clamp(min=-9)))


@activation(
    Facts(
        name="aria2",
        formula="x*sigmoid(beta*x)**alpha",
        paper=Paper(
            "ARiA: Utilizing Richard's Curve for Controlling the Non-monotonicity of the Activation Function in Deep Neural Nets",
            "Patwardhan, Ingalhalikar, Walambe",
            2018,
            "arXiv:1805.08878",
        ),
        params={
            "alpha": Param(1.5, low=0.0, open=True, doc="power of the gate"),
            "beta": Param(2.0, low=0.0, open=True, doc="sharpness of the gate"),
        },
        **gate_claims(
            lambda u, alpha: u * expit(u) ** alpha,
            lambda u, alpha: expit(u) ** alpha * (1 + alpha * u * expit(-u)),
            "alpha",
            "beta",
        ),
        summary="The input weighted by a power of the sigmoid; silu at alpha = beta = 1.",
    )
)
@in_float32
def aria2(x: Tensor, alpha: float = 1.5, beta: float = 2.0) -> Tensor:
    """x · (1 + exp(-beta · x))^-alpha."""
    return x * torch.exp(-alpha * F.softplus(-beta * x, threshold=50.0))


@activation(
    Facts(
        name="pfts",
        formula="max(x, 0)*sigmoid(x) + t",
        paper=Paper(
            "Parametric Flatten-T Swish: An Adaptive Non-linear Activation Function For Deep Learning",
            "Chieng, Wahid, Ong",
            2020,
            "arXiv:2011.03155",
        ),
        params={"t": Param(-0.2, learnable=True, doc="value for x < 0, learned")},
        range=lambda t: (t, INF),
        monotone="nondecreasing",
        parity="neither",
        smoothness=0,
        lipschitz=1 - SILU_MIN_SLOPE,
        kinks=(0.0,),
        critical_points=(),
        tags=("learnable",),
        summary="Silu for positive inputs, a learned constant for negative ones.",
    )
)
@in_float32
def pfts(x: Tensor, t: float | Tensor = -0.2) -> Tensor:
    """max(x, 0) · sigmoid(x) + t."""
    return F.relu(x) * torch.sigmoid(x) + t


@activation(
    Facts(
        name="leaf",
        formula="(p1*x + p2)*sigmoid(p3*x) + p4",
        paper=Paper("Learnable Extended Activation Function for Deep Neural Networks", "Bodyanskiy, Kostiuk", 2023, status="read"),
        params={
            "p1": Param(1.0, learnable=True, doc="slope of the gated line, learned"),
            "p2": Param(0.0, learnable=True, doc="height of the gated line at 0, learned"),
            "p3": Param(1.0, learnable=True, doc="sharpness of the gate, learned"),
            "p4": Param(0.0, learnable=True, doc="shift, learned"),
        },
        smoothness=INF,
        kinks=(),
        tags=("learnable",),
        summary="A gated line with four learned numbers: silu, sigmoid and tanh are cases.",
    )
)
@in_float32
def leaf(x: Tensor, p1: float | Tensor = 1.0, p2: float | Tensor = 0.0, p3: float | Tensor = 1.0, p4: float | Tensor = 0.0) -> Tensor:
    """(p1 · x + p2) · sigmoid(p3 · x) + p4."""
    return (p1 * x + p2) * torch.sigmoid(p3 * x) + p4

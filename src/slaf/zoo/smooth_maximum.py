"""SMU: the leaky ReLU with a smooth maximum, by the error function or by a square root."""

import math

import torch
from torch import Tensor

from slaf.core import INF, Facts, Paper, Param, activation

from ._precision import in_float32

_SMU = Paper(
    "SMU: smooth activation function for deep networks using smoothing maximum technique",
    "Biswas, Kumar, Banerjee, Pandey",
    2021,
    "arXiv:2111.04682",
)
_STEEP = math.erf(1) + 2 / (math.e * math.sqrt(math.pi))  # max of d/du (u erf u), at u = 1


def _smu_slopes(a: float, mu: float) -> tuple[float, float]:
    swing = (1 - a) / 2 * _STEEP if mu else 0.0
    return (1 + a) / 2 - swing, (1 + a) / 2 + swing


def _smu_range(a: float, mu: float) -> tuple[float, float] | None:
    if a > 0 or mu == 0:
        return -INF, INF
    extreme = -0.16997120747990366 / (math.sqrt(2) * mu)  # gelu(√2 mu x)/(√2 mu)
    return (extreme, INF) if mu > 0 else (-INF, extreme)


@activation(
    Facts(
        name="smu",
        formula="((1 + a)*x + (1 - a)*x*erf(mu*(1 - a)*x))/2",
        paper=_SMU,
        params={
            "a": Param(0.25, low=0.0, high=1.0, doc="slope for x → -∞"),
            "mu": Param(1.0, learnable=True, doc="sharpness, learned: leaky ReLU for mu → ∞; the paper begins at 1e6"),
        },
        range=_smu_range,
        monotone=lambda a, mu: "nondecreasing" if _smu_slopes(a, mu)[0] >= 0 else "neither",
        parity=lambda a, mu: "odd" if mu == 0 or a == 1 else "neither",
        smoothness=INF,
        lipschitz=lambda a, mu: _smu_slopes(a, mu)[1],
        kinks=(),
        tags=("learnable",),
        summary="Leaky ReLU whose maximum is smoothed by the error function, with learned sharpness; gelu for a = 0.",
    )
)
@in_float32
def smu(x: Tensor, a: float = 0.25, mu: float | Tensor = 1.0) -> Tensor:
    """((1 + a) · x + (1 - a) · x · erf(mu · (1 - a) · x)) / 2."""
    return x * (a + (1 - a) / 2 * torch.erfc(-mu * (1 - a) * x))  # 1 + erf(u) = erfc(-u), without cancellation


@activation(
    Facts(
        name="smu_1",
        formula="((1 + a)*x + sqrt((1 - a)**2*x**2 + mu**2))/2",
        paper=_SMU,
        params={
            "a": Param(0.25, low=0.0, high=1.0, doc="slope for x → -∞"),
            "mu": Param(1.0, learnable=True, doc="smoothness, learned: leaky ReLU at 0"),
        },
        range=lambda a, mu: (-INF if a else 0.0, INF),  # noqa: ARG005 - claims are called with every parameter
        monotone="nondecreasing",
        parity=lambda a, mu: "odd" if a == 1 and mu == 0 else "neither",
        smoothness=lambda a, mu: INF if a == 1 or mu else 0,
        lipschitz=1.0,
        kinks=lambda a, mu: () if a == 1 or mu else (0.0,),
        critical_points=(),
        tags=("learnable",),
        summary="Leaky ReLU whose maximum is smoothed by a square root, with learned smoothness.",
    )
)
@in_float32
def smu_1(x: Tensor, a: float = 0.25, mu: float | Tensor = 1.0) -> Tensor:
    """((1 + a) · x + √((1 - a)² x² + mu²)) / 2."""
    mu = torch.as_tensor(mu, dtype=x.dtype, device=x.device)
    u = (1 - a) * x
    square = u.square() + mu.square()
    zero = (mu == 0) | (square == 0)  # the root is |u|, or has no derivative
    far = (torch.where(zero, torch.ones_like(square), square).sqrt() + u.abs()) / 2
    far = torch.where(zero, u.abs(), far)
    # (u + root)/2 is `far` for u > 0 and mu²/(4 far) for u < 0, without cancellation
    near = mu.square() / (4 * torch.where(zero, torch.ones_like(far), far))
    return a * x + torch.where(u > 0, far, near)

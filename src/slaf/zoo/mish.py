"""Mish."""

import torch
import torch.nn.functional as F
from torch import Tensor

from slaf.core import INF, Facts, Paper, activation


@activation(
    Facts(
        name="mish",
        formula="x*tanh(log(1 + exp(x)))",
        paper=Paper("Mish: A Self Regularized Non-Monotonic Activation Function", "Misra", 2019, "arXiv:1908.08681", status="read"),
        range=(-0.30884341301725041, INF),  # f at the critical point
        monotone="neither",
        parity="neither",
        smoothness=INF,
        lipschitz=1.0884981612517278,  # f'(1.49057117948542846), where f'' = 0
        kinks=(),
        critical_points=(-1.1924312145154952,),
        tags=("torch.nn",),
        summary="The input weighted by the tanh of its softplus.",
    ),
    inplace=True,
)
def mish(x: Tensor, inplace: bool = False) -> Tensor:
    """x · tanh(softplus(x)). Written out, because the second derivative of ``torch.nn.functional.mish`` is NaN at large inputs."""
    if inplace:
        return x.copy_(mish(x.clone()))
    if x.dtype == torch.float16:  # 2x, in the second derivative, overflows float16 beyond 32752 and gives NaN
        return mish(x.float()).to(x.dtype)
    return x * torch.tanh(F.softplus(x))

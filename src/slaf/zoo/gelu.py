"""GELU, exact."""

import torch
import torch.nn.functional as F
from torch import Tensor

from slaf.core import INF, Facts, Paper, activation


@activation(
    Facts(
        name="gelu",
        formula="x*(1 + erf(x/sqrt(2)))/2",
        paper=Paper("Gaussian Error Linear Units (GELUs)", "Hendrycks, Gimpel", 2016, "arXiv:1606.08415", status="read"),
        range=(-0.16997120747990366, INF),  # f at the critical point
        monotone="neither",
        parity="neither",
        smoothness=INF,
        lipschitz=1.1289041451851548,  # f'(√2): f''(x) = φ(x)(2 - x²)
        kinks=(),
        critical_points=(-0.75179152469356446,),
        antiderivative="((x*x - 1)*erfc(-x/sqrt(2))/2 + x*exp(-x*x/2)/sqrt(2*pi))/2 + 1/4",
        tags=("torch.nn",),
        summary="The input weighted by the normal distribution function at it.",
    )
)
def gelu(x: Tensor) -> Tensor:
    """x · Φ(x), Φ the standard normal distribution function."""
    if x.dtype == torch.float16:  # torch's second derivative squares x, which overflows float16 beyond 256 and gives NaN
        return F.gelu(x.float()).to(x.dtype)
    return F.gelu(x)

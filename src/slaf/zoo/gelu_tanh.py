"""GELU, the tanh approximation."""

import torch
import torch.nn.functional as F
from torch import Tensor

from slaf.core import INF, Facts, Paper, activation


@activation(
    Facts(
        name="gelu_tanh",
        formula="x*(1 + tanh(sqrt(2/pi)*(x + 0.044715*x**3)))/2",
        paper=Paper("Gaussian Error Linear Units (GELUs)", "Hendrycks, Gimpel", 2016, "arXiv:1606.08415", status="read"),
        range=(-0.17004075057125405, INF),  # f at the critical point
        monotone="neither",
        parity="neither",
        smoothness=INF,
        lipschitz=1.1289930686587718,  # f'(1.41850400879082836), where f'' = 0
        kinks=(),
        critical_points=(-0.75246142207101626,),
        tags=("torch.nn",),
        summary="The approximation of GELU by tanh that GPT-2 and BERT use.",
    )
)
def gelu_tanh(x: Tensor) -> Tensor:
    """x · (1 + tanh(√(2/π) · (x + 0.044715 x³))) / 2."""
    if x.dtype == torch.float16:  # torch's second derivative cubes x, which overflows float16 beyond 40 and gives NaN
        return F.gelu(x.float(), approximate="tanh").to(x.dtype)
    return F.gelu(x, approximate="tanh")

"""Gates x · g(x) by a smooth, bounded g that comes from an exponential or a sigmoid.

Critical points and Lipschitz constants: the zeros of f' and f'' by mpmath.findroot at 50 digits.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from slaf.core import INF, Facts, Paper, activation

from ._precision import in_float32


@activation(
    Facts(
        name="gelu_sigmoid",
        formula="x/(1 + exp(-1.702*x))",
        aliases=("quick_gelu",),
        paper=Paper("Gaussian Error Linear Units (GELUs)", "Hendrycks, Gimpel", 2016, "arXiv:1606.08415", status="read"),
        range=(-0.16361018963635358, INF),  # f at the critical point
        monotone="neither",
        parity="neither",
        smoothness=INF,
        lipschitz=1.0998393201288669,  # f'(1.40972813191273071), where f'' = 0
        kinks=(),
        critical_points=(-0.7511542554412890,),
        tags=("gate",),
        summary="The approximation of GELU by a sigmoid.",
    )
)
@in_float32
def gelu_sigmoid(x: Tensor) -> Tensor:
    """x · sigmoid(1.702 x)."""
    return x * torch.sigmoid(1.702 * x)


@activation(
    Facts(
        name="telu",
        formula="x*tanh(exp(x))",
        aliases=("tanhexp",),
        paper=Paper(
            "TanhExp: A Smooth Activation Function with High Convergence Speed for Lightweight Neural Networks",
            "Liu, Di",
            2020,
            "arXiv:2003.09855",
            status="read",
        ),
        range=(-0.35328577784821127, INF),  # f at the critical point
        monotone="neither",
        parity="neither",
        smoothness=INF,
        lipschitz=1.0619753087179160,  # f'(0.69656396039517238), where f'' = 0
        kinks=(),
        critical_points=(-1.0788600584646241,),
        tags=("gate",),
        summary="The input weighted by the tanh of its exponential.",
    )
)
@in_float32
def telu(x: Tensor) -> Tensor:
    """x · tanh(exp(x))."""
    return x * torch.tanh(torch.exp(x.clamp(max=4)))  # 1 - tanh(exp(4)) = 8e-48


@activation(
    Facts(
        name="phish",
        formula="x*tanh(x*erfc(-x/sqrt(2))/2)",
        paper=Paper(
            "Phish: A Novel Hyper-Optimizable Activation Function", "Naveen", 2022, "doi:10.36227/techrxiv.17283824.v1", status="read"
        ),
        range=(0.0, INF),
        monotone="neither",
        parity="neither",
        smoothness=INF,
        lipschitz=1.2983066733058115,  # f'(1.20184435212781413), where f'' = 0
        kinks=(),
        critical_points=(-1.1954312013879125, 0.0),
        tags=("gate",),
        summary="The input weighted by the tanh of its GELU; never negative.",
    )
)
@in_float32
def phish(x: Tensor) -> Tensor:
    """x · tanh(gelu(x))."""
    return x * torch.tanh(0.5 * x * torch.erfc(-math.sqrt(0.5) * x))


@activation(
    Facts(
        name="serf",
        formula="x*erf(log(1 + exp(x)))",
        paper=Paper(
            "SERF: Towards better training of deep neural networks using log-Softplus ERror activation Function",
            "Nag, Bhattacharyya",
            2021,
            "arXiv:2108.09598",
        ),
        range=(-0.34843745875960642, INF),  # f at the critical point
        monotone="neither",
        parity="neither",
        smoothness=INF,
        lipschitz=1.0861254441509972,  # f'(1.09604604045262924), where f'' = 0
        kinks=(),
        critical_points=(-1.1930599689281880,),
        tags=("gate",),
        summary="The input weighted by the error function of its softplus.",
    )
)
@in_float32
def serf(x: Tensor) -> Tensor:
    """x · erf(softplus(x))."""
    return x * torch.erf(F.softplus(x, threshold=50.0))


@activation(
    Facts(
        name="logish",
        formula="x*log(1 + 1/(1 + exp(-x)))",
        paper=Paper(
            "Logish: A new nonlinear nonmonotonic activation function for convolutional neural network",
            "Zhu, Zeng, Liu, Zhang",
            2021,
            "doi:10.1016/j.neucom.2021.06.067",
            status="read",
        ),
        range=(-0.25276881678944035, INF),  # f at the critical point
        monotone="neither",
        parity="neither",
        smoothness=INF,
        lipschitz=0.74631118041273968,  # f'(2.31675851499536308), where f'' = 0; the slope at infinity is log 2
        kinks=(),
        critical_points=(-1.3724541370256921,),
        tags=("gate",),
        summary="The input weighted by log(1 + its sigmoid).",
    )
)
@in_float32
def logish(x: Tensor) -> Tensor:
    """x · log(1 + sigmoid(x))."""
    return x * torch.log1p(torch.sigmoid(x))


@activation(
    Facts(
        name="smish",
        formula="x*tanh(log(1 + 1/(1 + exp(-x))))",
        paper=Paper(
            "Smish: A Novel Activation Function for Deep Learning Methods",
            "Wang, Ren, Wang",
            2022,
            "doi:10.3390/electronics11040540",
            status="read",
        ),
        range=(-0.24999366366012950, INF),  # f at the critical point
        monotone="neither",
        parity="neither",
        smoothness=INF,
        lipschitz=0.63688422288122630,  # f'(2.21542145400880130), where f'' = 0; the slope at infinity is 3/5
        kinks=(),
        critical_points=(-1.3945193019245041,),
        tags=("gate",),
        summary="The input weighted by tanh(log(1 + its sigmoid)).",
    )
)
@in_float32
def smish(x: Tensor) -> Tensor:
    """x · tanh(log(1 + sigmoid(x)))."""
    return x * torch.tanh(torch.log1p(torch.sigmoid(x)))


@activation(
    Facts(
        name="gish",
        formula="x*log(2 - exp(-exp(min(x, 9))))",  # beyond 9 exp(-exp(x)) < 1e-3500; arbitrary precision is slow there
        paper=Paper(
            "Gish: a novel activation function for image classification",
            "Kaytan, Aydilek, Yeroğlu",
            2023,
            "doi:10.1007/s00521-023-09035-5",
            status="read",
        ),
        range=(-0.27815946089638691, INF),  # f at the critical point
        monotone="neither",
        parity="neither",
        smoothness=INF,
        lipschitz=0.75270457108566948,  # f'(1.04172224204399512), where f'' = 0; the slope at infinity is log 2
        kinks=(),
        critical_points=(-1.2820510492601260,),
        tags=("gate",),
        summary="The input weighted by log(2 - exp(-exp(x))).",
    )
)
@in_float32
def gish(x: Tensor) -> Tensor:
    """x · log(2 - exp(-exp(x)))."""
    return x * torch.log1p(-torch.expm1(-torch.exp(x.clamp(max=6))))  # exp(-exp(6)) = 6e-176

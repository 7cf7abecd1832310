"""Lines with other slopes, or none, far out: SReLU, PLU, PACT, DReLU."""

import torch
import torch.nn.functional as F
from torch import Tensor

from slaf.core import INF, Facts, Paper, Param, activation

from ._precision import in_float32


def _srelu_range(t_left: float, a_left: float, t_right: float, a_right: float) -> tuple[float, float]:
    return (-INF if a_left > 0 or a_right < 0 else t_left, INF if a_right > 0 or a_left < 0 else t_right)


def _srelu_kinks(t_left: float, a_left: float, t_right: float, a_right: float) -> tuple[float, ...]:
    return tuple(t for t, a in ((t_left, a_left), (t_right, a_right)) if a != 1)


def _srelu_parity(t_left: float, a_left: float, t_right: float, a_right: float) -> str:
    return "odd" if a_left == a_right and (a_left == 1 or t_left == -t_right) else "neither"


@activation(
    Facts(
        name="srelu",
        formula=(
            "where(x > max(t_left, t_right), max(t_left, t_right) + a_right*(x - max(t_left, t_right)),"
            " where(x < t_left, t_left + a_left*(x - t_left), x))"
        ),
        paper=Paper(
            "Deep Learning with S-shaped Rectified Linear Activation Units", "Jin, Xu, Feng, Wei, Xiong, Yan", 2015, "arXiv:1512.07030"
        ),
        params={
            "t_left": Param(0.0, learnable=True, below="t_right", doc="where the left line begins, learned"),
            "a_left": Param(0.2, learnable=True, doc="slope of the left line, learned"),
            "t_right": Param(1.0, learnable=True, doc="where the right line begins, learned"),
            "a_right": Param(1.0, learnable=True, doc="slope of the right line, learned"),
        },
        range=_srelu_range,
        monotone=lambda t_left, a_left, t_right, a_right: (  # noqa: ARG005 - claims are called with every parameter
            "nondecreasing" if min(a_left, a_right) >= 0 else "neither"
        ),
        parity=_srelu_parity,
        smoothness=lambda **p: 0 if _srelu_kinks(**p) else INF,
        lipschitz=lambda t_left, a_left, t_right, a_right: max(1.0, abs(a_left), abs(a_right)),  # noqa: ARG005
        kinks=_srelu_kinks,
        critical_points=(),
        antiderivative=(
            "x**2/2 + (a_right - 1)*(max(x - max(t_left, t_right), 0)**2 - max(-max(t_left, t_right), 0)**2)/2"
            " + (a_left - 1)*(min(x - t_left, 0)**2 - min(-t_left, 0)**2)/2"
        ),
        tags=("learnable",),
        summary="Three lines, the outer two with learned slopes and beginnings; convex and concave shapes.",
    )
)
@in_float32
def srelu(
    x: Tensor,
    t_left: float | Tensor = 0.0,
    a_left: float | Tensor = 0.2,
    t_right: float | Tensor = 1.0,
    a_right: float | Tensor = 1.0,
) -> Tensor:
    """x between t_left and t_right, a line of slope a_left or a_right from there on.

    A t_right that training drives below t_left is taken as t_left.
    """
    t_left, t_right = (torch.as_tensor(t, dtype=x.dtype, device=x.device) for t in (t_left, t_right))
    t_right = torch.maximum(t_left, t_right)
    left = torch.where(x < t_left, t_left + a_left * (x - t_left), x)
    return torch.where(x > t_right, t_right + a_right * (x - t_right), left)


@activation(
    Facts(
        name="plu",
        formula="max(alpha*(x + c) - c, min(alpha*(x - c) + c, x))",
        paper=Paper("PLU: The Piecewise Linear Unit Activation Function", "Nicolae", 2018, "arXiv:1809.09534"),
        params={
            "alpha": Param(0.1, low=0.0, high=1.0, doc="slope for |x| > c"),
            "c": Param(1.0, low=0.0, open=True, doc="half width of the part with slope 1"),
        },
        range=lambda alpha, c: (-INF, INF) if alpha else (-c, c),
        monotone="nondecreasing",
        parity="odd",
        smoothness=lambda alpha, c: INF if alpha == 1 else 0,  # noqa: ARG005
        lipschitz=1.0,
        kinks=lambda alpha, c: () if alpha == 1 else (-c, c),
        critical_points=(),
        antiderivative="alpha*x**2/2 + (1 - alpha)*(c*abs(x) - c**2/2 + max(c - abs(x), 0)**2/2)",
        summary="Three lines in place of tanh, which never saturate.",
    )
)
@in_float32
def plu(x: Tensor, alpha: float = 0.1, c: float = 1.0) -> Tensor:
    """x for |x| ≤ c, sign(x) · (c + alpha · (|x| - c)) beyond."""
    clipped = F.hardtanh(x, -c, c)
    return clipped + alpha * (x - clipped)


@activation(
    Facts(
        name="pact",
        formula="min(max(x, 0), alpha)",
        paper=Paper(
            "PACT: Parameterized Clipping Activation for Quantized Neural Networks",
            "Choi, Wang, Venkataramani, Chuang, Srinivasan, Gopalakrishnan",
            2018,
            "arXiv:1805.06085",
        ),
        params={"alpha": Param(10.0, learnable=True, low=0.0, open=True, doc="highest value, learned")},
        range=lambda alpha: (0.0, alpha),
        monotone="nondecreasing",
        parity="neither",
        smoothness=0,
        lipschitz=1.0,
        kinks=lambda alpha: (0.0, alpha),
        critical_points=(),
        antiderivative="max(x, 0)**2/2 - max(x - alpha, 0)**2/2",
        tags=("learnable",),
        summary="ReLU clipped at a learned height, so that it can be quantised.",
    )
)
@in_float32
def pact(x: Tensor, alpha: float | Tensor = 10.0) -> Tensor:
    """min(max(x, 0), alpha)."""
    return torch.minimum(F.relu(x), torch.as_tensor(alpha, dtype=x.dtype, device=x.device))


@activation(
    Facts(
        name="drelu",
        formula="max(x, -delta)",
        paper=Paper(
            "Enhancing batch normalized convolutional networks using displaced rectifier linear units: A systematic comparative study",
            "Macêdo, Zanchettin, Oliveira, Ludermir",
            2019,
            "doi:10.1016/j.eswa.2019.01.066",
        ),
        params={"delta": Param(0.05, doc="the value -delta is the lowest")},
        range=lambda delta: (-delta, INF),
        monotone="nondecreasing",
        parity="neither",
        smoothness=0,
        lipschitz=1.0,
        kinks=lambda delta: (-delta,),
        critical_points=(),
        antiderivative="-delta*x + (max(x + delta, 0)**2 - max(delta, 0)**2)/2",
        summary="ReLU with its kink moved along the diagonal to -delta.",
    )
)
@in_float32
def drelu(x: Tensor, delta: float = 0.05) -> Tensor:
    """max(x, -delta)."""
    return x.clamp(min=-delta)

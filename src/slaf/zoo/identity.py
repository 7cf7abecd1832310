"""Identity: no nonlinearity, the baseline of every comparison."""

from torch import Tensor

from slaf.core import INF, Facts, activation


@activation(
    Facts(
        name="identity",
        formula="x",
        aliases=("linear",),
        range=(-INF, INF),
        monotone="nondecreasing",
        parity="odd",
        smoothness=INF,
        lipschitz=1.0,
        kinks=(),
        critical_points=(),
        antiderivative="x*x/2",
        tags=("torch.nn",),
        summary="The input itself.",
    ),
    inplace=True,
)
def identity(x: Tensor, inplace: bool = False) -> Tensor:  # noqa: ARG001 - the result is the input either way
    """x."""
    return x

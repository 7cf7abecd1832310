"""``Case``: the activation or layer under test, how to build a fresh one, and inputs that fit it."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from slaf.core import Activation, Facts, NormActivation, Sharing, SlafError, Spec, activations, make, parse

__all__ = ["Case", "Layer", "Subject"]


@dataclass(frozen=True, eq=False)
class Layer:
    """A layer under test: a module whose output may have another shape than its input.

    Args:
        made: a module (copied, never changed) or what makes one without arguments, such as ``partial(KANLinear, 3, 4)``. Where it takes
            ``device=`` and ``dtype=`` these are checked too.
        x: inputs, (batch, …), two samples or more of which the checks make smaller and larger batches; keep it away from kinks.
        name: what tests and reports call it.
        features: the dimension of x whose size is fixed: 1 for (batch, features) and for convolutions, -1 for (batch, time, features).
    """

    made: nn.Module | Callable[..., nn.Module]
    x: Tensor
    name: str = ""
    features: int = 1

    def __post_init__(self) -> None:
        if not isinstance(self.x, Tensor) or self.x.dim() < 2 or len(self.x) < 2 or not self.x.is_floating_point():
            got = f"{self.x.dtype} of shape {tuple(self.x.shape)}" if isinstance(self.x, Tensor) else type(self.x).__name__
            raise SlafError(f"x must be two samples or more of floating point, (batch, …); got {got}")


Subject = str | Spec | nn.Module | Callable[[], nn.Module] | Layer
"""What can be checked: an activation string, a module, a function without arguments that makes one, or a layer with its input."""

CHANNELS = 3


class Case:
    """One activation under test.

    Args:
        subject: an activation string, a module (copied, never changed), a factory without arguments, or a layer with its input.
        sized: give the string ``num_channels``; without it parameters are shared by the layer and any shape is accepted.
    """

    def __init__(self, subject: Subject, sized: bool = True) -> None:
        self.given = subject
        self.example = subject.x if isinstance(subject, Layer) else None
        self.subject = subject.made if isinstance(subject, Layer) else subject
        self.companions: list[Case] = []
        """Cases that may share an expensive export with this one."""
        self.spec = parse(subject) if isinstance(subject, str) else subject if isinstance(subject, Spec) else None
        self.fresh = self.spec is not None or (isinstance(subject, Layer) and _takes_device_and_dtype(subject.made))
        self.sized = sized
        first = self.build()
        if not isinstance(first, nn.Module):
            raise SlafError(f"an activation under test must be an nn.Module, a string or a factory of modules; got {type(first).__name__}")
        if self.spec is None and not self.layer and isinstance(getattr(first, "name", None), str) and first.name in activations:
            own = first.spec() if isinstance(first, (Activation, NormActivation)) else None
            if own is not None and type(make(own)) is type(first):
                self.spec, self.sized, self.fresh = own, False, True  # the module's own string says its sizes already
        given = subject.name if isinstance(subject, Layer) else ""
        self.name = given or (str(self.spec) if self.spec is not None else getattr(first, "name", type(first).__name__))
        self.scalar, self.norm = isinstance(first, Activation), isinstance(first, NormActivation)
        self.sharing: Sharing | None = getattr(first, "sharing", None)
        facts = getattr(first.eval(), "facts", None)
        self.facts = facts if isinstance(facts, Facts) else Facts(self.name)

    def __repr__(self) -> str:
        return self.name

    def build(self, **context: Any) -> nn.Module:
        """A fresh module in training mode; ``context`` (``device``, ``dtype``, …) only where the case is ``fresh``.

        Always with the same first parameters, where they are random: a check may compare two modules.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return self._build(context)

    def _build(self, context: dict[str, Any]) -> nn.Module:
        if self.spec is not None:
            return make(self.spec, **({"num_channels": CHANNELS} if self.sized else {}), **context)
        if isinstance(self.subject, nn.Module):
            return copy.deepcopy(self.subject).train()
        return self.subject(**context)  # type: ignore[operator]

    def evaluated(self, dtype: torch.dtype | None = None) -> nn.Module:
        """A fresh module in evaluation mode, cast to ``dtype``."""
        module = self.build().eval()
        return module if dtype is None else module.to(dtype)

    @cached_property
    def module64(self) -> nn.Module:
        """One module in evaluation mode and float64, for checks that do not change it."""
        return self.evaluated(torch.float64)

    @cached_property
    def unsized(self) -> Case | None:
        """This case without ``num_channels``, which takes an input of any shape; None where sizes are needed."""
        if self.sharing is None or self.sharing.num_channels is None:
            return self
        if self.spec is None or not self.sized:
            return None
        try:
            case = Case(self.spec, sized=False)
        except SlafError:
            return None
        return case if not case.own else None  # the string itself may say the sizes

    # -- inputs ------------------------------------------------------------------------------------------------------------

    @property
    def layer(self) -> bool:
        """Whether it is a layer with an input of its own."""
        return self.example is not None

    @property
    def own(self) -> tuple[int, ...]:
        """The sizes that the input must have from ``channel_dim`` on; ``()`` where any shape fits."""
        s = self.sharing
        if s is None or s.num_channels is None:
            return ()
        return tuple(s.num_features or ()) if s.share == "unit" else (s.num_channels,)

    def shape(self, batch: int = 5) -> tuple[int, ...]:
        """A shape of three or more dimensions that fits, or of the layer's own input."""
        if self.example is not None:
            return (batch, *self.example.shape[1:])
        own, dim = self.own, 1 if self.sharing is None else self.sharing.channel_dim
        if not own:
            return (batch, CHANNELS, 4, 2)
        if dim < 0:
            return (batch, 4, *own, *(2,) * (-dim - len(own)))
        after = () if self.sharing is not None and self.sharing.share == "unit" else (4, 2)
        return (*(batch, 2, 2, 2)[:dim], *own, *after)

    @property
    def feature_dim(self) -> int | None:
        """The dimension of :meth:`shape` whose size is fixed; None where all are free."""
        if isinstance(self.given, Layer):
            return self.given.features
        return self.sharing.channel_dim if self.own and self.sharing is not None else None

    @property
    def batch_dim(self) -> int:
        """A dimension of :meth:`shape` whose size is free."""
        return -1 if self.sharing is not None and self.sharing.channel_dim == 0 else 0

    def input(self, dtype: torch.dtype = torch.float32, batch: int = 5, scale: float = 2.0) -> Tensor:
        """A reproducible random input, or a layer's own."""
        if self.example is not None:
            return self.example.detach()[torch.arange(batch) % len(self.example)].to(dtype)
        generator = torch.Generator().manual_seed(0)
        return (scale * torch.randn(self.shape(batch), generator=generator, dtype=torch.float64)).to(dtype)

    def smooth(self, x: Tensor) -> Tensor:
        """x, what lies near a declared kink moved away from it."""
        for kink in self.facts.kinks or ():
            x = torch.where((x - kink).abs() < 1e-2, x + 0.05, x)
        return x

    def output_shape(self, x: Tensor) -> tuple[int, ...]:
        """The shape that the output for ``x`` must have."""
        return (len(x), *self._output_of_a_sample) if self.layer else tuple(x.shape)

    @cached_property
    def _output_of_a_sample(self) -> tuple[int, ...]:
        return tuple(self.module64(self.input(torch.float64)).shape[1:])

    def spread(self, values: Tensor) -> Tensor:
        """A vector of n inputs in a shape that fits, every channel or unit seeing all of them."""
        own = self.own
        if not own or self.sharing is None:
            return values
        dim = self.sharing.channel_dim
        if dim == 0:
            return values.reshape(*(1,) * len(own), -1).expand(*own, -1)
        between, after = (1,) * (max(dim, 1) - 1), (1,) * (max(-dim, len(own)) - len(own))
        return values.reshape(-1, *between, *(1,) * len(own), *after).expand(-1, *between, *own, *after)

    def first(self, y: Tensor) -> Tensor:
        """Undo :meth:`spread`, for the first channel or unit."""
        if not self.own:
            return y
        first_last = self.sharing is not None and self.sharing.channel_dim == 0
        return y.reshape(-1, y.shape[-1])[0] if first_last else y.reshape(y.shape[0], -1)[:, 0]

    # -- the scalar function -----------------------------------------------------------------------------------------------

    def f(self, values: Tensor, module: nn.Module | None = None) -> Tensor:
        """f of the first channel at a vector, by ``module`` or in float64; differentiable."""
        return self.first((module or self.module64)(self.spread(values)))

    def d(self, values: Tensor, order: int = 1, module: nn.Module | None = None) -> Tensor:
        """The ``order``-th derivative of :meth:`f` by reverse-mode automatic differentiation."""
        x = values.detach().clone().requires_grad_()
        with torch.enable_grad():
            y = self.f(x, module)
            for _ in range(order):
                if not y.requires_grad:
                    return torch.zeros_like(x)
                (y,) = torch.autograd.grad(y.sum(), x, create_graph=True, materialize_grads=True)
        return y.detach()

    def away_from_kinks(self, values: Tensor, distance: float = 1e-6) -> Tensor:
        """The values that are not within ``distance`` (relative, from 1 on) of a declared kink."""
        keep = torch.ones_like(values, dtype=torch.bool)
        for kink in self.facts.kinks or ():
            keep &= (values.double() - kink).abs() > distance * max(1.0, abs(kink))
        return values[keep]


def _takes_device_and_dtype(make: object) -> bool:
    if not callable(make) or isinstance(make, nn.Module):
        return False
    parameters = inspect.signature(make).parameters
    return {"device", "dtype"} <= parameters.keys() or any(p.kind is p.VAR_KEYWORD for p in parameters.values())

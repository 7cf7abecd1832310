"""Mixture: a learned weighted sum of named activations, and the choice of the best of them."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from slaf.core import Activation, Elementwise, Facts, Paper, Sharing, SlafError, Spec, make, one_of, parse
from slaf.core.analysis import substituted
from slaf.fit import least_squares

from .family import Family, register

__all__ = ["Mixture"]

_PAPER = Paper("Activation Space Selectable Kolmogorov-Arnold Networks", "Yang et al.", 2024, "arXiv:2408.08338")
_SUMMARY = "A learned weighted sum of several activations, of which the best can be chosen."
DEFAULT = ("identity", "relu", "tanh")
WEIGHTS = ("free", "softmax", "sigmoid", "onehot")
_CHOSEN = 0.9
"""The weight of a member that ``init`` names, where weights cannot be 1."""


class Mixture(Family):
    """f(x) = Σ_k w_k f_k(x) over activations f_k; w is learned per layer, channel, group or unit.

    Args:
        activations: the members as positional arguments, any activation strings, learned ones included:
            ``mixture(relu, leaky_relu(negative_slope=0.2), tanh)``; they share their parameters as the weights are shared unless they
            say otherwise. None: ``mixture(identity, relu, tanh)``.
        members: the same as one tuple.
        weights: ``"free"``: w_k is the parameter; ``"softmax"``: w = softmax(θ), a convex combination; ``"sigmoid"``: w_k = σ(θ_k);
            ``"onehot"``: w_k = 1 for the member in ``choice``, not learned.
        init: ``"uniform"``: w_k = 1/M; one of the members: 1 for it and 0 for the others (0.9 and the rest where the weights cannot be
            1); any other activation: fitted over N(0, 1) (``"free"`` only).
        standardize: every member is divided by the root of E f_k(z)², z ~ N(0, 1), at its start, so that weights compare.
        choice: for ``"onehot"``, the number of the member for every θ, or one number for all.
        share, num_channels, groups, num_features, channel_dim: see :class:`slaf.core.Sharing`.
        inplace: refused: backward needs the input.

    Shapes: any input, or one with ``num_channels`` entries at ``channel_dim``; output of the same shape and dtype. Half types are summed in
    float32.

    Raises:
        SlafError: a member that is not elementwise, or an argument that is not allowed.

    Source: the selectable space of Yang et al. (2024), arXiv:2408.08338 [from memory], whose selection rule is not published: ours is
    :meth:`select`.

    Example:
        >>> slaf.make("mixture(relu, gelu, tanh, weights=softmax)", num_channels=64)
    """

    name = "mixture"
    defaults: ClassVar[Mapping[str, Any]] = {"members": None, "weights": "free", "init": "uniform", "standardize": False, "choice": 0}

    def __init__(
        self,
        *activations: str | Spec,
        members: Sequence[str | Spec] | None = None,
        weights: str = "free",
        init: str | Spec = "uniform",
        standardize: bool = False,
        choice: int | Sequence[int] = 0,
        share: str | None = None,
        num_channels: int | None = None,
        groups: int | None = None,
        num_features: int | tuple[int, ...] | None = None,
        channel_dim: int = 1,
        inplace: bool = False,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        specs = _specs(activations, members)
        names = tuple(str(s) for s in specs)
        init = str(init)
        given = {"members": names, "weights": weights, "init": init, "standardize": standardize, "choice": choice}
        super().__init__(given, share, num_channels, groups, num_features, channel_dim, inplace)
        self.kind, self.init, self.names = one_of("weights", weights, WEIGHTS), init, names
        if not isinstance(standardize, bool):
            raise SlafError(f"standardize must be true or false; got {standardize!r}")
        made = {"device": device, "dtype": dtype}
        self.members = nn.ModuleList(self._member(spec, **made) for spec in specs)
        self.rms = tuple(self._rms(spec) if standardize else 1.0 for spec in specs)
        self.weight = nn.Parameter(torch.empty(self.sharing.count, len(specs), **made)) if self.kind != "onehot" else None
        self.choice: Tensor | None
        self.register_buffer("choice", torch.empty(self.sharing.count, dtype=torch.long, device=device) if self.kind == "onehot" else None)
        self._choice = self._checked(choice)
        self._start()

    def spec(self) -> Spec:
        """The activation string, its members by position."""
        config = self.config()
        return Spec(self.name, tuple(parse(n) for n in config.pop("members")), config)

    def _member(self, spec: Spec, **made: Any) -> Activation:
        own = self.sharing
        shared: dict[str, Any] = {"share": own.share, "groups": own.groups} if "share" not in spec.kwargs else {}
        sizes: dict[str, Any] = {"num_channels": own.num_channels, "channel_dim": own.channel_dim} | shared
        if own.share == "unit":
            sizes["num_features"] = own.num_features
        module = make(spec, **{k: v for k, v in (sizes | made).items() if v is not None})
        if not isinstance(module, Activation):
            raise SlafError(f"members of a mixture must be elementwise activations; {spec} is none")
        return module

    def _rms(self, spec: Spec) -> float:
        moment = self._member(spec, dtype=torch.float64, device="cpu").eval().second_moment()
        if not 0 < moment < math.inf:
            raise SlafError(f"{spec} has the second moment {moment:g} under N(0, 1), so standardize is not possible")
        return math.sqrt(moment)

    def _checked(self, choice: int | Sequence[int]) -> tuple[int, ...]:
        given = (choice,) * self.sharing.count if isinstance(choice, int) else tuple(choice)
        fits = all(isinstance(c, int) and not isinstance(c, bool) and 0 <= c < len(self.names) for c in given)
        if not fits or len(given) != self.sharing.count:
            count = self.sharing.count
            raise SlafError(f"choice must be one integer below {len(self.names)}, or {count} of them, one for every θ; got {choice!r}")
        return given

    # -- weights ------------------------------------------------------------------------------------------------------------

    def reset_parameters(self) -> None:
        """Set the weights as ``init`` says, and every member's parameters to their start."""
        for member in self.members:
            member.reset_parameters()  # type: ignore[operator]
        self._start()

    def _start(self) -> None:
        with torch.no_grad():
            if self.choice is not None:
                self.choice.copy_(torch.tensor(self._choice))
            if self.weight is not None:
                self.weight.copy_(self._first_weights().expand_as(self.weight))

    def _first_weights(self) -> Tensor:
        count = len(self.names)
        chosen = self._index(self.init) if self.init != "uniform" else None
        if chosen is None and self.init != "uniform":
            return self._fitted()
        if self.kind == "free":
            return torch.full((count,), 1 / count) if chosen is None else torch.eye(count)[chosen]
        if chosen is None:  # a single sigmoid cannot be 1
            return torch.zeros(count) if self.kind == "softmax" else torch.full((count,), _logit(min(1 / count, _CHOSEN)))
        rest = (1 - _CHOSEN) / max(count - 1, 1)
        start = torch.full((count,), math.log(rest) if self.kind == "softmax" else _logit(1 - _CHOSEN))
        start[chosen] = math.log(_CHOSEN) if self.kind == "softmax" else _logit(_CHOSEN)
        return start

    def _index(self, name: str) -> int | None:
        return self.names.index(name) if name in self.names else None

    def _fitted(self) -> Tensor:
        if self.kind != "free":
            allowed = f"uniform or one of the members {', '.join(self.names)}"
            raise SlafError(f"init must be {allowed} for weights={self.kind}; got {self.init!r}")
        target = make(self.init)
        modules = [self._member(parse(n), dtype=torch.float64, device="cpu").eval() for n in self.names]

        def terms(x: Tensor) -> Tensor:
            return torch.stack([m.curves(x)[:, 0] / r for m, r in zip(modules, self.rms, strict=True)], 1)

        return least_squares(target.double().eval(), terms)[0].to(torch.float64)

    @property
    def coefficients(self) -> Tensor | None:
        """w, (θ, members): what a penalty on coefficients acts upon."""
        if self.weight is None:
            return None
        if self.kind == "softmax":
            return torch.softmax(self.weight, -1)
        return torch.sigmoid(self.weight) if self.kind == "sigmoid" else self.weight

    def weights(self) -> dict[str, list[float]]:
        """The weights by the members' names, one number for every θ."""
        w = self._table().detach().double().cpu()
        unique = [n if self.names.count(n) == 1 else f"{n} #{k}" for k, n in enumerate(self.names)]
        return {name: w[:, k].tolist() for k, name in enumerate(unique)}

    def _table(self) -> Tensor:
        """w, (θ, members), one-hot where it is not learned."""
        if self.choice is not None:
            return nn.functional.one_hot(self.choice, len(self.names)).to(torch.float32)
        w = self.coefficients
        assert w is not None
        return w

    # -- evaluation ---------------------------------------------------------------------------------------------------------

    def forward(self, x: Tensor) -> Tensor:
        wide = x.to(torch.float64 if x.dtype == torch.float64 else torch.float32)
        terms = [self._term(k, wide) for k in range(len(self.names))]
        if self.choice is not None:
            chosen = self.per_element(self.choice[:, None], x)[0]
            y = terms[0]
            for k in range(1, len(terms)):
                y = torch.where(chosen == k, terms[k], y)
            return y.to(x.dtype)
        w = self.per_element(self._table().to(wide.dtype), x)
        y = w[0] * terms[0]
        for k in range(1, len(terms)):
            y = torch.addcmul(y, w[k], terms[k])
        return y.to(x.dtype)

    def _term(self, k: int, x: Tensor) -> Tensor:
        y = self.members[k](x)
        return y if self.rms[k] == 1 else y / self.rms[k]

    @property
    def normalizes(self) -> bool:  # type: ignore[override]
        """Whether a member standardises its input."""
        return any(m.normalizes for m in self._activations())

    def _activations(self) -> list[Activation]:
        return [m for m in self.members if isinstance(m, Activation)]

    def _require_scalar(self, what: str) -> None:
        for member in self._activations():
            member._require_scalar(what)

    # -- selection ----------------------------------------------------------------------------------------------------------

    def select(self, x: Tensor | None = None) -> Tensor:
        """The number of the best member for every θ, (count,).

        Without ``x`` the member that contributes most, |w_k| √(E f_k(z)²), z ~ N(0, 1). With an input ``x`` the one of which a multiple
        comes nearest to the mixture's output, in least squares over the elements that the θ serves.
        """
        if self.choice is not None:
            return self.choice.clone()
        self._require_scalar("selection")
        with torch.no_grad():
            w = self._table()
            if x is None:
                sizes = [m.second_moment() ** 0.5 / r for m, r in zip(self._activations(), self.rms, strict=True)]
                return (w.abs() * torch.tensor(sizes, dtype=w.dtype, device=w.device)).argmax(1)
            terms = torch.stack([self._term(k, x.double()) for k in range(len(self.names))])
            y = (self.per_element(w.double(), x) * terms).sum(0)
            across, power = self._per_theta(terms * y), self._per_theta(terms * terms)
            return (across.square() / power.clamp(min=1e-300)).argmax(0)

    def _per_theta(self, values: Tensor) -> Tensor:
        """The sum over the elements that every θ serves: (members, count)."""
        own = self.sharing
        shape = own.shape(values[0], own.sites)
        if own.count == 1:
            return values.flatten(1).sum(1, keepdim=True)
        summed = values.sum([d + 1 for d in range(values.dim() - 1) if shape[d] == 1]).flatten(1)
        return summed.reshape(len(values), own.count, -1).sum(-1)

    def prune(self, x: Tensor | None = None) -> Mixture:
        """A copy in which every θ has its best member alone, by :meth:`select`, with weight 1; members that nobody chose are gone.

        It computes what the chosen members compute, bit for bit, and has their parameters only. Weights are dropped with the choice: let
        the next layer train on, or choose ``weights=softmax``, whose weights approach 0 and 1.
        """
        choice = self.select(x).tolist()
        kept = sorted(set(choice))
        config = {k: v for k, v in self.config().items() if k not in ("members", "weights", "init", "choice")}
        pruned = Mixture(
            members=tuple(self.names[k] for k in kept), weights="onehot", choice=tuple(kept.index(c) for c in choice), **config
        )
        pruned.members = nn.ModuleList(copy.deepcopy(self.members[k]) for k in kept)
        pruned.rms = tuple(self.rms[k] for k in kept)
        if self.weight is not None:
            pruned = pruned.to(self.weight.device)
        return pruned.train(self.training)

    # -- what is derived ----------------------------------------------------------------------------------------------------

    def bounds(self, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
        """A sound range on each box: by branch and bound over the expression; where a member has none, by the members' own bounds.

        The latter adds the members' weighted ranges on 64 parts of the box, so it is tight to first order only.

        Raises:
            SlafError: ``lower`` exceeds ``upper`` somewhere, or a member does not know its bounds.
        """
        self._require_scalar("bounds")
        if bool((lower > upper).any()):
            raise SlafError("lower must not exceed upper anywhere")
        shared = (getattr(m, "sharing", None) for m in self.modules())
        counts = {own.count for own in shared if isinstance(own, Sharing)}
        if counts == {self.sharing.count}:  # else the expression of a θ of ours would be that of one of a member's
            try:
                return super().bounds(lower, upper)
            except SlafError:
                pass
        return self._sum_of_bounds(lower, upper)

    def _sum_of_bounds(self, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            edges = [lower, *(torch.lerp(lower.float(), upper.float(), i / 64).to(lower.dtype) for i in range(1, 64)), upper]
            edges = [torch.minimum(torch.maximum(e.nan_to_num(nan=0.0), lower), upper) for e in edges]
            for i in range(1, len(edges)):
                edges[i] = torch.maximum(edges[i], edges[i - 1])
            w = self.per_element(self._table().to(torch.float64), lower)
            low = high = torch.zeros(64, *lower.shape, dtype=torch.float64)
            size = torch.zeros_like(low)
            for k, member in enumerate(self._activations()):
                parts = [member.bounds(a, b) for a, b in itertools.pairwise(edges)]
                ends = torch.stack([torch.stack([p.double() for p in side]) for side in zip(*parts, strict=True)]) * w[k] / self.rms[k]
                ends = torch.where(w[k] == 0, 0.0, ends)
                low, high, size = low + ends.amin(0), high + ends.amax(0), size + ends.abs().amax(0)
            eps = (4 * len(self.names) + 8) * torch.finfo(lower.dtype).eps
            slack = eps * size.amax(0) + torch.finfo(lower.dtype).tiny
            return (low.amin(0) - slack).to(lower.dtype), (high.amax(0) + slack).to(lower.dtype)

    @property
    def facts(self) -> Facts:  # type: ignore[override]
        """What follows from the members with a weight that is not 0: kinks and smoothness."""
        used = (self._table() != 0).any(0).tolist()
        claims = [m.facts for m, u in zip(self._activations(), used, strict=True) if u]
        kinks = None if any(c.kinks is None for c in claims) else tuple(sorted({float(k) for c in claims for k in c.kinks}))
        rough = [c.smoothness for c in claims if c.smoothness is not None]
        shared = kinks is not None and len(kinks) < sum(len(c.kinks) for c in claims)  # kinks of several members may cancel
        smoothness = min(rough) if len(rough) == len(claims) and rough and not shared else None
        return Facts(name=self.name, paper=_PAPER, smoothness=smoothness, kinks=kinks, tags=("learnable", "mixture"), summary=_SUMMARY)

    @staticmethod
    def describe() -> Facts:
        """The claims about the family, without members."""
        return Facts(name="mixture", paper=_PAPER, tags=("learnable", "mixture"), summary=_SUMMARY)

    def expression(self, site: int = 0) -> Any:
        """Σ_k w_k f_k of channel ``site`` as a sympy expression."""
        import sympy

        w = self.of_site(self._table(), site)
        parts = [(sympy.Float(c / r), m) for c, r, m in zip(w, self.rms, self._activations(), strict=True) if c != 0]
        return sum((c * _expression(m, site) for c, m in parts), sympy.Integer(0))


def _expression(member: Activation, site: int) -> Any:
    """A member's expression at one site, its learned parameters put in."""
    sharing = getattr(member, "sharing", None)
    expression = member.expression(site if sharing is not None and sharing.sites > 1 else 0)
    if not isinstance(member, Elementwise) or member.sharing is None:
        return expression
    numbers = {}
    for name in member.facts.params:
        value = getattr(member, name)
        if isinstance(value, Tensor):
            rows = member.sharing.per_site(value).detach().double()
            numbers[name] = float(rows[site if len(rows) > 1 else 0])
    return substituted(expression, numbers)


def _logit(p: float) -> float:
    return math.log(p / (1 - p))


def _specs(positional: Sequence[str | Spec], named: Sequence[str | Spec] | None) -> list[Spec]:
    if positional and named is not None:
        raise SlafError("members are given twice, by position and as members=")
    given = positional or (DEFAULT if named is None else named)
    if isinstance(given, str) or not given or not all(isinstance(g, (str, Spec)) for g in given):
        raise SlafError(f"mixture needs one or more activations, such as mixture(relu, tanh); got {given!r}")
    return [g if isinstance(g, Spec) else parse(g) for g in given]


register(Mixture)

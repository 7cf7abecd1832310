"""SLAF, the self-learnable activation function: y = Σ_k a_k N_k(φ_k(s(z))) + b."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from slaf.bases import Basis, PolynomialBasis
from slaf.bases import basis as find_basis
from slaf.bases.polynomial import Polynomials
from slaf.core import INF, Activation, Facts, Paper, Sharing, SlafError, Spec, activations, one_of, parse
from slaf.core.elementwise import spread_over_sites
from slaf.core.quadrature import standard_normal_nodes
from slaf.fit import Normal
from slaf.kernels.compiled import ByKernel, compiled

from .folded import Folded
from .initialization import SQUASH, Form, fitted_start, squash_to_domain
from .mixing import Mixing
from .presets import DEFAULTS, PRESETS
from .statistics import InputStatistics, TermStatistics, small_dtype
from .summed import Summed

__all__ = ["SLAF"]

_PAPER = Paper(
    "Learning Activation Functions: A new paradigm for understanding Neural Networks",
    "Goyal, Goyal, Lall",
    2019,
    "arXiv:1906.09529",
    status="read",
)
OWN_UP_TO, GROUPS_BEYOND = 24, 8
SPREAD = 3.0
"""Standard deviations from the middle of ``interval`` to its ends, where ``init`` is fitted over it."""
MAX_KINKS = 1000
"""Of all channels together: beyond, quadrature does not split at them."""
_PAPER_INITS = ("paper", "paper_no_offset")


def default_groups(num_channels: int | None) -> int | None:
    """One set of coefficients per channel up to 24 channels, beyond that the largest divisor of ``num_channels`` up to 8.

    A narrow layer needs every unit to differ; in a wide one so many coefficients would fit noise (docs/slaf.md).
    """
    if num_channels is None or num_channels <= OWN_UP_TO:
        return num_channels
    return max(g for g in range(1, GROUPS_BEYOND + 1) if num_channels % g == 0)


def _positive_number(argument: str, value: object, allow_zero: bool = False) -> float:
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not number or value < 0 or (value == 0 and not allow_zero):  # type: ignore[operator]
        raise SlafError(f"{argument} must be a {'non-negative' if allow_zero else 'positive'} number; got {value!r}")
    return float(value)  # type: ignore[arg-type]


def _checked_interval(interval: object, given: dict[str, Any]) -> tuple[float, float] | None:
    if interval is None:
        return None
    for other in ("input", "normalize", "input_scale", "preset"):
        if given.get(other) is not None:
            raise SlafError(f"interval={interval!r} takes the place of statistics; leave out {other}={given[other]!r}")
    ends = interval if isinstance(interval, (tuple, list)) and len(interval) == 2 else (0, 0)
    if not all(isinstance(e, (int, float)) and math.isfinite(e) for e in ends) or not ends[0] < ends[1]:
        raise SlafError(f"interval must be two finite numbers, the lower one first; got {interval!r}")
    return float(ends[0]), float(ends[1])


def _normal_on(low: float, high: float) -> Normal:
    return Normal((low + high) / 2, (high - low) / 2 / SPREAD)


def _number_of_terms(basis: Basis, default_degree: int, degree: int | None, terms: int | None) -> int:
    """K from the argument that the basis takes, or its default; raises where the other one was given."""
    if isinstance(basis, PolynomialBasis):
        if terms is not None:
            raise SlafError(f"terms={terms!r} is for bases that are not polynomial; basis {basis} takes degree")
        return basis.check_terms(default_degree if degree is None else degree)
    if degree is not None:
        raise SlafError(f"degree={degree!r} is for polynomial bases; basis {basis} takes terms")
    return basis.check_terms(basis.default_terms if terms is None else terms)


class SLAF(ByKernel, Activation):
    """y = Σ_k a_k N_k(φ_k(s(z))) + b, k = 1 … K: over a polynomial basis, a learned polynomial (in evaluation, with ``squash=none``).

    The default is degree 7 in Chebyshev polynomials of the standardised input over 3, started as GELU.

    Args:
        degree: K for a polynomial basis, 1 to 24.
        basis: φ, one of :data:`slaf.bases.bases`, with its own parameters where it has some: ``"bspline(degree=2)"``. What s gives
            lies mostly in [-1, 1], which is stretched to the basis' domain.
        share: one set of coefficients per ``"layer"``, ``"channel"``, ``"group"`` or ``"unit"``; statistics are always per channel
            (or unit). Not given: as many groups as :func:`default_groups` says.
        normalize: N_k, ``"none"`` or, for polynomial bases, ``"batch"``: every term standardised by its own batch statistics, as in the
            paper.
        input: s before the scale, ``"affine"``: standardised by running statistics with gradients as in batch normalisation (batch
            renormalisation, arXiv:1702.03275), so training and evaluation agree; ``"batch"``: by batch statistics in training;
            ``"identity"``: as it comes.
        input_scale: the standardised input is divided by it, so that it lies mostly in [-1, 1]. With ``input=identity`` a polynomial
            basis takes the input itself; for any other the input is divided by it too: ±input_scale are the ends of the domain.
        interval: (low, high), mapped to [-1, 1] in place of statistics, so that nothing moves in training: what a swap fits. ``init`` is
            then fitted over a normal density with ±3 standard deviations inside. Not with input or normalize.
        squash: ``"tanh"`` or ``"clamp"`` after that; then it is no polynomial any more.
        init: any activation string or function, fitted over N(0, 1); ``"paper"``: a_k ~ N(0, 1), plus 1 for k = 1, b = 0.1;
            ``"paper_no_offset"``: without that 1. Both are for polynomial bases.
        init_noise: standard deviation of noise added to the fitted coefficients.
        coefficient_scale: a_k and b are learned divided by it, so under Adam they move that much more slowly than the weights.
        gate: multiply a_k by σ(u_k), u_k learned and shared by the layer (the paper's parametrisations A and C).
        preset: ``"paper_a"``, ``"paper_b"``, ``"paper_b_prime"`` or ``"paper_c"``: the values in :data:`slaf.learnable.presets.PRESETS`;
            what is given beside it wins. Without it, what is not given is as in :data:`slaf.learnable.presets.DEFAULTS`.
        momentum: the weight of the newest batch in the running statistics.
        eps: added to variances; ``None``: 1e-5 for the input's, 1e-10 of the second moment for the terms'.
        terms: K for a basis that is not polynomial; as many as the basis says, if not given.
        num_channels, groups, num_features, channel_dim: see :class:`slaf.core.Sharing`.
        inplace: refused: backward needs the input.

    Shapes: input with ``num_channels`` entries at ``channel_dim``; output of the same shape and dtype. Half types and autocast
    compute inside in float32, small matrices in float64.

    Batch statistics are those of this process's batch, or of all ranks' batches after :func:`slaf.train.synchronize`.

    Raises:
        SlafError: an argument that is not allowed, an input that does not fit, an empty batch in training.

    Source: Goyal, Goyal, Lall (2019), arXiv:1906.09529; parametrisations from the authors' code.

    Example:
        >>> act = slaf.make("slaf(degree=5)", num_channels=64)
        >>> act(torch.randn(32, 64)).shape
        torch.Size([32, 64])
    """

    name = "slaf"

    def __init__(
        self,
        degree: int | None = None,
        basis: str | Spec | Basis | None = None,
        share: str | None = None,
        normalize: str | None = None,
        input: str | None = None,
        input_scale: float | None = None,
        squash: str | None = None,
        init: str | Spec | Callable[[Tensor], Tensor] | None = None,
        init_noise: float | None = None,
        coefficient_scale: float | None = None,
        gate: bool | None = None,
        preset: str | None = None,
        momentum: float | None = None,
        eps: float | None = None,
        terms: int | None = None,
        interval: tuple[float, float] | None = None,
        *,
        num_channels: int | None = None,
        groups: int | None = None,
        num_features: int | tuple[int, ...] | None = None,
        channel_dim: int = 1,
        inplace: bool = False,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.refuse_inplace(inplace)
        given = {k: v for k, v in locals().items() if k in DEFAULTS and v is not None}
        if basis is not None:
            given["basis"] = str(find_basis(basis))
        self._config = given | ({} if preset is None else {"preset": one_of("preset", preset, PRESETS)})
        if interval is not None:
            given["interval"] = interval = tuple(interval) if isinstance(interval, list) else interval
        base = DEFAULTS | ({} if preset is None else PRESETS[preset])
        self._config = {k: v for k, v in self._config.items() if k == "preset" or v != base[k]}
        chosen = base | given
        self.basis = find_basis(chosen["basis"])
        self._evaluation = Folded(self.basis) if isinstance(self.basis, PolynomialBasis) else Summed(self.basis)
        self.num_terms = _number_of_terms(self.basis, chosen["degree"], degree, terms)
        self.normalize = one_of("normalize", chosen["normalize"], ("none", "batch"))
        self.interval = _checked_interval(interval, given if preset is None else given | {"preset": preset})
        self.input = "identity" if self.interval else one_of("input", chosen["input"], ("affine", "batch", "identity"))
        self.squash = one_of("squash", chosen["squash"], tuple(SQUASH))
        self.input_scale = _positive_number("input_scale", chosen["input_scale"])
        self.coefficient_scale = _positive_number("coefficient_scale", chosen["coefficient_scale"])
        self.init = str(chosen["init"]) if isinstance(chosen["init"], Spec) else chosen["init"]
        self.init_noise = _positive_number("init_noise", chosen["init_noise"], allow_zero=True)
        momentum = _positive_number("momentum", chosen["momentum"])
        if momentum > 1:
            raise SlafError(f"momentum must be at most 1; got {momentum!r}")
        self._refuse_for_others()
        eps = None if chosen["eps"] is None else _positive_number("eps", chosen["eps"], allow_zero=True)
        if "share" not in given and chosen["share"] == "group" and groups is None:
            groups = default_groups(num_channels)
            if groups is None and self.interval is not None and num_features is None:
                chosen["share"] = "layer"
        self.sharing = Sharing(chosen["share"], num_channels, groups, num_features, channel_dim)
        if (self.input != "identity" or self.normalize == "batch") and self.sharing.num_channels is None:
            raise SlafError("slaf keeps statistics per channel, so it needs num_channels (or input=identity, normalize=none, share=layer)")
        made = {"device": device, "dtype": dtype}
        self.weight = nn.Parameter(torch.empty(self.sharing.count, self.num_terms, **made))
        self.bias = nn.Parameter(torch.empty(self.sharing.count, **made))
        self.gate = nn.Parameter(torch.empty(1, self.num_terms, **made)) if chosen["gate"] else None
        self.input_statistics: InputStatistics | None = None
        self.term_statistics: TermStatistics | None = None
        sites, warm_up = self.sharing.sites, not self._paper_init
        if self.input != "identity":
            self.input_statistics = InputStatistics(sites, momentum, warm_up, 1e-5 if eps is None else eps, self.input == "affine", device)
        if self.normalize == "batch" and isinstance(self.basis, PolynomialBasis):
            self.term_statistics = TermStatistics(sites, self.basis, self.num_terms, momentum, warm_up, eps, device)
        self.mixing: Mixing | None = None
        if self.basis.mixing(self.num_terms) is not None:
            self.mixing = Mixing(self.basis, self.num_terms, device)
        if dtype == torch.float64:
            self.double()
        self.reset_parameters()

    # -- construction -------------------------------------------------------------------------------------------------------

    def _refuse_for_others(self) -> None:
        """Raise for what only a polynomial basis can have."""
        if self.polynomial_basis:
            return
        if self.normalize != "none":
            raise SlafError(f"normalize={self.normalize} is for polynomial bases; basis {self.basis} takes normalize=none")
        if self._paper_init:
            raise SlafError(f"init={self.init} is for polynomial bases; basis {self.basis} takes any activation or function")

    @property
    def polynomial_basis(self) -> bool:
        """Whether the basis is one of polynomials, so that K is a degree."""
        return isinstance(self.basis, PolynomialBasis)

    @property
    def domain(self) -> tuple[float, float] | None:  # type: ignore[override]
        """``interval``, where it is given."""
        return self.interval

    def stretch_to(self, low: float, high: float) -> None:
        """The same coefficients on another interval: the function is stretched along x. For an activation with an interval."""
        self.interval = self._config["interval"] = _checked_interval((low, high), {})

    def fixed_map(self) -> tuple[float, float]:
        """Center and 1/half-width of ``interval``."""
        low, high = self.interval  # type: ignore[misc]
        return (low + high) / 2, 2 / (high - low)

    @property
    def degree(self) -> int | None:
        """The degree over a polynomial basis; ``None`` over any other."""
        return self.num_terms if self.polynomial_basis else None

    @property
    def _paper_init(self) -> bool:
        return self.init in _PAPER_INITS

    def reset_parameters(self) -> None:
        """Set the coefficients as ``init`` says and forget all statistics."""
        with torch.no_grad():
            if self.input_statistics is not None:
                self.input_statistics.reset()
            if self._paper_init:
                self.weight.normal_()
                if self.init == "paper":
                    self.weight[:, 0] += 1
                self.bias.fill_(0.1)
                if self.term_statistics is not None:
                    self.term_statistics.reset()
            else:
                self._fit(self.init, Normal() if self.interval is None else _normal_on(*self.interval))
            if self.gate is not None:
                self.gate.normal_() if self._paper_init else self.gate.zero_()

    def _fit(self, target: str | Callable[[Tensor], Tensor], density: Normal) -> None:
        scale = None if self.polynomial_basis and self.input_statistics is None else self.input_scale
        if self.interval is not None:
            scale = SPREAD
        form = Form(self.basis, self.num_terms, self.squash, scale, self.normalize == "batch", density)
        start = fitted_start(target, form)
        gate = 0.5 if self.gate is not None else 1.0
        weight = (start.weight / gate).to(self.weight).expand_as(self.weight)
        if self.init_noise:
            weight = weight + self.init_noise * torch.randn_like(self.weight)
        self.weight.copy_(weight / self.coefficient_scale)
        self.bias.fill_(start.bias / self.coefficient_scale)
        if self.term_statistics is not None:
            self.term_statistics.reset(start.term_mean, start.term_var)

    def config(self) -> dict[str, Any]:
        out = {k: (v if not isinstance(v, Spec) else str(v)) for k, v in self._config.items() if k != "share"}
        shared = self.sharing.config()
        default = PRESETS.get(str(self._config.get("preset")), DEFAULTS).get("share", DEFAULTS["share"])
        if shared["share"] == default:
            del shared["share"]
            if shared.get("groups") == default_groups(self.sharing.num_channels):
                del shared["groups"]
        return out | shared

    def spec(self) -> Spec:
        config = self.config()
        if "basis" in config:
            basis = parse(config["basis"])
            config["basis"] = basis if basis.kwargs else basis.name
        if not isinstance(self.init, str):
            config["init"] = getattr(self.init, "__name__", "custom")
        return Spec(self.name, (), config)

    # -- evaluation ---------------------------------------------------------------------------------------------------------

    @property
    def normalizes(self) -> bool:  # type: ignore[override]
        """Whether input or terms are standardised here."""
        return self.input != "identity" or self.normalize == "batch"

    def coefficients(self) -> tuple[Tensor, Tensor]:
        """The a_k, (sites or 1, K), and b, (sites or 1,), in float64: scale and gate multiplied in, repeated for groups."""
        a = self.coefficient_scale * self.weight.to(small_dtype(self.weight.device))
        if self.gate is not None:
            a = a * torch.sigmoid(self.gate.to(a.dtype))
        b = self.coefficient_scale * self.bias.to(a.dtype)
        return self.sharing.per_site(a), self.sharing.per_site(b)

    def has_kernel(self, x: Tensor) -> bool:  # noqa: ARG002
        """Whether the kernels have this basis and all that is done to its terms, on this process alone."""
        alone = all(s is None or s.ranks is None for s in (self.input_statistics, self.term_statistics))
        return alone and self.squash == "none" and self._evaluation.has_kernel(self)

    @compiled
    def forward(self, x: Tensor) -> Tensor:
        return self._evaluation.forward(self, x)

    def has_statistics_for(self, x: Tensor) -> bool:
        """Whether a training batch carries statistics: two values a channel or more, those of all ranks counted."""
        values = x.numel() // self.sharing.sites
        if values == 0:
            raise SlafError(f"an empty batch of shape {tuple(x.shape)} has no statistics to train slaf with; pass at least one sample")
        if values == 1 and any(s is not None and s.ranks is not None for s in (self.input_statistics, self.term_statistics)):
            return True  # every rank has one
        if values == 1 and not torch.compiler.is_compiling():
            warnings.warn(
                f"one value per channel in training (input of shape {tuple(x.shape)}): slaf uses its running statistics for this batch",
                stacklevel=3,
            )
        return values > 1

    # -- what is derived ----------------------------------------------------------------------------------------------------

    def _require_scalar(self, what: str) -> None:
        if self.training and self.normalizes and not (self.input == "affine" and self.normalize == "none"):
            raise SlafError(f"slaf uses batch statistics in training mode, so it has no {what} there; call .eval() first")

    def polynomial(self) -> Polynomials:
        """The polynomial of every channel (or unit) in evaluation, float64; one row if all are the same.

        Raises:
            SlafError: the basis is not polynomial, or ``squash`` is set, so it is none; or training mode with batch statistics.
        """
        return self._evaluation.polynomial(self)

    def terms(self, x: Tensor) -> Tensor:
        """N_k(φ_k(s(x))) one by one in evaluation mode: the definition that every faster path is tested against, (*x.shape, K)."""
        shape = self.sharing.shape(x, self.sharing.sites)
        s = x
        if self.input_statistics is not None:
            statistics = self.input_statistics
            s = (x - statistics.mean.reshape(shape)) / (statistics.var.reshape(shape) + statistics.eps).sqrt() / self.input_scale
        elif self.interval is not None:
            center, rscale = self.fixed_map()
            s = (x - center) * rscale
        elif not self.polynomial_basis:
            s = x / self.input_scale
        as_it_comes = self.input_statistics is None and self.interval is None and self.polynomial_basis and self.squash == "none"
        out = self.basis.evaluate(s if as_it_comes else squash_to_domain(s, self.squash, self.basis), self.num_terms)
        if self.term_statistics is not None:
            kept = self.term_statistics
            out = (out - kept.mean.reshape(*shape, -1)) * kept.rstd(kept.mean, kept.var).reshape(*shape, -1)
        return out

    def antiderivative(self, x: Tensor) -> Tensor:
        """F(x) = ∫₀ˣ f: exact over a basis that is not polynomial, without squash; else by quadrature that splits at the kinks."""
        self._require_scalar("antiderivative")
        found = self._evaluation.antiderivative(self, x)
        return super().antiderivative(x) if found is None else found

    def bounds(self, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
        """The range on each box: for polynomials, also piecewise ones, the values at its ends and at the extremes inside, widened by
        rounding; for other bases by interval arithmetic over :meth:`expression`.
        """
        self._require_scalar("bounds")
        if bool((lower > upper).any()):
            raise SlafError("lower must not exceed upper anywhere")
        found = self._evaluation.bounds(self, lower, upper)
        if found is not None:
            return found
        (low, high), slack = super().bounds(lower, upper), self._evaluation.rounding(self, lower, upper)
        return (low, high) if slack is None else ((low - slack).to(low.dtype), (high + slack).to(high.dtype))

    def second_moment(self) -> float:
        kinks = self._evaluation.kinks(self)
        if not 0 < len(kinks) <= MAX_KINKS:
            return super().second_moment()
        z, w = standard_normal_nodes(kinks)
        y = self.curves(z.to(self.weight)).to(w)
        return float((y**2 * w[:, None]).sum(0).mean())

    def expression(self, site: int = 0) -> Any:
        """f of channel or unit ``site`` as a sympy expression with float coefficients; a polynomial in powers of x."""
        self._require_scalar("expression")
        return self._evaluation.expression(self, site)

    @property
    def facts(self) -> Facts:  # type: ignore[override]
        """What is claimed: a learned family has no static range, and its kinks move with the statistics."""
        smooth = None if self.squash == "clamp" else self.basis.smoothness
        way = self._evaluation
        return Facts(
            name=self.name,
            paper=_PAPER,
            smoothness=smooth,
            kinks=() if smooth == INF else None,
            tags=way.tags,
            summary=way.summary,
        )

    @staticmethod
    def describe() -> Facts:
        """The claims about the family at its defaults."""
        return Facts(name="slaf", paper=_PAPER, smoothness=INF, kinks=(), tags=Folded.tags, summary=Folded.summary)

    def _spread(self, z: Tensor) -> Tensor:
        return z if self.sharing.num_channels is None else spread_over_sites(z, self.sharing)


activations.register(SLAF.name, SLAF, ("SLAF",))

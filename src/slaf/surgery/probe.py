"""``Probe``: what the activations of a model meet while it trains or runs, by forward pre-hooks: inputs, dead channels, saturation."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from slaf.core import Activation, SlafError, nearest
from slaf.train.groups import is_activation

from .sketch import Sketch

__all__ = ["Probe", "ProbeReport", "Watched"]

LOOKED_AT = 1 << 18
"""Elements of one input that are looked at, at most: of every dimension but the channels each n-th index."""
SATURATED = 1e-3
MOST_CALLS = 8
"""Calls of one module in one forward that are told apart; what comes after joins the last."""
_OTHER_LIBRARIES = ("transformers.activations", "timm.layers.activations")


class Watched:
    """What was seen of one activation, or of one of its calls in a forward."""

    def __init__(self, name: str, module: nn.Module) -> None:
        self.name, self.module, self.looks = name, module, 0
        self.inputs = Sketch(channel_dim=-1)
        """Of what was looked at, per channel (of all channels together if their number changes)."""
        self._elementwise: bool | None = None
        self._alive: Tensor | None = None
        self._flat: Tensor | float = 0.0  # kept where the inputs are, so that nothing waits for the device
        self._outside: Tensor | float = 0.0

    @property
    def dead(self) -> float | None:
        """The share of channels whose slope was 0 at every input looked at; None if the module is not elementwise, or before any input."""
        return None if self._alive is None else 1.0 - float(self._alive.float().mean())

    @property
    def saturated(self) -> float | None:
        """The share of inputs where |slope| < 1e-3; None as :attr:`dead`."""
        return None if self._alive is None or not self.inputs.count else float(self._flat) / self.inputs.count

    @property
    def out_of_range(self) -> float | None:
        """The share of inputs outside the interval that a learned function was made for; None if that is the whole line."""
        bounded = getattr(self.module, "domain", None) is not None and self.inputs.count
        return float(self._outside) / self.inputs.count if bounded else None

    def numbers(self) -> dict[str, float]:
        """``dead``, ``saturated`` and ``out_of_range``, those that are known."""
        found = {"dead": self.dead, "saturated": self.saturated, "out_of_range": self.out_of_range}
        return {name: value for name, value in found.items() if value is not None}

    def look(self, x: Tensor, channel_dim: int) -> None:
        """Take in one input of the module."""
        self.looks += 1
        known = self.inputs.channel_mean
        if self.inputs.channel_dim is not None and known is not None and len(known) != x.shape[channel_dim]:
            self.inputs = self.inputs.pooled()
            self._alive = None if self._alive is None else self._alive.any().reshape(1)
        self.inputs.update(x.movedim(channel_dim, -1))
        finite = torch.isfinite(x)
        domain = getattr(self.module, "domain", None)
        if domain is not None:
            self._outside = self._outside + (finite & ((x < domain[0]) | (x > domain[1]))).sum()
        self._look_at_slope(torch.where(finite, x, 0.0), finite, channel_dim)

    def _look_at_slope(self, x: Tensor, finite: Tensor, channel_dim: int) -> None:
        if x.numel() == 0 or self._elementwise is False:
            return
        with _evaluated(self.module):
            if self._elementwise is None:
                self._elementwise = _is_elementwise(self.module, x)
            if not self._elementwise:
                return
            slope = _slope(self.module, x)
        moves = (slope != 0) & finite  # a NaN slope is not 0
        channels = 1 if self.inputs.channel_dim is None else x.shape[channel_dim]
        alive = moves.movedim(channel_dim, -1).reshape(-1, channels).any(0)
        self._alive = alive if self._alive is None else self._alive | alive.to(self._alive.device)
        self._flat = self._flat + ((slope.abs() < SATURATED) & finite).sum()

    def to_dict(self) -> dict[str, Any]:
        """All of it as what JSON can hold."""
        found = {"dead": self.dead, "saturated": self.saturated, "out_of_range": self.out_of_range}
        return {"name": self.name, "activation": _title(self.module), "looks": self.looks, **found, "inputs": self.inputs.to_dict()}


class ProbeReport(Sequence[Watched]):
    """What a :class:`Probe` has seen, in the order of first calls, then the activations that were not called; as text a table."""

    def __init__(self, found: Sequence[Watched]) -> None:
        self.found = tuple(found)

    def __getitem__(self, key: Any) -> Any:
        if not isinstance(key, str):
            return self.found[key]
        for watched in self.found:
            if watched.name == key:
                return watched
        names = [w.name for w in self.found]
        raise SlafError(f"the probe watches no {key!r}; it watches {', '.join(map(repr, names)) or 'nothing'}{nearest(key, names)}")

    def __len__(self) -> int:
        return len(self.found)

    def scalars(self) -> dict[str, float]:
        """``{"layer1.0.relu/dead": 0.25, …}``: all known numbers, flat, for a log."""
        return {f"{w.name or 'activation'}/{name}": value for w in self.found for name, value in w.numbers().items()}

    def to_dict(self) -> dict[str, Any]:
        """As what JSON can hold."""
        return {"activations": [w.to_dict() for w in self.found]}

    def __str__(self) -> str:
        if not self.found:
            return "no activation module in this model"
        rows = [("layer", "activation", "inputs", "range", "dead", "saturated", "out of range", "not finite"), *map(_row, self.found)]
        width = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, width, strict=True)).rstrip() for row in rows)


def _row(w: Watched) -> tuple[str, ...]:
    shares = ("-" if s is None else f"{s:.1%}" for s in (w.dead, w.saturated, w.out_of_range))
    head, x = (w.name or "(model)", _title(w.module)), w.inputs
    if not x.count:
        return (*head, "not called" if not w.looks else "-", "-", *shares, str(x.nonfinite))
    return (*head, f"{x.mean:.3g} ± {x.std:.3g}", f"{x.min:.3g} … {x.max:.3g}", *shares, str(x.nonfinite))


def _title(module: nn.Module) -> str:
    name = str(module).partition("\n")[0]
    return name if len(name) <= 40 else name[:39] + "…"


class Probe:
    """Watches the activation modules of a model: a sketch of their inputs, dead channels, saturation, inputs out of range.

    A context manager; or :meth:`attach` and :meth:`detach`. Between them, in every ``every``-th forward of the model, each activation's
    input is looked at before it is used: at most 2^18 elements of it (of every dimension but the channels each n-th index), and no
    graph is kept. Slopes are those in evaluation mode. Nothing the model computes changes. Calls of one module in one forward are
    told apart (``"relu"``, ``"relu#2"``, … up to eight). Functional calls such as ``F.relu`` are no modules and are not seen:
    :func:`slaf.surgery.audit` sees them.

    A copy or a pickle of the model does not feed the probe. Under ``torch.compile`` a probe works if it is attached before the first
    compiled call, at the price of a graph break at every watched module (so not with ``fullgraph=True``); hooks that come later
    are not seen by code that is compiled already. Detach before ``torch.export``.

    Args:
        model: any module.
        names: module paths or patterns (``"*.act"``; any modules). None: activations of slaf, torch.nn, transformers and timm.
        every: look at every n-th forward of the model.
        channel_dim: of the inputs; None: as a slaf activation says, else the last of three dimensions (transformers), else 1.

    Raises:
        SlafError: no module has such a name, or ``every`` is not a positive integer.

    Example:
        >>> with Probe(model, every=10) as probe:
        ...     train(model)
        >>> print(probe.report())
    """

    def __init__(self, model: nn.Module, names: str | Sequence[str] | None = None, every: int = 1, channel_dim: int | None = None) -> None:
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise SlafError(f"every must be a positive integer; got {every!r}")
        self.model, self.every, self.channel_dim = model, every, channel_dim
        self.watched = dict(_chosen(model, names))
        self._handles: list[Any] = []
        self._open = self._paused = self._busy = False
        self.reset()

    def reset(self) -> None:
        """Forget what was seen; the next forward is looked at."""
        self._found: dict[str, Watched] = {}
        self._calls: dict[str, int] = {}
        self._forwards = 0

    def attach(self) -> Probe:
        """Put the hooks on the model; does nothing if they are."""
        if not self._handles:
            enter, leave = _Hook(self._enter), _Hook(self._leave)
            self._handles = [self.model.register_forward_pre_hook(enter), self.model.register_forward_hook(leave)]
            for name, module in self.watched.items():
                self._handles.append(module.register_forward_pre_hook(_Hook(self._looker(name)), with_kwargs=True))
        return self

    def detach(self) -> None:
        """Take the hooks off; what was seen stays."""
        while self._handles:
            self._handles.pop().remove()
        self._open = self._paused = False

    def __enter__(self) -> Probe:
        return self.attach()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.detach()

    def pause(self) -> None:
        """Look at nothing until :meth:`resume`."""
        self._paused, self._open = True, False

    def resume(self) -> None:
        """Look from here on, also at modules that are called without the model's own forward, as by Lightning's ``training_step``."""
        self._paused, self._open = False, True
        self._calls.clear()

    def _enter(self, *_: Any) -> None:
        self._open = not self._paused and self._forwards % self.every == 0
        self._forwards += not self._paused
        self._calls.clear()

    def _leave(self, *_: Any) -> None:
        self._open = False  # so that checkpointing, which computes again in backward, does not count twice

    def _looker(self, name: str) -> Any:
        def look(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            x = next((v for v in (*args, *kwargs.values()) if isinstance(v, Tensor)), None)
            if not self._open or self._busy or x is None or not x.is_floating_point() or torch.compiler.is_compiling():
                return  # busy: a slope calls the modules inside again
            call = self._calls[name] = min(self._calls.get(name, 0) + 1, MOST_CALLS)
            key = name if call == 1 else f"{name}#{call}"
            dim = self._channels_at(module, x)
            self._busy = True
            try:
                x = x.detach().reshape(x.shape or (1,))
                self._found.setdefault(key, Watched(key, module)).look(_thinned(x, dim), dim)
            finally:
                self._busy = False

        return look

    def _channels_at(self, module: nn.Module, x: Tensor) -> int:
        """The channels' dimension, counted from 0; an input of one dimension is a row of channels."""
        sharing = getattr(module, "sharing", None)
        dim = self.channel_dim
        if dim is None and isinstance(module, Activation) and sharing is not None and sharing.num_channels is not None:
            dim = sharing.channel_dim
        if x.dim() < 2:
            return 0
        if dim is None:
            dim = 2 if x.dim() == 3 else 1
        return dim % x.dim()

    def report(self) -> ProbeReport:
        """What was seen since the last :meth:`reset`."""
        seen = {w.name.partition("#")[0] for w in self._found.values()}
        return ProbeReport([*self._found.values(), *(Watched(n, m) for n, m in self.watched.items() if n not in seen)])

    def write(self, writer: Any, step: int, figures: bool = False, prefix: str = "activations") -> None:
        """Into TensorBoard: a histogram of every activation's inputs, and its dead, saturated and out-of-range shares as scalars.

        Args:
            writer: a ``SummaryWriter``, or what has its ``add_scalar``, ``add_histogram_raw`` and ``add_figure``.
            step: of the training.
            figures: also draw the curve of every activation of slaf that has parameters, with matplotlib.
            prefix: of the tags.

        Raises:
            SlafError: ``figures`` without matplotlib.
        """
        report = self.report()
        for tag, value in report.scalars().items():
            writer.add_scalar(f"{prefix}/{tag}", value, step)
        for watched in report:
            tag = f"{prefix}/{watched.name or 'activation'}"
            if watched.inputs.count:
                _write_histogram(writer, f"{tag}/inputs", watched.inputs, step)
            if figures and isinstance(watched.module, Activation) and any(True for _ in watched.module.parameters()):
                with _evaluated(watched.module):
                    writer.add_figure(f"{tag}/curve", watched.module.plot(), step)


def _write_histogram(writer: Any, tag: str, inputs: Sketch, step: int) -> None:
    counts, edges = inputs.histogram(64)
    total, squares = inputs.mean * inputs.count, (inputs.std**2 + inputs.mean**2) * inputs.count
    moments = {"min": inputs.min, "max": inputs.max, "num": inputs.count, "sum": total, "sum_squares": squares}
    writer.add_histogram_raw(tag, **moments, bucket_limits=edges[1:].tolist(), bucket_counts=counts.tolist(), global_step=step)


class _Hook:
    """A hook that torch.compile leaves alone, and that in a copy or a pickle of the model does nothing."""

    def __init__(self, function: Any = None) -> None:
        self._function = None if function is None else torch.compiler.disable(function)

    def __call__(self, *args: Any) -> None:
        if self._function is not None:
            self._function(*args)

    def __reduce__(self) -> Any:
        return _Hook, ()


def _chosen(model: nn.Module, names: str | Sequence[str] | None) -> Iterator[tuple[str, nn.Module]]:
    paths = dict(model.named_modules())
    if names is not None:
        for pattern in [names] if isinstance(names, str) else list(names):
            found = [p for p in paths if fnmatch.fnmatchcase(p, pattern)]
            if not found:
                raise SlafError(f"names: no module of the model is called {pattern!r}{nearest(pattern, paths)}")
            yield from ((p, paths[p]) for p in found)
        return
    inside: tuple[str, ...] = ()  # an activation made of others is one
    for path, module in paths.items():
        known = is_activation(module) or type(module).__module__ in _OTHER_LIBRARIES
        if known and not path.startswith(inside):
            inside = (*inside, f"{path}." if path else "")
            yield path, module


def _thinned(x: Tensor, channel_dim: int) -> Tensor:
    """Every n-th index of the dimensions that are not the channels', the first ones first, until few elements enough are left."""
    for dim in range(x.dim()):
        step = -(-x.numel() // LOOKED_AT)
        if dim != channel_dim and step > 1:
            x = x[(slice(None),) * dim + (slice(None, None, min(step, x.shape[dim])),)]
    return x


@contextmanager
def _evaluated(module: nn.Module) -> Iterator[None]:
    modes = [(m, m.training) for m in module.modules()]
    for m, _ in modes:
        m.training = False
    try:
        yield
    finally:
        for m, mode in modes:
            m.training = mode


def _slope(module: nn.Module, x: Tensor) -> Tensor:
    """f'(x) of an elementwise module; no other hook on it runs, no graph is kept."""
    own = torch.autograd.graph.saved_tensors_hooks(
        lambda saved: saved, lambda saved: saved
    )  # else a checkpoint around counts what is saved
    with torch.inference_mode(False), torch.enable_grad(), own:
        leaf = x.clone().requires_grad_()
        y = module.forward(leaf.clone())  # a copy: it may work in place
        if not y.requires_grad:
            return torch.zeros_like(x)
        return torch.autograd.grad(y, leaf, torch.ones_like(y), materialize_grads=True)[0]


def _is_elementwise(module: nn.Module, x: Tensor) -> bool:
    """Whether outputs stay the same where inputs do, while half of the others change."""
    index = torch.arange(x.numel(), device=x.device)
    same = (index * 40503 % 65536 < 32768).reshape(x.shape)
    try:
        with torch.no_grad():
            y, z = module.forward(x.clone()), module.forward(torch.where(same, x, x + 1))
            return y.shape == x.shape and torch.equal(y[same].nan_to_num(), z[same].nan_to_num())
    except Exception:  # whatever it is, it is no function of one tensor
        return False

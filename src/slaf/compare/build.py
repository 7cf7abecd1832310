"""A study's model with the activation under test in it, built so that nothing but the activation differs between two trials."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

import slaf.core as core
from slaf.core import SlafError
from slaf.core.registry import bind
from slaf.train import stream

from .model import build_with
from .study import Data, Study

__all__ = ["Built", "build_model"]

_READERS = (nn.Linear, nn.Bilinear, nn.modules.conv._ConvNd)
_NORMS = (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.modules.batchnorm._NormBase)
"""What comes after one of these does not see the size of an activation's output."""


@dataclass
class Built:
    """A model, its activation sites by name, and whether its first weights are matched to the activation's variance."""

    model: nn.Module
    sites: dict[str, nn.Module]
    variance_matched: bool
    initial: dict[str, dict[str, Tensor]] = field(default_factory=dict)

    @property
    def params(self) -> int:
        """Trainable numbers of the whole network."""
        return sum(p.numel() for p in self.model.parameters() if p.requires_grad)

    @property
    def activation_params(self) -> int:
        """Trainable numbers of the activations, each counted once."""
        own = {id(p): p.numel() for site in self.sites.values() for p in site.parameters() if p.requires_grad}
        return sum(own.values())

    def probe(self, data: Data) -> Tensor:
        """The output for a few training inputs, in evaluation mode; nothing is changed."""
        was = self.model.training
        self.model.eval()
        try:
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                return self.model(data.train[0][:4].to(next(self.model.parameters()).device))
        finally:
            self.model.train(was)


def build_model(study: Study, activation: str, data: Data, seed: int, variance_match: bool = True, model: str | None = None) -> Built:
    """Build ``study``'s model, or the one that the function ``model`` builds, around ``activation``.

    The linear weights depend on the seed alone: each activation draws its own first parameters from a stream of its own. Torch's global
    generator is left as it was.
    """
    factory = _Factory(study, activation, seed, own=model is not None)
    with stream(seed, "init"):
        network = study.build(factory, data) if model is None else build_with(model, factory, data)
    made = {id(m) for m in factory.made}
    built = Built(network, {name: m for name, m in network.named_modules() if id(m) in made}, False)
    if not built.sites:
        raise SlafError(f"{f'model {model}' if model else f'study {study.name}'} puts no activation that make() returned into its network")
    if variance_match and factory.block is None:
        built.variance_matched = _match_variance(built, data)
    built.initial = {name: {n: p.detach().clone() for n, p in site.named_parameters()} for name, site in built.sites.items()}
    return built


class _Factory:
    """The ``make`` that a study gets; remembers what it made."""

    def __init__(self, study: Study, activation: str, seed: int, own: bool) -> None:
        self.slots = None if own else study.slots
        self.activation, self.seed = activation, seed
        self.spec = core.parse(activation)
        self.blocks = study.blocks
        self.made: list[nn.Module] = []
        if own and self.spec.name in self.blocks:
            raise SlafError(f"{activation} is a block of study {study.name}, and a model of your own has no place for it")

    @property
    def block(self) -> Callable[[Sequence[nn.Linear]], nn.Module] | None:
        """Builds the block under test; ``None`` if an activation is."""
        return self._block if self.spec.name in self.blocks else None

    def _block(self, linears: Sequence[nn.Linear]) -> nn.Module:
        with self._stream():
            build = self.blocks[self.spec.name]
            module = bind(build, (linears, *self.spec.args), self.spec.kwargs, {}, self.spec.name)
        activations = [m for m in module.modules() if isinstance(m, (core.Activation, core.NormActivation))]
        self.made += activations or [module]
        return module

    def _stream(self) -> AbstractContextManager[None]:
        """What is made next draws from a stream of its own."""
        return stream(self.seed, "activation", str(len(self.made)))

    def __call__(self, slot: str = "hidden", num_channels: int | None = None, channel_dim: int = 1, **context: Any) -> nn.Module:
        if self.slots is not None:
            core.one_of("slot", slot, self.slots)
        with self._stream():
            module = core.make(self.activation, num_channels=num_channels, channel_dim=channel_dim, **context)
        self.made.append(module)
        return module


def _match_variance(built: Built, data: Data) -> bool:
    """Divide the weights of each layer that reads an activation by sqrt(E f(z)²), z ~ N(0, 1).

    Then relu and tanh start with signals of the same size, and a comparison does not measure the initialisation. An activation that
    normalises needs none of it. Returns whether every site was matched.
    """
    scales = {id(site): _scale(site) for site in built.sites.values()}
    with torch.no_grad():
        for reader, site in _readers(built, data):
            scale = scales[id(site)]
            if scale is not None:
                reader.weight.mul_(scale)  # type: ignore[operator]
    return all(scale is not None for scale in scales.values())


def _scale(site: nn.Module) -> float | None:
    if getattr(site, "normalizes", False) or not isinstance(site, core.Activation):
        return None
    was = site.training
    site.eval()
    try:
        moment = site.second_moment()
    except SlafError:
        return None
    finally:
        site.train(was)
    return 1 / math.sqrt(moment) if math.isfinite(moment) and moment > 1e-12 else None


def _readers(built: Built, data: Data) -> list[tuple[nn.Module, nn.Module]]:
    """Each linear or convolutional layer with the last activation that ran before it, in the order of a real forward pass."""
    inside = {id(m) for site in built.sites.values() for m in site.modules()}
    seen: dict[int, tuple[nn.Module, nn.Module]] = {}
    last: nn.Module | None = None

    def after(module: nn.Module, _inputs: Any, _output: Any) -> None:
        nonlocal last
        if id(module) in sites:
            last = module
        elif isinstance(module, _NORMS):
            last = None
        elif last is not None:
            seen.setdefault(id(module), (module, last))

    sites = {id(site) for site in built.sites.values()}
    watched = [m for m in built.model.modules() if id(m) in sites or (isinstance(m, (*_READERS, *_NORMS)) and id(m) not in inside)]
    with _hooks(watched, after):
        built.probe(data)
    return list(seen.values())


@contextmanager
def _hooks(modules: list[nn.Module], hook: Any) -> Iterator[None]:
    handles = [m.register_forward_hook(hook) for m in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()

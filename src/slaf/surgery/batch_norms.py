"""Frozen batch norms folded into the layers and polynomials beside them: found by watching a run, where tensors go.

A batch norm is folded into a layer only if, on every batch of the example, both run once and the tensor between them goes from the one
to the other and nowhere else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from .drift import run, tensors_of
from .edits import PARAMETERS, Edits, has_hooks, paths
from .frozen import FrozenBatchNorm, FrozenPolynomial, wide
from .watching.observe import batches, untouched

__all__ = ["fold_batch_norms"]

_CONVOLUTIONS = {nn.Conv1d: 1, nn.Conv2d: 2, nn.Conv3d: 3}
_TRANSPOSED = {nn.ConvTranspose1d: 1, nn.ConvTranspose2d: 2, nn.ConvTranspose3d: 3}
_LAYERS = (nn.Linear, *_CONVOLUTIONS, *_TRANSPOSED)
_ALONE = "what it reads comes from no layer alone, and what it gives goes to no layer or polynomial alone"


class _Watch(TorchDispatchMode):
    """Which module used which module's output, down to the operators of torch."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        super().__init__()
        self.modules = modules
        self.working: list[nn.Module] = []
        self.made: dict[int, tuple[Tensor, nn.Module]] = {}
        """By the output's identity; the tensor is held, so that no other gets it."""
        self.used: dict[int, set[nn.Module | None]] = {}
        self.read: dict[nn.Module, Tensor | None] = {}
        self.calls: Counter[nn.Module] = Counter()
        self.links: dict[tuple[nn.Module, nn.Module], int] = {}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for value in tree_iter((args, kwargs or {})):
            if isinstance(value, Tensor):
                self.use(value, self.working[-1] if self.working else None)
        return function(*args, **(kwargs or {}))

    def use(self, tensor: Tensor, by: nn.Module | None) -> None:
        """Note who used a tensor that one of the modules made."""
        if id(tensor) in self.made:
            self.used.setdefault(id(tensor), set()).add(by)

    def run(self, model: nn.Module, batch: Any) -> None:
        """One forward."""
        handles: list[Any] = []
        for module in self.modules:
            handles += [module.register_forward_pre_hook(self._before, with_kwargs=True), module.register_forward_hook(self._after)]
        try:
            with self:
                output = run(model, batch)
        finally:
            for handle in handles:
                handle.remove()
        for tensor in tensors_of(output).values():
            self.use(tensor, None)
        self.links = self._links()
        self.made.clear()  # the memory of a whole forward
        self.read.clear()

    def _before(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        self.working.append(module)
        self.calls[module] += 1
        self.read[module] = next((v for v in (*args, *kwargs.values()) if isinstance(v, Tensor)), None)

    def _after(self, module: nn.Module, args: Any, output: Any) -> None:  # noqa: ARG002
        self.working.pop()
        if isinstance(output, Tensor):
            self.made[id(output)] = (output, module)

    def _links(self) -> dict[tuple[nn.Module, nn.Module], int]:
        """Pairs of modules, each run once, of which the second alone uses the first one's output; with its number of dimensions."""
        out = {}
        for module, tensor in self.read.items():
            if tensor is None or id(tensor) not in self.made:
                continue
            maker = self.made[id(tensor)][1]
            if self.calls[maker] == self.calls[module] == 1 and self.used.get(id(tensor)) == {module}:
                out[maker, module] = tensor.dim()
        return out


def fold_batch_norms(model: nn.Module, example: Any, edits: Edits) -> nn.Module:
    """Fold every :class:`FrozenBatchNorm` that can be; the others' ``reason`` says why not. The model, or what it became as a whole."""
    while True:
        known = paths(model)
        steps = [m for m in known if isinstance(m, (FrozenBatchNorm, FrozenPolynomial)) or _layer(m)]
        watches = [_Watch(steps) for _ in batches(example)]
        with untouched(model):
            for watch, batch in zip(watches, batches(example), strict=True):
                watch.run(model, batch)
        if not _round(model, known, watches, edits):
            return model


def _layer(module: nn.Module) -> type[nn.Module] | None:
    """The kind of linear layer that a module is, its forward being torch's own."""
    kind: Any = next((k for k in _LAYERS if isinstance(module, k)), None)
    if kind is None or type(module).forward is not kind.forward:
        return None
    return kind if getattr(type(module), "_conv_forward", None) is getattr(kind, "_conv_forward", None) else None


def _round(model: nn.Module, known: Mapping[nn.Module, list[str]], watches: Sequence[_Watch], edits: Edits) -> bool:
    """Fold what can be folded side by side; whether anything was."""
    links = watches[0].links
    for watch in watches[1:]:
        links = {pair: n for pair, n in links.items() if watch.links.get(pair) == n}
    owners = Counter(id(p) for m in known for p in m._parameters.values() if p is not None)
    touched: set[nn.Module] = set()
    for norm in [m for m in known if isinstance(m, FrozenBatchNorm)]:
        norm.reason = _refusal(norm, known[norm], watches) or _ALONE
        if norm.reason != _ALONE or norm in touched:
            continue
        beside = sorted((p for p in links if norm in p), key=lambda p: _order(norm, p))
        for pair in beside:
            other = pair[1] if pair[0] is norm else pair[0]
            norm.reason = _beside(other, known[other], owners) or ""
            apply = None if norm.reason or other in touched else _rule(norm, pair, links[pair])
            if isinstance(apply, str):
                norm.reason = f"{known[other][0]}: {apply}"
            elif apply is not None:
                apply(edits, model)
                edits.replace(model, {norm: nn.Identity()})
                touched |= set(pair)
                break
    return bool(touched)


def _order(norm: nn.Module, pair: tuple[nn.Module, nn.Module]) -> int:
    """Into what comes before first, then into a polynomial."""
    return 0 if pair[1] is norm else 1 if isinstance(pair[1], FrozenPolynomial) else 2


def _refusal(norm: nn.Module, names: Sequence[str], watches: Sequence[_Watch]) -> str | None:
    calls = {watch.calls[norm] for watch in watches}
    if calls != {1}:
        return "it does not run on the example" if calls == {0} else f"it runs {max(calls)} times in one forward"
    if len(names) > 1:
        return f"it is registered {len(names)} times"
    return "it has hooks" if has_hooks(norm) else None


def _beside(module: nn.Module, names: Sequence[str], owners: Mapping[int, int]) -> str | None:
    """Why nothing can be folded into a module, whatever it is."""
    name = names[0]
    if len(names) > 1:
        return f"{name} is registered {len(names)} times"
    if has_hooks(module):
        return f"{name} has hooks"
    if parametrize.is_parametrized(module):
        return f"{name} is parametrized"
    if any(owners[id(p)] > 1 for p in module._parameters.values() if p is not None):
        return f"{name} shares its parameters with another module"
    return None


Apply = Callable[[Edits, nn.Module], Any]


def _rule(norm: FrozenBatchNorm, pair: tuple[nn.Module, nn.Module], dims: int) -> Apply | str:
    """How the pair becomes one, or why it cannot."""
    before, after = pair
    channel = norm.sharing.channel_dim % dims
    if after is norm:
        if isinstance(before, FrozenBatchNorm):
            if before.sharing.channel_dim % dims != channel:
                return "it scales another dimension"
            return lambda edits, model: edits.replace(model, {before: _both(before, norm)})
        if isinstance(before, FrozenPolynomial):
            return "a batch norm after a polynomial stays one"
        if channel != _channel(before, dims):
            return "it scales another dimension than the layer's output"
        return lambda edits, _: _behind(before, norm, edits)
    if isinstance(after, FrozenPolynomial):
        if after.sharing.num_channels is not None and after.sharing.channel_dim % dims != channel:
            return "its polynomials belong to another dimension"
        return lambda edits, model: edits.replace(model, {after: after.after(norm)})
    if isinstance(after, FrozenBatchNorm):
        return "it follows another one"  # which takes this one in
    if channel != _channel(after, dims):
        return "it reads another dimension"
    if type(after) is not nn.Linear and _layer(after) in _TRANSPOSED:
        return "a transposed convolution reads positions outside its input as zero"
    if isinstance(after, nn.modules.conv._ConvNd) and after.padding_mode == "zeros" and any(after._reversed_padding_repeated_twice):
        return "its zero padding comes after the batch norm"
    return lambda edits, _: _ahead(norm, after, edits)


def _channel(layer: nn.Module, dims: int) -> int:
    """The channel dimension of a layer's input and output."""
    kind = _layer(layer)
    return dims - 1 if kind is nn.Linear else dims - 1 - (_CONVOLUTIONS | _TRANSPOSED)[kind]  # type: ignore[index]


def _both(first: FrozenBatchNorm, second: FrozenBatchNorm) -> FrozenBatchNorm:
    """One map for two, ``first`` first."""
    a, b = wide(first.scale), wide(second.scale)
    shift = wide(first.shift) * b + wide(second.shift)
    return FrozenBatchNorm((a * b).to(second.scale.dtype), shift.to(second.scale.dtype), first.sharing.channel_dim)


def _behind(layer: Any, norm: FrozenBatchNorm, edits: Edits) -> None:
    """The map after a layer into its weight and bias."""
    scale, shift = wide(norm.scale), wide(norm.shift)
    weight = wide(layer.weight)
    if _layer(layer) in _TRANSPOSED:  # (in, out/groups, …)
        grouped = weight.reshape(layer.groups, -1, *weight.shape[1:])
        weight = (grouped * scale.reshape(layer.groups, 1, -1, *(1,) * (weight.dim() - 2))).reshape(weight.shape)
    else:
        weight = weight * scale.reshape(-1, *(1,) * (weight.dim() - 1))
    bias = shift if layer.bias is None else shift + scale * wide(layer.bias)
    _store(layer, weight, bias, edits)


def _ahead(norm: FrozenBatchNorm, layer: Any, edits: Edits) -> None:
    """The map before a layer into its weight and bias."""
    scale, shift = wide(norm.scale), wide(norm.shift)
    weight, groups = wide(layer.weight), getattr(layer, "groups", 1)
    size = (groups, 1, -1, *(1,) * (weight.dim() - 2))
    grouped = weight.reshape(groups, -1, *weight.shape[1:])
    moved = (grouped * shift.reshape(size)).reshape(len(weight), -1).sum(1)
    _store(layer, (grouped * scale.reshape(size)).reshape(weight.shape), moved if layer.bias is None else moved + wide(layer.bias), edits)


def _store(layer: Any, weight: Tensor, bias: Tensor, edits: Edits) -> None:
    kept = torch.empty_like(layer.weight.detach())  # keeps the memory format
    with torch.no_grad():
        kept.copy_(weight)
    edits.set(layer, PARAMETERS, "weight", nn.Parameter(kept, requires_grad=False))
    edits.set(layer, PARAMETERS, "bias", nn.Parameter(bias.to(kept.dtype), requires_grad=False))

"""Models whose activations all get inputs of a standard deviation between 1 and 3: batch norms calibrated, weights scaled."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import models
import torch
from torch import Tensor, nn

import slaf
from slaf.surgery.watching.observe import call

SCALED = (nn.Linear, nn.modules.conv._ConvNd, nn.modules.batchnorm._BatchNorm, nn.LayerNorm)
LOW, WANTED, HIGH = 1.2, 1.7, 2.5


def fresh(example: Any, samples: int, seed: int) -> Any:
    """Another example like this one, with ``samples`` rows."""
    generator = torch.Generator().manual_seed(seed)

    def like(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        shape = (samples, *value.shape[1:])
        return torch.randn(shape, generator=generator) if value.is_floating_point() else torch.randint(1, 50, shape, generator=generator)

    return {k: like(v) for k, v in example.items()} if isinstance(example, Mapping) else like(example)


@functools.cache
def calibrated(name: str, samples: int = 48, **options: Any) -> tuple[nn.Module, Any, Any]:
    """A model of ``models``, what it is calibrated on, and held-out inputs; made once, so it must be left as it is."""
    model, example = getattr(models, name)(**options)
    given, held_out, few = fresh(example, samples, 1), fresh(example, samples, 2), fresh(example, 8, 3)
    _settle_batch_norms(model, given)
    for _ in range(100):
        wrong = next((s for s in slaf.audit(model, few).activations if not LOW <= s.inputs.std <= HIGH), None)
        if wrong is None:
            assert all(1 <= s.inputs.std <= 3 for s in slaf.audit(model, given).activations)
            return model, given, held_out
        _scale(_layer_before(model, few, wrong.index), WANTED / wrong.inputs.std)
    raise AssertionError(f"{wrong.name} stays at a standard deviation of {wrong.inputs.std}")


def _settle_batch_norms(model: nn.Module, example: Any) -> None:
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = None
        norm.reset_running_stats()
    if norms:
        model.train()
        with torch.no_grad():
            call(model, example)
    model.eval()


def _layer_before(model: nn.Module, example: Any, index: int) -> nn.Module:
    """The last layer with weights that ran before the site with this index, found by its effect: the audit of a model cut there."""
    ran: list[nn.Module] = []
    layers = [m for m in model.modules() if isinstance(m, SCALED) or type(m).__name__ == "Conv1D"]
    hooks = [m.register_forward_hook(lambda module, *_: ran.append(module)) for m in layers]
    try:
        with torch.no_grad():
            call(model, example)
    finally:
        for hook in hooks:
            hook.remove()
    before = slaf.audit(model, example)[index].inputs.std
    for layer in reversed(ran):  # the last one whose scale moves this site in proportion
        _scale(layer, 2.0)
        after = slaf.audit(model, example)[index].inputs.std
        _scale(layer, 0.5)
        if 1.3 < after / before < 2.2:
            return layer
    raise AssertionError(f"no layer moves site {index}")


def _scale(layer: nn.Module, factor: float) -> None:
    with torch.no_grad():
        layer.weight.mul_(factor)
        if layer.bias is not None:
            layer.bias.mul_(factor)

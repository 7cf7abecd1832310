"""``freeze``: a trained model in its evaluation behaviour, made of plain modules in which nothing is learned or tracked."""

from __future__ import annotations

import copy
from typing import Any

from torch import nn
from torch.nn.parameter import is_lazy

from slaf.core import Activation, SlafError
from slaf.layers.batch_norm import BatchNormActivation
from slaf.learnable import SLAF
from slaf.learnable.extended import Extended

from .batch_norms import fold_batch_norms
from .edits import Edits
from .frozen import FrozenBatchNorm, FrozenPolynomial
from .watching.kinds import is_batch_norm

__all__ = ["freeze", "unfolded_batch_norms"]

_NO_STATISTICS = "it keeps no running statistics, so it normalises by the batch in evaluation too"


def freeze(model: nn.Module, example: Any = None, inplace: bool = False) -> nn.Module:
    """The model as it computes in evaluation mode, whatever its mode now, with nothing left that is learned, tracked or random.

    Batch norms are folded into the linear layer or convolution before them, into the ``slaf`` after them, or into the linear layer or
    unpadded convolution after them; those that cannot be become a fixed scale and shift per channel. A ``slaf`` that is a polynomial in
    evaluation becomes that polynomial, with buffers only, also inside ``extended``; ``batch_norm(…)`` a fixed scale and shift before
    its activation; dropout the identity. All other modules stay what they are, in evaluation mode, without gradients.

    Args:
        model: any ``nn.Module``; left as it is.
        example: what the model is run on to see which module reads whose output: a tensor, a tuple of arguments, a dict of keyword
            arguments, or a list of those. Without it no batch norm is folded. Where the way through the model depends on the data,
            give batches for all ways.
        inplace: change ``model`` itself. If the model as a whole is one module that is replaced, the new one is returned.

    Returns:
        A copy of the model, or the model itself with ``inplace``. :func:`unfolded_batch_norms` lists what was not folded and why.

    Raises:
        SlafError: the model fails on the example, is compiled or has no shapes yet; the model stays as it was.

    Example:
        >>> frozen = slaf.freeze(model, example=x)
    """
    if not isinstance(model, nn.Module):
        raise SlafError(f"freeze takes a torch.nn.Module; got {type(model).__name__}")
    if any(is_lazy(t) for t in (*model.parameters(), *model.buffers())):
        raise SlafError(f"{type(model).__name__} has parameters without a shape yet; call it once before freeze")
    if any(hasattr(m, "_orig_mod") for m in model.modules()):
        raise SlafError("freeze takes the model before torch.compile (its ._orig_mod); compile the frozen one")
    flags = [(m, m.training) for m in model.modules()]
    frozen, edits = model if inplace else copy.deepcopy(model), Edits()
    try:
        frozen.eval()
        frozen = edits.replace(frozen, _plain(frozen))
        if example is not None:
            frozen = fold_batch_norms(frozen, example, edits)
    except BaseException:
        edits.undo()
        for module, flag in flags:
            module.training = flag
        raise
    return frozen.eval().requires_grad_(False)


def unfolded_batch_norms(model: nn.Module) -> dict[str, str]:
    """The batch norms that are left in a frozen model, by path, each with the reason why it was not folded."""
    out = {}
    for path, module in model.named_modules():
        if isinstance(module, FrozenBatchNorm):
            out[path] = module.reason
        elif isinstance(module, nn.modules.batchnorm._BatchNorm):
            out[path] = _NO_STATISTICS if is_batch_norm(module) else f"{type(module).__name__} has a forward of its own"
    return out


def _plain(module: nn.Module) -> dict[nn.Module, nn.Module]:
    """What replaces each module inside: batch norms, polynomials and dropouts; not inside activations."""
    new = _replacement(module)
    if new is not None:
        return {module: new}
    out: dict[nn.Module, nn.Module] = {}
    for child in () if isinstance(module, Activation) else module.children():
        out |= _plain(child)
    return out


def _replacement(module: nn.Module) -> nn.Module | None:
    if isinstance(module, nn.modules.dropout._DropoutNd):
        return nn.Identity()
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        known = is_batch_norm(module) and module.running_mean is not None and module.running_var is not None
        return FrozenBatchNorm.of(module) if known else None
    if isinstance(module, BatchNormActivation):
        inner = _plain(module.activation).get(module.activation, module.activation)
        return nn.Sequential(FrozenBatchNorm.of(module, module.sharing.channel_dim), inner)
    return frozen_polynomial(module)


def frozen_polynomial(module: nn.Module) -> Activation | None:
    """A ``slaf`` that is a polynomial in evaluation, perhaps continued by straight lines, as fixed numbers; None for anything else."""
    if isinstance(module, SLAF) and module.polynomial_basis and module.squash == "none":
        return FrozenPolynomial.of(module)
    if not isinstance(module, Extended) or (inner := frozen_polynomial(module.inner)) is None:
        return None
    return Extended(inner, module.low, module.high, module.left_slope, module.right_slope)

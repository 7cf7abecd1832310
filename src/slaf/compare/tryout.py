"""``try_out``: what cannot work is known before hours are spent."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from slaf.core import ContractError, SlafError
from slaf.core.errors import blame

from .build import build_model
from .study import Data, Study

if TYPE_CHECKING:
    from .plan import Trial

__all__ = ["require_support", "try_out"]


def require_support(study: Study, option: str, argument: str) -> None:
    """Raise unless the study's ``train`` takes ``argument``, without which ``option`` would do nothing."""
    parameters = inspect.signature(study.train).parameters
    if argument not in parameters and not any(p.kind == p.VAR_KEYWORD for p in parameters.values()):
        raise SlafError(f"study {study.name} trains in its own way, which takes no {argument}, so {option} cannot be used with it")


def try_out(study: Study, common: Trial, activations: Sequence[str]) -> None:
    """Build every activation in the real model and take the loss of a few rows.

    Raises:
        SlafError: in one sentence, what does not fit.
    """
    data = study.data(common.seed, common.settings)
    study.recipe(common.settings, data)
    for activation in activations:
        where = f"model {common.model}" if common.model else f"study {study.name}"
        try:
            built = build_model(study, activation, data, common.seed, common.variance_match, common.model)
            _few_rows(study, built.probe(data), data)
        except ContractError:
            continue  # a study's slot that an activation cannot fill is a result: it is recorded as n/a
        except SlafError as error:
            known = activation in str(error) or (common.model is not None and common.model in str(error))
            raise SlafError(str(error) if known else f"activation {activation!r} in {where}: {error}") from None
        except Exception as error:
            reason = blame(error) if common.model else " ".join(str(error).split())
            raise SlafError(f"activation {activation!r} does not fit {where}: {reason}") from None


def _few_rows(study: Study, output: torch.Tensor, data: Data) -> None:
    with torch.no_grad():
        loss = study.loss(output, data.train[1][: len(output)])
    if not isinstance(loss, torch.Tensor) or loss.numel() != 1:
        raise SlafError(f"the loss of a batch must be one number; the study's is {loss!r}")

"""Distillation: how far the outputs of a model are from those of the one it is to imitate."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from slaf.core import one_of

__all__ = ["DISTANCES", "distillation_loss"]

DISTANCES = ("kl", "mse")


def distillation_loss(output: Tensor, teacher: Tensor, distance: str = "kl", temperature: float = 1.0) -> Tensor:
    """Of logits (…, classes), ``"kl"``: T²·KL(softmax(teacher/T) ‖ softmax(output/T)), the mean over all rows; ``"mse"``: of any outputs.

    T² keeps the gradient's size whatever the temperature T. In float32.

    Source: G. Hinton, O. Vinyals, J. Dean (2015), Distilling the knowledge in a neural network, arXiv:1503.02531 [from memory].

    Raises:
        SlafError: an unknown distance.
    """
    output, teacher = output.float(), teacher.detach().float()
    if one_of("distance", distance, DISTANCES) == "mse":
        return F.mse_loss(output, teacher)
    one, other = (F.log_softmax(t / temperature, -1).reshape(-1, t.shape[-1]) for t in (output, teacher))
    return temperature**2 * F.kl_div(one, other, log_target=True, reduction="batchmean")

"""Training a small convolutional network on images in MNIST's format: time with one activation over that with another, batch by batch."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .measure import interval

__all__ = ["ACTIVATIONS", "images", "train"]

ACTIVATIONS = {
    "normalised slaf": "slaf(basis=power, degree=5, share=channel, normalize=batch)",
    "BatchNorm + GELU": "BatchNorm2d + GELU",
}
BATCH = 128


def images(folder: Path | None, count: int) -> tuple[Tensor, Tensor]:
    """The first training images and labels of a folder of IDX files; without one, random strokes in ten classes."""
    if folder is not None:
        from slaf.core import SlafError
        from slaf.data.idx import idx_pairs, read_idx

        pairs = [p for p in idx_pairs(folder) if not p.test] or list(idx_pairs(folder))
        if not pairs:
            raise SlafError(f"{folder} holds no IDX files such as train-images-idx3-ubyte")
        x, y = read_idx(pairs[0].images, (3,))[:count], read_idx(pairs[0].labels, (1,))[:count]
        return (x[:, None].float() / 255 - 0.13) / 0.31, y.long()
    made = torch.Generator().manual_seed(0)
    classes = F.interpolate(torch.randn(10, 1, 7, 7, generator=made), size=28, mode="bilinear")
    y = torch.randint(0, 10, (count,), generator=made)
    return classes[y] + torch.randn(count, 1, 28, 28, generator=made), y


def network(activation: str) -> nn.Module:
    """Two convolutions and a linear layer, equal but for the activations."""
    import slaf

    def act(channels: int) -> list[nn.Module]:
        own = activation.startswith("slaf")
        return [slaf.make(activation, num_channels=channels)] if own else [nn.BatchNorm2d(channels), nn.GELU()]

    torch.manual_seed(0)
    first = [nn.Conv2d(1, 16, 5, padding=2), *act(16), nn.MaxPool2d(2)]
    second = [nn.Conv2d(16, 32, 5, padding=2), *act(32), nn.MaxPool2d(2)]
    return nn.Sequential(*first, *second, nn.Flatten(), nn.Linear(32 * 7 * 7, 10))


def train(folder: Path | None, threads: int, count: int) -> dict[str, Any]:
    """One epoch of both, each batch given to both in random order: seconds an epoch and the ratio of the batches' times."""
    torch.set_num_threads(threads)
    clock = time.process_time if threads == 1 else time.perf_counter
    x, y = images(folder, count)
    models = {name: network(activation) for name, activation in ACTIVATIONS.items()}
    optimizers = {name: torch.optim.Adam(model.parameters(), 1e-3) for name, model in models.items()}
    times: dict[str, list[float]] = {name: [] for name in models}
    correct = dict.fromkeys(models, 0)
    order = random.Random(0)
    for batch in torch.randperm(len(x), generator=torch.Generator().manual_seed(0)).split(BATCH):
        xb, yb = x[batch], y[batch]
        for name in order.sample(list(models), len(models)):
            start = clock()
            out = models[name](xb)
            optimizers[name].zero_grad()
            F.cross_entropy(out, yb).backward()
            optimizers[name].step()
            times[name].append(clock() - start)
            correct[name] += int((out.argmax(1) == yb).sum())
    own, other = ACTIVATIONS
    pairs = list(zip(times[own], times[other], strict=True))
    return {
        "data": "generated" if folder is None else folder.name,
        "images": len(x),
        "batch": BATCH,
        "threads": threads,
        "own": ACTIVATIONS[own],
        "other": ACTIVATIONS[other],
        "seconds": [sum(times[own]), sum(times[other])],
        "accuracy_while_training": [correct[own] / len(x), correct[other] / len(x)],
        "ratio": interval([a / b for a, b in pairs[len(pairs) // 10 :]]),
    }

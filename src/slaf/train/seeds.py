"""One root seed, split into independent streams: data, initial weights, batches, noise."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from slaf.core import SlafError

__all__ = ["derive", "generator", "stream"]


def derive(seed: int, *names: str) -> int:
    """A 63-bit seed for the stream ``names`` of the root ``seed``, by SHA-256: equal on every machine, unrelated between streams.

    One seed used for two purposes gives both the same random numbers (the split of the data and the first weights, say).

    Raises:
        SlafError: ``seed`` is not an integer.
    """
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise SlafError(f"seed must be an integer; got {seed!r}")
    digest = hashlib.sha256("/".join(("slaf", str(seed), *names)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(seed: int, *names: str) -> torch.Generator:
    """A CPU generator of its own for the stream ``names`` of the root ``seed``."""
    return torch.Generator().manual_seed(derive(seed, *names))


@contextmanager
def stream(seed: int, *names: str, device: torch.device | str = "cpu") -> Iterator[None]:
    """Torch's global generators, the CPU's and that of ``device``, stand at the stream ``names`` inside, and where they were after."""
    device = torch.device(device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(derive(seed, *names))
        yield

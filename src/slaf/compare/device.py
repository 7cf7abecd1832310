"""Names of devices, checked."""

from __future__ import annotations

import re

import torch

from slaf.core import SlafError

__all__ = ["check_device"]


def check_device(name: str, here: bool = True) -> str:
    """``name`` if it is ``cpu``, ``cuda``, ``cuda:N`` or ``mps``, and, with ``here``, this machine has it.

    Raises:
        SlafError: it is none of them, or not here.
    """
    if not (isinstance(name, str) and re.fullmatch(r"cpu|mps|cuda(:\d+)?", name)):
        raise SlafError(f"device must be cpu, cuda, cuda:N or mps; got {name!r}")
    if not here or name == "cpu":
        return name
    if name == "mps":
        if not torch.backends.mps.is_available():
            raise SlafError("device mps is not on this machine; use cpu")
        return name
    count = torch.cuda.device_count()
    number = int(name.partition(":")[2] or 0)
    if number >= count:
        raise SlafError(f"device {name} is not on this machine, which has {count or 'no'} CUDA devices; use cpu")
    return name

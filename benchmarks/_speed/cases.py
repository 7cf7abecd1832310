"""What is timed: the contenders by name, the tables they stand in, and the goals that some of them have."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["FLOORS", "PEERS", "TABLES", "Peer", "Process", "Table", "build", "goals_of", "titles"]

_SLAF = "slaf(basis={basis}, degree={degree}, share=channel, normalize={normalize}{more})"
_IDENTITY = ", input=identity"


def _series(basis: str, normalize: str, more: str) -> dict[int, str]:
    return {k: _SLAF.format(basis=basis, degree=k, normalize=normalize, more=more) for k in (3, 5, 9)}


OURS: dict[str, str] = {
    **{f"power_{k}": s for k, s in _series("power", "none", _IDENTITY).items()},
    **{f"chebyshev_{k}": s for k, s in _series("chebyshev", "none", _IDENTITY).items()},
    **{f"power_{k}_affine": s for k, s in _series("power", "none", "").items()},
    **{f"power_{k}_batch": s for k, s in _series("power", "batch", "").items()},
    **{f"power_{k}_batch_identity": s for k, s in _series("power", "batch", _IDENTITY).items()},
    "rational": "rational(5, 4)",
    "piecewise_linear": "piecewise_linear(knots=32)",
    "spline": "spline(knots=16)",
    "bspline": "slaf(basis=bspline, terms=16, share=channel, input=identity)",
    "rbf": "slaf(basis=rbf, terms=8, share=channel, input=identity)",
    "prelu": "prelu",
    "apl": "apl",
    "slaf": "slaf",
    "evonorm_b0": "evonorm_b0",
    "evonorm_s0": "evonorm_s0",
    "polynorm": "polynorm",
}
"""Our rows: what ``slaf.make`` is given."""

FLOORS = {"floor": "copy + triad, preallocated", "floor_allocating": "copy + triad, allocated at each call"}
"""The memory traffic of a forward and a backward pass without any function: y ← x, then gx ← x·g."""

TORCH: dict[str, tuple[str, Callable[[int, int], nn.Module]]] = {
    "relu": ("nn.ReLU", lambda channels, dims: nn.ReLU()),  # noqa: ARG005
    "gelu": ("nn.GELU", lambda channels, dims: nn.GELU()),  # noqa: ARG005
    "silu": ("nn.SiLU", lambda channels, dims: nn.SiLU()),  # noqa: ARG005
    "prelu_torch": ("nn.PReLU(C)", lambda channels, dims: nn.PReLU(channels)),  # noqa: ARG005
    "bn_relu": ("BatchNorm + ReLU", lambda channels, dims: nn.Sequential(_batch_norm(channels, dims), nn.ReLU())),
    "bn_gelu": ("BatchNorm + GELU", lambda channels, dims: nn.Sequential(_batch_norm(channels, dims), nn.GELU())),
    "as_written": ("Σ a_k x**k, degree 5, as usually written", lambda channels, dims: AsWritten(channels, dims, 5)),
}


class AsWritten(nn.Module):
    """A polynomial as most code has it: a sum of powers, each a tensor that autograd keeps."""

    def __init__(self, channels: int, dims: int, degree: int) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.randn(degree + 1, *(channels if d == 1 else 1 for d in range(dims))))

    def forward(self, x: Tensor) -> Tensor:
        return sum(a * x**k for k, a in enumerate(self.a))  # type: ignore[return-value]


def _batch_norm(channels: int, dims: int) -> nn.Module:
    return nn.BatchNorm2d(channels) if dims == 4 else nn.BatchNorm1d(channels)


# -- other libraries -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Peer:
    """A class of another library, which is never a dependency: where it is not installed, its row says so."""

    package: str
    version: str
    module: str
    title: str
    make: Callable[[Any, int], nn.Module]

    def installed(self) -> str | None:
        """The version that is there."""
        if importlib.util.find_spec(self.module.partition(".")[0]) is None:
            return None
        return importlib.metadata.version(self.package)

    def build(self, channels: int) -> nn.Module:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self.make(importlib.import_module(self.module), channels)


def _catalogued(name: str, **arguments: int) -> Callable[[Any, int], nn.Module]:
    return lambda module, channels: module._ACTIVATIONS[name]["class"](**arguments)  # noqa: ARG005


PEERS = {
    "rational_activations": Peer(
        "rational-activations",
        "0.2.0",
        "rational.torch",
        "Rational A (5, 4), one set",
        lambda module, channels: module.Rational("leaky_relu", (5, 4), cuda=False),  # noqa: ARG005
    ),
    "torch_activation_pau": Peer("torch-activation", "1.0.0", "torch_activation", "PAU (5, 4), one set", _catalogued("PAU", m=5, n=4)),
    "torch_activation_slaf": Peer("torch-activation", "1.0.0", "torch_activation", "SLAF of degree 5, one set", _catalogued("SLAF", k=6)),
    "deepsplines": Peer(
        "deepsplines",
        "1.0.0",
        "deepsplines.ds_modules.deepBspline",
        "DeepBSpline, 33 knots a channel",
        lambda module, channels: module.DeepBSpline(mode="conv", num_activations=channels, size=33, range_=4),
    ),
}


# -- the tables ------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Process:
    """Rows that are timed together in one fresh process, with the allocator of glibc ``warm`` (nothing is given back) or ``default``."""

    rows: tuple[str, ...]
    allocator: str = "warm"


@dataclass(frozen=True)
class Table:
    """One table: a shape, what every row is compared with, and the processes it is measured in."""

    name: str
    title: str
    shape: tuple[int, ...]
    small: tuple[int, ...]
    processes: tuple[Process, ...]
    against: tuple[str, ...] = ("relu", "gelu")
    channels_last: bool = False
    bfloat16: bool = False
    overhead: bool = False  # whether the kernels' own time is shown apart
    calls: int = 1


_POLYNOMIALS = tuple(f"{basis}_{k}" for basis in ("power", "chebyshev") for k in (3, 5, 9))
_AFFINE = tuple(f"power_{k}_affine" for k in (3, 5, 9))
_TABLED = ("rational", "piecewise_linear", "spline", "bspline", "rbf", "prelu", "apl")
_BUILTIN = ("floor", "relu", "gelu", "silu", "prelu_torch")
_NORMALISED = tuple(f"power_{k}_batch{end}" for end in ("", "_identity") for k in (3, 5, 9))
_ROWS = (*_BUILTIN, *_POLYNOMIALS, *_AFFINE, *_TABLED, "slaf")
_ELEMENTWISE = (Process(_ROWS),)
_BF16 = ("relu", "gelu", "power_3", "power_5", "power_9", "power_5_affine", *_TABLED, "power_5_batch")
_LARGE = ("floor", "floor_allocating", "relu", "gelu", "power_5", "rational")

TABLES = (
    Table("4d", "Convolutional", (32, 64, 32, 32), (2, 8, 4, 4), _ELEMENTWISE),
    Table("2d", "Dense", (8192, 1024), (16, 8), (Process((*_ROWS, "polynorm")),)),
    Table("channels_last", "Channels-last", (32, 64, 32, 32), (2, 8, 4, 4), _ELEMENTWISE, channels_last=True),
    Table("small", "Small: the overhead of a call", (32, 64), (4, 8), _ELEMENTWISE, overhead=True, calls=50),
    Table(
        "normalised",
        "Normalised",
        (32, 64, 32, 32),
        (2, 8, 4, 4),
        (Process(("bn_relu", "bn_gelu", *_NORMALISED, "slaf", "evonorm_b0", "evonorm_s0")),),
        against=("bn_relu", "bn_gelu"),
    ),
    Table("bf16", "bfloat16", (32, 64, 32, 32), (2, 8, 4, 4), (Process(_BF16),), bfloat16=True),
    Table("bf16_2d", "bfloat16, dense", (8192, 1024), (16, 8), (Process(_BF16),), bfloat16=True),
    Table("bf16_channels_last", "bfloat16", (32, 64, 32, 32), (2, 8, 4, 4), (Process(_BF16),), channels_last=True, bfloat16=True),
    Table("large", "Large: what the allocator costs", (8192, 1024), (16, 8), (Process(_LARGE, "default"), Process(_LARGE))),
    Table(
        "peers",
        "Other libraries, and a polynomial as usually written",
        (32, 64, 32, 32),
        (2, 8, 4, 4),
        (Process(("as_written",)), *(Process((name,)) for name in PEERS)),
    ),
)


def titles(name: str) -> str:
    """How a row is called: for ours, the string that makes it."""
    if name in FLOORS:
        return FLOORS[name]
    if name in PEERS:
        return f"{PEERS[name].package}: {PEERS[name].title}"
    return OURS[name] if name in OURS else TORCH[name][0]


def build(name: str, channels: int, dims: int) -> nn.Module:
    """The module of a row, in training mode."""
    if name in PEERS:
        return PEERS[name].build(channels)
    if name in TORCH:
        return TORCH[name][1](channels, dims)
    import slaf

    return slaf.make(OURS[name], num_channels=channels)


def _goals() -> dict[tuple[str, str, str], float]:
    """The largest ratio that is aimed at, by table, row and what it is compared with.

    ``saved`` is bytes kept over ReLU's, ``error`` that against float64 over GELU's.
    """
    goals: dict[tuple[str, str, str], float] = {}
    for k in (3, 5, 9):
        for row in (f"power_{k}", f"chebyshev_{k}", f"power_{k}_affine"):
            goals |= {("4d", row, "relu"): 1.15 if k <= 5 else 1.3, ("4d", row, "gelu"): 0.45}
            goals |= {("2d", row, "relu"): 1.35, ("channels_last", row, "relu"): 1.35}
        for row in (f"power_{k}_batch", f"power_{k}_batch_identity"):
            goals |= {("normalised", row, "bn_relu"): 0.6, ("normalised", row, "saved"): 1.0}
    goals |= {("4d", "rational", "relu"): 1.8, ("4d", "rational", "gelu"): 0.55}
    goals |= {("2d", "rational", "relu"): 2.2, ("channels_last", "rational", "relu"): 2.2}
    goals |= {("4d", "piecewise_linear", "relu"): 2.5, ("4d", "rbf", "relu"): 6.0, ("4d", "prelu", "prelu_torch"): 0.25}
    goals |= {("4d", row, key): limit for row in ("spline", "bspline") for key, limit in (("relu", 2.8), ("gelu", 1.0))}
    for table in (t.name for t in TABLES if t.bfloat16):
        goals |= {(table, row, key): limit for row in _BF16[2:] for key, limit in (("float32", 1.1), ("error", 1.0))}
    own = (*_POLYNOMIALS, *_AFFINE, *_TABLED, "slaf")
    return goals | {("4d", row, "saved"): 1.0 for row in own} | {("small", row, "relu"): 3.0 for row in own}


GOALS = _goals()


def goals_of(table: str, row: str) -> dict[str, float]:
    """What a row aims at: the largest ratio, by what it is compared with."""
    return {key: limit for (t, r, key), limit in GOALS.items() if (t, r) == (table, row)}

"""``slaf.export.encrypted``: a polynomial network as a program on encrypted images."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from slaf.core import SlafError
from slaf.core.extras import optional
from slaf.surgery.circuits import Costs, Network, Stored, count, execute, schedule

from .ckks import Cipher, Evaluation, relinearised_if_used
from .client import Encrypted, Keys, PublicKeys
from .parameters import Parameters, choose
from .trace import read

__all__ = ["Program", "encrypted"]

Array = NDArray[Any]
NANOSECONDS = {"scaling": 10.0, "relinearisation": 25.0, "rescaling": 25.0}
"""Measured on one core of a 2-core machine: per residue of a ciphertext, for a relinearisation per residue and level."""


def encrypted(
    model: nn.Module,
    example: Tensor,
    input_range: tuple[float, float] | None = None,
    ring: int | None = None,
    scale_bits: int = 40,
) -> Program:
    """Turn a network of linear layers and polynomial activations, in evaluation mode, into one that runs on encrypted images.

    Every ciphertext holds one feature of up to N/2 images, so all of them cost the time of one and nothing is ever rotated. Weights stay
    plain numbers. Levels are counted as CKKS spends them: one for a product of two ciphertexts, one for a product with a number that is
    no small integer. Averages, and the leading coefficients of polynomials of degree 2, 4, 8, …, cost none where a neighbouring affine
    map takes them.

    Args:
        model: linear, convolution, average pooling, batch norm, flatten, sums, constant factors and polynomial activations.
        example: images (n, …), as many as may be: they set ``input_range`` and how large the results are.
        input_range: smallest and largest number that an image may hold; the example's own if not given.
        ring: N, 4096 to 32768; the smallest that carries the depth if not given.
        scale_bits: of the scale, 40 unless precision and depth are to be traded.

    Raises:
        SlafError: a layer has no encrypted form, the example does not fit, or no ring carries the depth.

    Example:
        >>> program = slaf.export.encrypted(model, images)
        >>> keys = program.keys()
        >>> logits = program.decrypt(keys, program.run(program.encrypt(keys, images)))
    """
    if not isinstance(model, nn.Module):
        raise SlafError(f"model must be a torch.nn.Module; got {type(model).__name__}")
    if not isinstance(example, Tensor) or example.dim() < 2 or not len(example) or not example.is_floating_point():
        raise SlafError("example must be a tensor of images (n, …), floating point, with n at least 1")
    low, high = _checked_range(input_range, example)
    network = read(model, example)
    steps = schedule(network)
    costs = count(steps, network.features[0])
    results = network.run(_flat(example))
    if not np.isfinite(results).all():
        raise SlafError("the network's results on the example are not finite")
    parameters = choose(costs.levels, float(np.abs(results).max()), ring, scale_bits)
    return Program(network, steps, costs, parameters, (low, high))


def _checked_range(given: Any, example: Tensor) -> tuple[float, float]:
    if given is None:
        low, high = float(example.min()), float(example.max())
    elif isinstance(given, (tuple, list)) and len(given) == 2 and all(isinstance(v, (int, float)) for v in given) and given[0] < given[1]:
        low, high = float(given[0]), float(given[1])
    else:
        raise SlafError(f"input_range must be two numbers, the lower one first; got {given!r}")
    if not np.isfinite([low, high]).all():
        raise SlafError("example must hold finite numbers")
    return low, high


def _flat(images: Tensor | Array) -> Array:
    x = torch.as_tensor(images).detach().to("cpu", torch.float64)
    return np.asarray(x.reshape(len(x), -1).numpy())


@dataclass(frozen=True)
class Program:
    """A network ready to run on ciphertexts; it holds no key and can be pickled to a server.

    Attributes:
        network: what it computes, in float64.
        steps: how it is computed, with the constants moved to where they cost least.
        costs: levels, and how many operations at each depth.
        parameters: of CKKS.
        input_range: what an image may hold.
    """

    network: Network
    steps: list[Stored]
    costs: Costs
    parameters: Parameters
    input_range: tuple[float, float]

    def keys(self) -> Keys:
        """New keys of a client, in memory only."""
        return Keys(self.parameters)

    def encrypt(self, keys: Keys | PublicKeys, images: Tensor | Array) -> Encrypted:
        """Images (n, …), n at most N/2, one ciphertext per feature.

        Raises:
            SlafError: they have another shape, do not fit, or hold numbers outside ``input_range``.
        """
        x = self._checked(images)
        if keys.scheme.parameters != self.parameters:
            raise SlafError(f"keys are for {keys.scheme.parameters}; the program needs {self.parameters}")
        if len(x) > self.parameters.slots:
            raise SlafError(f"images must be at most {self.parameters.slots}, the slots of a ciphertext; got {len(x)}")
        public = keys.public() if isinstance(keys, Keys) else keys
        at, encrypt, scheme = Evaluation(public.scheme, public.relin_keys), keys.encryptor(), keys.scheme
        values: list[Cipher | float] = []
        for feature in x.T:
            cipher = scheme.Ciphertext()
            encrypt(scheme.slots(feature), cipher)
            values.append(Cipher(at, cipher, scheme.top))
        return Encrypted(public, values, len(x))

    def run(self, images: Encrypted, progress: bool = False) -> Encrypted:
        """The server's part: no secret key is needed, nothing is decrypted. Ctrl-C stops it with nothing left behind.

        Raises:
            SlafError: the images are encrypted for other parameters or have another number of features.
        """
        if images.public.scheme.parameters != self.parameters or len(images.values) != self.network.features[0]:
            raise SlafError(
                f"images hold {len(images.values)} features for {images.public.scheme.parameters}; the program takes "
                f"{self.network.features[0]} for {self.parameters}"
            )
        with _progress(sum(size for _, _, size, _ in self.costs.layers), progress) as done:
            values = execute(self.steps, list(images.values), Cipher.linear_combination, done, relinearised_if_used)
        return Encrypted(images.public, values, images.images)

    def decrypt(self, keys: Keys, results: Encrypted) -> Array:
        """The results in float64: (n, …), as the model returns them."""
        columns = [keys.decrypt(v.ct)[: results.images] if isinstance(v, Cipher) else np.full(results.images, v) for v in results.values]
        return np.stack(columns, 1).reshape(results.images, *self.network.output_shape)

    def plain(self, images: Tensor | Array) -> Array:
        """The network itself in float64, from its own weights and polynomials: no ciphertext, none of the program's moved constants."""
        x = self._checked(images)
        return self.network.run(x).reshape(len(x), *self.network.output_shape)

    def outside(self, images: Tensor | Array) -> dict[str, float]:
        """Of every polynomial, the share of its inputs on these images outside the range that it was fitted on."""
        shares: dict[str, float] = {}
        self.network.run(self._checked(images), shares)
        return shares

    def _checked(self, images: Tensor | Array) -> Array:
        shape = tuple(images.shape)
        if len(shape) < 2 or shape[1:] != self.network.input_shape or not shape[0]:
            raise SlafError(f"images must have the shape (n, {', '.join(map(str, self.network.input_shape))}), n at least 1; got {shape}")
        x = _flat(images)
        low, high = self.input_range
        slack = 1e-6 * (high - low)
        inside = (x >= low - slack) & (x <= high + slack)
        if not inside.all():
            worst = x[~inside][0]
            raise SlafError(f"images must lie in [{low:.6g}, {high:.6g}], the range that the network was made for; got {worst:.6g}")
        return x

    @property
    def seconds(self) -> float:
        """About how long :meth:`run` takes on one core."""
        total = 0.0
        for kind, counter in (
            ("scaling", self.costs.scalings),
            ("rescaling", self.costs.rescalings),
            ("relinearisation", self.costs.products),
        ):
            for depth, times in counter.items():
                left = self.parameters.levels - depth + 1
                residues = self.parameters.ring * left * (left + 1 if kind == "relinearisation" else 2)
                total += times * residues * NANOSECONDS[kind] * 1e-9
        return total

    @property
    def gigabytes(self) -> float:
        """About how much memory the ciphertexts take at most, of what one layer reads and what it makes."""
        largest = 0.0
        before = float(self.network.features[0] * (self.parameters.levels + 1))
        for _, _, features, depth in self.costs.layers:
            size = features * (self.parameters.levels - depth + 1) * 1.5  # a product has three parts, not two
            largest, before = max(largest, before + size), size
        return largest * 16 * self.parameters.ring / 1e9

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        p = self.parameters
        layers = [{"name": n, "what": w, "features": f, "depth": d} for n, w, f, d in self.costs.layers]
        return {
            "ring": p.ring,
            "moduli_bits": list(p.bits),
            "scale_bits": p.scale_bits,
            "security_bits": p.security_bits,
            "slots": p.slots,
            "levels": self.costs.levels,
            "products": sum(self.costs.products.values()),
            "scalings": sum(self.costs.scalings.values()),
            "estimated_seconds": self.seconds,
            "estimated_gigabytes": self.gigabytes,
            "input_range": list(self.input_range),
            "layers": layers,
        }

    def __str__(self) -> str:
        known = self.to_dict()
        width = max(len(n) for n, *_ in self.costs.layers)
        lines = [f"{n:<{width}}  {w}: {f} features, depth {d}" for n, w, f, d in self.costs.layers]
        sums = f"{known['levels']} levels, {known['products']} products of ciphertexts, {known['scalings']} with numbers"
        return "\n".join(
            [
                *lines,
                sums,
                str(self.parameters),
                f"{self.parameters.slots} images at a time, about {self.seconds:.0f} s and {self.gigabytes:.1f} GB",
            ]
        )


@contextmanager
def _progress(total: int, shown: bool) -> Iterator[Callable[[int], None] | None]:
    """A bar on standard error, or nothing."""
    if not shown:
        yield None
        return
    bars = optional("rich.progress", "cli", "the progress bar")
    console = optional("rich.console", "cli", "the progress bar").Console(file=sys.stderr)
    columns = (bars.TextColumn("encrypted inference"), bars.BarColumn(), bars.MofNCompleteColumn(), bars.TimeRemainingColumn())
    with bars.Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda n: bar.advance(task, n)

"""``slaf encrypt-demo``: a small network learns digits, becomes a polynomial, and reads held-out ones encrypted."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import slaf
from slaf.analyze import Explanation, explain
from slaf.compare.report.markup import text
from slaf.core import SlafError
from slaf.export.encrypted import Program, encrypted
from slaf.export.encrypted.ckks import sealapi
from slaf.surgery import polynomialize
from slaf.train import Recipe, train

from .digits import Digits

__all__ = ["EncryptDemo", "demo"]

MAX_DEGREE = 22
Samples = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class EncryptDemo:
    """What the demonstration found.

    Attributes:
        images: how many were encrypted, of ``test_images`` held out.
        relu_accuracy, accuracy: of the network with ReLU, and of the polynomial one, on all held-out images.
        plain_accuracy, encrypted_accuracy: on those that were encrypted.
        agreement: share of them with the same prediction.
        max_logit_error: largest difference to the network in float64.
        seconds: of training, of keys and of each part, in wall-clock time.
        outside: by polynomial, the share of inputs outside the range that it was fitted on, over the encrypted images.
        network, held_out: the polynomial network, and all held-out images.
    """

    degree: int
    seed: int
    images: int
    test_images: int
    relu_accuracy: float
    accuracy: float
    plain_accuracy: float
    encrypted_accuracy: float
    agreement: float
    max_logit_error: float
    seconds: dict[str, float]
    outside: dict[str, float]
    program: Program
    network: nn.Module
    held_out: Tensor

    def explain(self) -> Explanation:
        """What the polynomial network computes, over the held-out images."""
        return explain(self.network, self.held_out)

    @property
    def seconds_per_image(self) -> float:
        """Of the server, amortised."""
        return self.seconds["run"] / self.images

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        left_out = ("program", "network", "held_out")
        known = {k: v for k, v in vars(self).items() if k not in left_out}
        return known | {
            "latency_seconds": self.seconds["run"],
            "seconds_per_image": self.seconds_per_image,
            "parameters": self.program.to_dict(),
        }

    def lines(self) -> list[tuple[str, str]]:
        """What a person is told."""
        s, p = self.seconds, self.program.parameters
        return [
            (
                "accuracy, plain",
                f"{self.plain_accuracy:.1%} of {self.images} images ({self.accuracy:.1%} of all {self.test_images} held out)",
            ),
            ("accuracy, encrypted", f"{self.encrypted_accuracy:.1%}"),
            ("with ReLU", f"{self.relu_accuracy:.1%} of all held out"),
            ("same prediction", f"{self.agreement:.1%}"),
            ("max logit error", f"{self.max_logit_error:.2g}"),
            ("latency", f"{s['run']:.1f} s for all {self.images} images at once"),
            ("per image", f"{self.seconds_per_image:.3f} s; {s['run'] / p.slots:.4f} s with all {p.slots} slots filled"),
            ("client", f"keys {s['keys']:.1f} s, encryption {s['encrypt']:.1f} s, decryption {s['decrypt']:.2f} s"),
            ("training", f"{s['train']:.1f} s"),
            ("parameters", f"{p}; depth {self.program.costs.levels}"),
            ("outside the range", ", ".join(f"{name} {share:.2%}" for name, share in self.outside.items())),
        ]

    def __str__(self) -> str:
        lines = self.lines()
        width = max(len(name) for name, _ in lines)
        return "\n".join(f"{name:<{width}}  {value}" for name, value in lines)


def network() -> nn.Sequential:
    """8 channels, two ReLUs, average pooling: seven levels once the ReLUs are polynomials of degree 4."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32, 10),
    )


def samples(seed: int) -> tuple[Samples, Samples]:
    """The digits as images (n, 1, 8, 8) in [-1, 1] with labels: to learn from, and held out."""
    data = Digits().data(seed, {"widths": ()})
    (x, y), (x_test, y_test) = data.train, data.test
    return (x.reshape(-1, 1, 8, 8), y), (x_test.reshape(-1, 1, 8, 8), y_test)


def learned(degree: int, data: Samples, held_out: Samples, epochs: int, seed: int, progress: bool) -> nn.Module:
    """The network, trained with ReLU and then made a polynomial."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = network()
    train(model, data, F.cross_entropy, Recipe(epochs, 64, lr=3e-3, schedule="cosine"), seed=seed)
    return polynomialize(model, degree, data, valid=held_out, epochs=epochs, seed=seed, progress=progress)


def demo(
    images: int = 100,
    degree: int = 4,
    epochs: int = 40,
    seed: int = 0,
    progress: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> EncryptDemo:
    """Train on the digits, polynomialize, encrypt held-out images, infer on ciphertexts, decrypt and compare.

    Raises:
        SlafError: an argument that is not allowed, a depth that no parameters carry, or a package that is not installed.
    """
    held_out = 540
    for name, value, most in (("images", images, held_out), ("degree", degree, MAX_DEGREE), ("epochs", epochs, 1000)):
        least = 2 if name == "degree" else 1
        if not least <= value <= most:
            raise SlafError(f"{name} must be from {least} to {most}; got {value}")
    sealapi()  # before minutes of training, not after
    (x, y), (x_test, y_test) = samples(seed)
    clock = _Clock()
    say(f"training for {epochs} epochs on {len(x)} images, and as long again to become a polynomial")
    model = learned(degree, (x, y), (x_test, y_test), epochs, seed, progress)
    report: Any = model.slaf_report
    say(str(report))
    clock("train")
    program = encrypted(model, x)
    say(str(program))
    keys = program.keys()
    clock("keys")
    chosen, labels = x_test[:images], y_test[:images]
    given = program.encrypt(keys, chosen)
    clock("encrypt")
    found = program.run(given, progress=progress)
    clock("run")
    logits = program.decrypt(keys, found)
    clock("decrypt")
    plain = program.plain(chosen)
    return EncryptDemo(
        degree,
        seed,
        images,
        len(x_test),
        report.original.accuracy,
        _accuracy(program.plain(x_test), y_test),
        _accuracy(plain, labels),
        _accuracy(logits, labels),
        float((logits.argmax(1) == plain.argmax(1)).mean()),
        float(np.abs(logits - plain).max()),
        clock.seconds,
        program.outside(chosen),
        program,
        model,
        x_test,
    )


def _accuracy(logits: Any, labels: Tensor) -> float:
    return float((logits.argmax(1) == labels.numpy()).mean())


class _Clock:
    """Seconds since the call before, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.before = time.perf_counter()

    def __call__(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name], self.before = now - self.before, now


def page(found: EncryptDemo) -> str:
    """One self-contained file: the numbers, and the layers with their depth."""
    style = resources.files("slaf.compare.report").joinpath("page.css").read_text(encoding="utf-8")
    numbers = "".join(f'<tr><th scope="row">{text(n)}</th><td class="text">{text(v)}</td></tr>' for n, v in found.lines())
    layers = "".join(
        f'<tr><th scope="row"><code>{text(n)}</code></th><td class="text">{text(w)}</td><td>{f}</td><td>{d}</td></tr>'
        for n, w, f, d in found.program.costs.layers
    )
    title = f"{found.images} digits read without being seen"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{text(title)} · slaf encrypt-demo</title>
<style>
{style}
</style>
</head>
<body>
<header>
<p class="kicker">slaf encrypt-demo</p>
<h1>{text(title)}</h1>
<p>A network with polynomials of degree {found.degree} was evaluated on encrypted images; only the holder of the secret key can read
images or results.</p>
</header>
<main>
<section>
<h2>Results</h2>
<div class="scroll" tabindex="0" role="region" aria-label="Results"><table><tbody>{numbers}</tbody></table></div>
</section>
<section>
<h2>The program</h2>
<div class="scroll" tabindex="0" role="region" aria-label="Layers"><table>
<thead><tr><th scope="col">layer</th><th class="text" scope="col">computes</th>
<th scope="col">features</th><th scope="col">depth</th></tr></thead>
<tbody>{layers}</tbody>
</table></div>
<p class="fine">{text(found.program.parameters)}. Security by the HomomorphicEncryption.org standard, enforced by SEAL.</p>
</section>
</main>
<footer><p>Made by slaf {text(slaf.__version__)}, seed {found.seed}.</p></footer>
</body>
</html>
"""

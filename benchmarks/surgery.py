"""What audit and swap cost as a model grows, and on a ViT; how far swaps move.

python benchmarks/surgery.py            chains of 10 to 500 sites, then ViT-Base's shape with 12 layers (random weights)
python benchmarks/surgery.py --drift    families in small models: the worst site, the output, top-1, on held-out inputs
python benchmarks/surgery.py --quick    fewer sites, a small ViT; with --drift fewer families and models

The last column is seconds a site; where it stays the same, the cost is linear. The exponent is the slope of log(seconds) over log(sites)
from the second size on.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import slaf


class Block(nn.Module):
    """A residual branch with one functional call."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.linear = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + F.gelu(self.linear(self.norm(x)))


def chain(sites: int, width: int = 32) -> tuple[nn.Module, Tensor]:
    """A residual chain with one site a block."""
    torch.manual_seed(0)
    return nn.Sequential(*(Block(width) for _ in range(sites))).eval(), torch.randn(64, width)


def vit(layers: int, width: int) -> tuple[nn.Module, dict[str, Tensor]]:
    """A ViT by its configuration, patches of 16 in images of 224 × 224."""
    from transformers import ViTConfig, ViTModel

    torch.manual_seed(0)
    config = ViTConfig(hidden_size=width, num_hidden_layers=layers, num_attention_heads=width // 64, intermediate_size=4 * width)
    return ViTModel(config).eval(), {"pixel_values": torch.randn(4, 3, 224, 224)}


def seconds(work: Callable[[], Any]) -> float:
    """Wall time of one run."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def exponent(sizes: list[int], times: list[float]) -> float:
    """Slope of log(times) over log(sizes), by least squares."""
    x, y = [math.log(n) for n in sizes], [math.log(t) for t in times]
    mx, my = sum(x) / len(x), sum(y) / len(y)
    return sum((a - mx) * (b - my) for a, b in zip(x, y, strict=True)) / sum((a - mx) ** 2 for a in x)


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer sites, a small ViT")
    parser.add_argument("--drift", action="store_true", help="how far families move models, as a table in Markdown")
    options = parser.parse_args()
    if options.drift:
        import surgery_drift

        surgery_drift.main(options.quick)
        return 0
    sizes = [5, 10, 20] if options.quick else [10, 50, 100, 200, 500]
    layers, width = (2, 192) if sizes[-1] == 20 else (12, 768)
    rules = {"gelu": "rational(5,4)"}
    slaf.swap(*_swapped(chain(2), rules))  # what is imported and cached once
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads\n")
    print(f"{'sites':>6} {'forward':>10} {'audit':>10} {'swap':>10} {'swap, a site':>14}")
    audits, swaps = [], []
    for sites in sizes:
        model, x = chain(sites)
        with torch.no_grad():
            forward = seconds(lambda model=model, x=x: model(x))
        audits.append(seconds(lambda model=model, x=x: slaf.audit(model, x)))
        swaps.append(seconds(lambda model=model, x=x: slaf.swap(model, rules, x)))
        print(f"{sites:6d} {forward:9.3f}s {audits[-1]:9.3f}s {swaps[-1]:9.3f}s {swaps[-1] / sites:13.4f}s")
    print(f"exponent: audit {exponent(sizes[1:], audits[1:]):.2f}, swap {exponent(sizes[1:], swaps[1:]):.2f}\n")
    model, example = vit(layers, width)
    with torch.no_grad():
        forward = seconds(lambda: model(**example))
    audit, swap = seconds(lambda: slaf.audit(model, example)), seconds(lambda: slaf.swap(model, rules, example))
    print(f"ViT, {layers} layers of {width}, 4 images: forward {forward:.2f} s, audit {audit:.2f} s, swap {swap:.2f} s")
    return 0


def _swapped(built: tuple[nn.Module, Tensor], rules: dict[str, str]) -> tuple[nn.Module, dict[str, str], Tensor]:
    return built[0], rules, built[1]


if __name__ == "__main__":
    sys.exit(main())

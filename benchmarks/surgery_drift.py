"""``benchmarks/surgery.py --drift``: learned families in place of the activation of small models, on inputs that no fit has seen.

The MLP and the network with batch norms are trained on scikit-learn's digits, and held out are test images. The transformers are built from
their configurations, with random weights drawn so wide that the inputs of their activations spread as far as trained ones do (the column
"input std" says how far; with the library's narrow weights every fit would look perfect), and held out are other random inputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import slaf

FAMILIES = (
    "rational(5,4)",
    "piecewise_linear(knots=32)",
    "spline(knots=16)",
    "slaf(degree=9)",
    "slaf(degree=5)",
)
Built = tuple[nn.Module, Any, Any, str]


class MLP(nn.Module):
    """64–64–64–10."""

    def __init__(self, f: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 10)
        self.f = f

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.f(self.second(self.f(self.first(x.flatten(1))))))


class Block(nn.Module):
    """A residual block with two functional calls."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)
        self.shortcut = nn.Identity() if stride == 1 else nn.Conv2d(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class ResNet(nn.Module):
    """Four blocks: nine ReLUs, one behind the other."""

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        self.conv, self.bn, self.relu = nn.Conv2d(1, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        self.blocks = nn.Sequential(
            Block(width, width, 1), Block(width, width, 1), Block(width, 2 * width, 2), Block(2 * width, 2 * width, 1)
        )
        self.head = nn.Linear(2 * width, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.relu(self.bn(self.conv(x)))).mean((2, 3)))


def trained(model: nn.Module, kind: str, epochs: int = 6) -> Built:
    """On the digits: 1,297 images to train on, of which 256 are the example, 500 held out."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = torch.randperm(len(digits.target), generator=torch.Generator().manual_seed(0))
    images = torch.tensor(digits.images, dtype=torch.float32)[order, None] / 8 - 1
    labels = torch.tensor(digits.target)[order]
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(epochs):
        for batch in torch.randperm(1297).split(64):
            optimizer.zero_grad()
            F.cross_entropy(model(images[batch]), labels[batch]).backward()
            optimizer.step()
    return model.eval(), images[:256], images[1297:], kind


def from_config(name: str) -> Built:
    """Two layers of width 64, weights of standard deviation 1.5/√64."""
    import transformers

    size = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}
    wide = size | {"initializer_range": 1.5 / math.sqrt(64)}
    if name == "BERT":
        config = transformers.BertConfig(vocab_size=200, max_position_embeddings=32, **wide)
        return (transformers.BertForSequenceClassification(config).eval(), *_words(), "gelu")
    if name == "Llama":
        config = transformers.LlamaConfig(vocab_size=200, max_position_embeddings=32, **wide)
        return (transformers.LlamaForCausalLM(config).eval(), *_words(), "silu")
    config = transformers.ViTConfig(image_size=16, patch_size=4, **wide)
    return (
        transformers.ViTForImageClassification(config).eval(),
        *({"pixel_values": torch.randn(64, 3, 16, 16)} for _ in range(2)),
        "gelu",
    )


def _words() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    return {"input_ids": torch.randint(1, 200, (64, 16))}, {"input_ids": torch.randint(1, 200, (64, 16))}


MODELS: dict[str, Callable[[], Built]] = {
    "MLP, GELU, trained": lambda: trained(MLP(nn.GELU()), "gelu"),
    "MLP, ReLU, trained": lambda: trained(MLP(nn.ReLU()), "relu"),
    "ResNet, ReLU, trained": lambda: trained(ResNet(), "relu"),
    "BERT, GELU": lambda: from_config("BERT"),
    "ViT, GELU": lambda: from_config("ViT"),
    "Llama, SiLU": lambda: from_config("Llama"),
}


def main(quick: bool) -> None:
    """Print the table."""
    print(f"torch {torch.__version__}\n")
    print("| model | sites | input std | new | worst site | output | top-1 |\n|---|---|---|---|---|---|---|")
    for title in list(MODELS)[: 2 if quick else None]:
        torch.manual_seed(0)
        model, example, held_out, kind = MODELS[title]()
        spread = [site.inputs.std for site in slaf.audit(model, example).activations if site.kind == kind]
        first = f"{title} | {len(spread)} | {min(spread):.1f}–{max(spread):.1f}"
        for family in FAMILIES[: 2 if quick else None]:
            report = slaf.swap(model, {kind: family}, example, held_out=held_out).slaf_report
            worst, output = max(site.drift for site in report.sites), report.output
            print(f"| {first} | `{family}` | {worst:.1e} | {output.relative:.1e} | {output.agreement:.1%} |", flush=True)
            first = " | |"

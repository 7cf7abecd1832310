"""Small models that the tests of surgery share: an MLP, a ResNet-18 with functional and shared activations, transformers from configs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

Built = tuple[nn.Module, Any]


class MLP(nn.Module):
    """Two functional calls and one in place."""

    def __init__(self, features: int = 6, width: int = 12, outputs: int = 3) -> None:
        super().__init__()
        self.first = nn.Linear(features, width)
        self.second = nn.Linear(width, width)
        self.third = nn.Linear(width, width)
        self.last = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x))
        x = torch.tanh(self.second(x))
        x = self.third(x).relu_()
        return self.last(x)


class FunctionalBlock(nn.Module):
    """A basic block whose activations are functional, in place."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = _shortcut(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = self.bn2(self.conv2(out))
        out += self.shortcut(x)
        return F.relu(out, inplace=True)


class SharedBlock(nn.Module):
    """A basic block that calls one activation module twice, as torchvision's does."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = _shortcut(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += self.shortcut(x)
        return self.relu(out)


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


class ResNet18(nn.Module):
    """ResNet-18 for small images, ``width`` channels at first: layers 1 and 3 functional, 2 and 4 with one shared module a block.

    With ``blocks=1`` a layer it is half as deep, and has every kind of block and of shortcut still.
    """

    def __init__(self, width: int = 8, classes: int = 10, blocks: int = 2) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = _layer(FunctionalBlock, width, width, 1, blocks)
        self.layer2 = _layer(SharedBlock, width, 2 * width, 2, blocks)
        self.layer3 = _layer(FunctionalBlock, 2 * width, 4 * width, 2, blocks)
        self.layer4 = _layer(SharedBlock, 4 * width, 8 * width, 2, blocks)
        self.fc = nn.Linear(8 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


def _layer(block: Callable[[int, int, int], nn.Module], inputs: int, outputs: int, stride: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(block(inputs, outputs, stride), *(block(outputs, outputs, 1) for _ in range(blocks - 1)))


def mlp() -> Built:
    """(model, example)."""
    torch.manual_seed(0)
    return MLP(), torch.randn(16, 6)


def resnet18(width: int = 8, blocks: int = 2) -> Built:
    """(model, example)."""
    torch.manual_seed(0)
    return ResNet18(width, blocks=blocks), torch.randn(2, 3, 16, 16)


def bert(attention: str = "sdpa") -> Built:
    """(model, example) of a two-layer BERT classifier."""
    transformers = pytest.importorskip("transformers")

    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=50,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=32,
        attn_implementation=attention,
    )
    return transformers.BertForSequenceClassification(config).eval(), {"input_ids": torch.randint(1, 50, (2, 8))}


def vit(attention: str = "sdpa", hidden: int = 32) -> Built:
    """(model, example) of a two-layer ViT classifier."""
    transformers = pytest.importorskip("transformers")

    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=hidden,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=hidden * 3 // 2,
        image_size=16,
        patch_size=4,
        attn_implementation=attention,
    )
    return transformers.ViTForImageClassification(config).eval(), {"pixel_values": torch.randn(2, 3, 16, 16)}


def gpt2(attention: str = "sdpa") -> Built:
    """(model, example) of a two-layer GPT-2."""
    transformers = pytest.importorskip("transformers")

    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=50, n_embd=32, n_layer=2, n_head=2, n_positions=32, attn_implementation=attention)
    return transformers.GPT2LMHeadModel(config).eval(), {"input_ids": torch.randint(1, 50, (2, 8)), "use_cache": False}


def llama(attention: str = "sdpa") -> Built:
    """(model, example) of a two-layer Llama."""
    transformers = pytest.importorskip("transformers")

    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=50,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=32,
        attn_implementation=attention,
    )
    return transformers.LlamaForCausalLM(config).eval(), {"input_ids": torch.randint(1, 50, (2, 8)), "use_cache": False}

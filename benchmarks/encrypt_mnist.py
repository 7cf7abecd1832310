"""How long a network takes to read encrypted images of 28×28 pixels: files as MNIST's, idx or idx.gz.

python benchmarks/encrypt_mnist.py --data FOLDER                  # minutes; 20 held-out images
python benchmarks/encrypt_mnist.py --data FOLDER --estimate       # train, and say what the encrypted part would take
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import slaf
from slaf.core import SlafError
from slaf.data.images import read_images
from slaf.data.split import Split
from slaf.train import Recipe, generator, train


def network(channels: int) -> nn.Module:
    """A convolution, a batch norm, two linear layers; two ReLUs, an average pooling: seven levels with polynomials of degree 4."""
    return nn.Sequential(
        *(nn.Conv2d(1, channels, 5, stride=2, padding=2), nn.BatchNorm2d(channels), nn.ReLU(), nn.AvgPool2d(2)),
        *(nn.Flatten(), nn.Linear(channels * 49, 32), nn.ReLU(), nn.Linear(32, 10)),
    )


def polynomial(options: argparse.Namespace) -> tuple[Any, Split]:
    """A ReLU network, trained and made polynomial, and the images."""
    images = read_images(options.data, max_images=options.most).tensors(generator(options.seed, "data"))
    torch.manual_seed(options.seed)
    model = network(options.channels)
    recipe = Recipe(epochs=options.epochs, batch_size=64, lr=3e-3, schedule="cosine", optimizer="adamw", weight_decay=1e-4)
    train(model, images.train, F.cross_entropy, recipe, options.seed)
    return slaf.polynomialize(model, options.degree, images.train, images.test, epochs=options.epochs, seed=options.seed), images


def read(made: Any, images: Split, options: argparse.Namespace) -> dict[str, Any]:
    """Encrypt, infer, decrypt and compare."""
    x, y = images.test[0], images.test[1].numpy()
    pixels = torch.cat([images.train[0], x])
    program = slaf.export.encrypted(made, x, input_range=(float(pixels.min()), float(pixels.max())))
    print(f"{made.slaf_report}\n{program}", file=sys.stderr)
    found: dict[str, Any] = {
        "held_out": len(x),
        "relu_accuracy": made.slaf_report.original.accuracy,
        "accuracy": float((program.plain(x).argmax(1) == y).mean()),
        "depth": made.slaf_report.depth,
        "parameters": str(program.parameters),
        "estimated_seconds": program.seconds,
    }
    if options.estimate:
        return found
    keys, chosen = program.keys(), x[: options.images]
    given = program.encrypt(keys, chosen)
    start, used = time.perf_counter(), time.process_time()
    results = program.run(given)
    seconds, processor = time.perf_counter() - start, time.process_time() - used
    logits, plain = program.decrypt(keys, results), program.plain(chosen)
    return found | {
        "images": len(chosen),
        "right": int((logits.argmax(1) == y[: len(chosen)]).sum()),
        "agreement": float((logits.argmax(1) == plain.argmax(1)).mean()),
        "max_logit_error": float(np.abs(logits - plain).max()),
        "seconds": seconds,
        "processor_seconds": processor,
        "seconds_per_image_with_all_slots_filled": seconds / program.parameters.slots,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of files in MNIST's format")
    parser.add_argument("--images", type=int, default=20, help="held-out images to encrypt; all cost the time of one")
    parser.add_argument("--degree", type=int, default=4)
    parser.add_argument("--channels", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=12, help="of the ReLU network, and of making it polynomial")
    parser.add_argument("--most", type=int, default=10_000, help="images to read; 20 %% are held out")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--estimate", action="store_true", help="stop before the encrypted part")
    try:
        options = parser.parse_args()
        print(json.dumps(read(*polynomial(options), options), indent=1))
    except SlafError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

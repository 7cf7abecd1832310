"""What exchanges of activations cost on the digits.

``python benchmarks/exchange.py [--first 0] [--seeds 5] [--only NAME] [--rows rows.jsonl]``;
rows that are in the file already are not computed again.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import torch

from slaf.studies.exchange import digits, exchanged, table, trained
from slaf.surgery import EXCHANGES

CASES = {
    "silu_to_hardswish": ("vit",),
    "gelu_to_piecewise_linear": ("vit",),
    "relufication": ("vit",),
    "mish_to_hard_mish": ("cnn",),
    "relu_to_slaf": ("cnn", "mlp"),
}


def main() -> None:
    """Run what is missing, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--only", choices=CASES)
    parser.add_argument("--network", choices=("vit", "cnn", "mlp"))
    parser.add_argument("--rows", type=Path, default=Path("exchange.jsonl"))
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    rows = [json.loads(line) for line in options.rows.read_text().splitlines()] if options.rows.exists() else []
    done = {(r["exchange"], r["network"], r["seed"]) for r in rows}
    for name, networks in CASES.items():
        for network in networks:
            for seed in range(options.first, options.first + options.seeds):
                if (name, network, seed) in done or options.only not in (None, name) or options.network not in (None, network):
                    continue
                data, exchange = digits(seed), EXCHANGES[name]
                old = trained(network, exchange.old[0], seed, data)
                rows.append({"exchange": name, "network": network, "seed": seed} | exchanged(old, exchange, data, seed))
                with options.rows.open("a") as file:
                    file.write(json.dumps(rows[-1]) + "\n")
    rows.sort(key=lambda r: (list(CASES).index(r["exchange"]), r["network"] != CASES[r["exchange"]][0], r["seed"]))
    print(table(rows), table(rows, "loss"), sep="\n\n")


if __name__ == "__main__":
    main()

"""The contract over the layers of tests/layers/test_layer_contract.py, each export by itself, as one file that the page of layers reads.

python benchmarks/contract_layers.py    two minutes

Like docs/contract.json it holds no dates and no times, and of what passed the number alone.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
OUT = ROOT / "docs" / "layers.json"
COMMAND = "python benchmarks/contract_layers.py"


def outcomes() -> dict[str, dict[str, dict[str, Any]]]:
    """By class and variant: how many checks passed, and the reason of each that did not."""
    sys.path.insert(0, str(ROOT / "tests" / "layers"))
    import test_layer_contract as tested

    from slaf.testing import check_activation

    found: dict[str, dict[str, dict[str, Any]]] = {}
    for layer in (*tested.FIRST, *tested.OTHERS):
        gaps = tested.GAPS.get(layer.name, {})
        report = check_activation(layer, xfail=gaps)
        told = {s: {r.check: gaps.get(r.check, r.message) for r in report.results if r.status == s} for s in ("failed", "xfailed")}
        passed = sum(r.status == "passed" for r in report.results)
        kind, _, variant = layer.name.partition("-")
        found.setdefault(kind, {})[variant] = {"passed": passed, **{s: m for s, m in told.items() if m}}
        print(report, file=sys.stderr, flush=True)
    return found


def main() -> int:
    """Run and write; 1 if a layer breaks the contract."""
    import torch

    import slaf

    torch.set_num_threads(1)
    found = outcomes()
    about = {"command": COMMAND, "slaf": slaf.__version__, "torch": torch.__version__.partition("+")[0]}
    OUT.write_text(json.dumps(about | {"layers": found}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return int(any("failed" in one for variants in found.values() for one in variants.values()))


if __name__ == "__main__":
    sys.exit(main())

"""Rank activations over several run folders by their worst rank: python benchmarks/worst_rank.py RUN_FOLDER…

By each folder's primary metric, the mean over its seeds; rank 1 is best. An activation is listed if every folder has it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from slaf.compare import comparison_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    tables = [comparison_of(folder) for folder in parser.parse_args().folders]
    shared = [r.activation for r in tables[0].rows if all(any(r.activation == s.activation for s in t.rows) for t in tables)]
    found = {}
    for name in shared:
        cells = []
        for table in tables:
            rows = {r.activation: r for r in table.rows}
            ordered = sorted(shared, key=lambda a, rows=rows, t=table: _key(rows[a].mean, t.direction))
            cells.append((ordered.index(name) + 1, rows[name].mean, rows[name].worst))
        found[name] = cells
    print("| activation | worst rank | " + " | ".join(f"{t.study}: {t.metric} mean (worst seed), rank" for t in tables) + " |")
    print("|---" * (2 + len(tables)) + "|")
    for name, cells in sorted(found.items(), key=lambda item: (max(c[0] for c in item[1]), sum(c[0] for c in item[1]))):
        text = " | ".join(f"{mean:.4g} ({worst:.4g}), {rank}" for rank, mean, worst in cells)
        print(f"| `{name}` | {max(c[0] for c in cells)} | {text} |")


def _key(mean: float | None, direction: str) -> float:
    if mean is None:
        return float("inf")
    return -mean if direction == "max" else mean


if __name__ == "__main__":
    main()

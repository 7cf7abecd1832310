"""The README's picture, from stored runs: python docs/make_images.py RUN_FOLDER… -o docs/images/learned.png

Shows, for each run folder, what `slaf` became at its first two sites in the network of seed 0.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from slaf.compare.figures import colors, plot_learned


def sites(folder: Path) -> list[tuple[str, dict]]:
    """(title, learned site) of the record of `slaf`, seed 0."""
    for line in (folder / "results.jsonl").read_text().splitlines():
        record = json.loads(line)
        if record["activation"] == "slaf" and record["seed"] == 0:
            study = record["study"].replace("_", " ")
            return [(f"{study}, layer {i + 1}", site) for i, site in enumerate(record["learned"][:2])]
    raise SystemExit(f"{folder}: no trial of slaf with seed 0")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("-o", "--out", type=Path, default=Path("docs/images/learned.png"))
    given = parser.parse_args()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = [site for folder in given.folders for site in sites(folder)]
    figure = Figure(figsize=(3.1 * len(shown), 2.9), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    shades = list(colors([title.partition(",")[0] for title, _ in shown]).values())
    for number, (title, site) in enumerate(shown):
        axes = figure.add_subplot(1, len(shown), number + 1)
        plot_learned(axes, site, shades[number // 2])
        axes.set_title(title, fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(given.out, dpi=130, metadata={"Software": None})
    print(f"{given.out}: {len(shown)} sites")


if __name__ == "__main__":
    main()

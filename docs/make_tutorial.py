"""The tutorial's outputs and pictures: python docs/make_tutorial.py

Runs the code of docs/tutorial.md (about twenty seconds), writes what it prints below its blocks, and draws docs/images/tutorial-*.png and
docs/images/swap.png, the README's.
"""

from __future__ import annotations

import argparse
import io
import tempfile
from pathlib import Path
from typing import Any

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from slafdocs import walkthrough

ROOT = Path(__file__).parents[1]
PAGE, IMAGES = ROOT / "docs" / "tutorial.md", ROOT / "docs" / "images"
BLUE, ORANGE, GREEN, GREY = "#1f5fa8", "#b8480a", "#007a5a", "#c9ced6"
SHOWN = 2
"""The call whose function is drawn."""


def figure(width: float, height: float) -> Figure:
    made = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(made)
    return made


def save(made: Figure, name: str) -> None:
    """In few enough colours to be small."""
    for axes in made.axes:
        axes.spines[["top", "right"]].set_visible(False)
    png = io.BytesIO()
    made.savefig(png, dpi=130, metadata={"Software": None})
    path = IMAGES / name
    Image.open(png).convert("RGB").quantize(96, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"docs/images/{name}: {path.stat().st_size / 1000:.0f} kB")


def histogram(axes: Any, site: Any, scale: float = 1.0) -> None:
    counts, edges = site.inputs.histogram(60)
    heights = torch.as_tensor(counts).double()
    axes.stairs((scale * heights / heights.max()).tolist(), torch.as_tensor(edges).tolist(), fill=True, color=GREY)


def values(activation: Any, x: torch.Tensor) -> torch.Tensor:
    """Of a module that may know how many channels it has."""
    sharing = getattr(getattr(activation, "inner", activation), "sharing", None)
    channels = getattr(sharing, "num_channels", None) or 1
    with torch.no_grad():
        return activation(x[:, None].expand(-1, channels))[:, 0]


def short(name: str) -> str:
    return name if len(name) < 30 else name.replace("self.bn1(self.conv1(x))", "…")


def audit(v: dict[str, Any]) -> None:
    made = figure(9, 4.2)
    for number, site in enumerate(v["found"]):
        axes = made.add_subplot(2, 3, number + 1)
        histogram(axes, site)
        axes.axvline(0, color=BLUE, lw=1)
        axes.set_yticks([])
        axes.set_title(f"{site.index}  {short(site.name)}", fontsize=8.5)
        axes.tick_params(labelsize=8)
    save(made, "tutorial-audit.png")


def curve(axes: Any, v: dict[str, Any]) -> None:
    """Old, fitted and learned function over what the call is given."""
    site = v["found"][SHOWN]
    x = torch.linspace(site.inputs.quantile(0.001), site.inputs.quantile(0.999), 800)
    fitted, learned = v["swapped"].block1.relu_1, v["tuned"].block1.relu_1
    ys = {"ReLU": torch.relu(x), "swapped": values(fitted, x), "fine-tuned": values(learned, x)}
    top = max(float(y.max()) for y in ys.values())
    histogram(axes, site, 0.6 * top)
    styles = {"ReLU": (BLUE, "-", 3.5), "swapped": (ORANGE, "--", 1.6), "fine-tuned": (GREEN, "-", 1.6)}
    for label, y in ys.items():
        color, line, width = styles[label]
        axes.plot(x, y, color=color, ls=line, lw=width, label=label, alpha=0.55 if label == "ReLU" else 1)
    axes.set_xlim(float(x[0]), float(x[-1]))
    axes.set_title(f"{short(site.name)}, over its inputs", fontsize=9)
    axes.legend(frameon=False, fontsize=8)
    axes.tick_params(labelsize=8)


def bend(axes: Any, v: dict[str, Any]) -> None:
    """The same, close to the kink."""
    x = torch.linspace(-0.5, 0.5, 400)
    y, learned = (values(v[name].block1.relu_1, x) for name in ("swapped", "tuned"))
    axes.plot(x, torch.relu(x), color=BLUE, lw=3.5, alpha=0.55, label="ReLU")
    axes.plot(x, y, color=ORANGE, ls="--", lw=1.6, label="swapped")
    axes.plot(x, learned, color=GREEN, lw=1.6, label="fine-tuned")
    axes.set_title("around the bend of one call", fontsize=9)
    axes.legend(frameon=False, fontsize=8)
    axes.tick_params(labelsize=8)


def drift(axes: Any, v: dict[str, Any]) -> None:
    report = v["swapped"].slaf_report
    names = [short(s.name) for s in report.sites] + ["output"]
    values = [100 * s.drift for s in report.sites] + [100 * report.output.relative]
    bars = axes.barh(names, values, color=[BLUE] * len(report.sites) + [ORANGE], height=0.6)
    axes.bar_label(bars, fmt="%.2f %%", fontsize=8, padding=3)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.2 * max(values))
    axes.set_title("drift on held-out images", fontsize=9)
    axes.set_xticks([])
    axes.tick_params(labelsize=8, length=0)


def steps(axes: Any, v: dict[str, Any]) -> None:
    wrong = v["wrong"]
    models = {
        "trained (ReLU)": v["net"],
        "swapped": v["swapped"],
        "ReLU, trained on": v["control"],
        "fine-tuned": v["tuned"],
        "frozen": v["frozen"],
        "folded: pieces": v["cheap"],
        "folded: int8 tables": v["table"],
    }
    counts = [wrong(model) for model in models.values()]
    bars = axes.barh(list(models), counts, color=[BLUE, ORANGE, BLUE, GREEN, GREEN, GREEN, GREEN], height=0.6)
    axes.bar_label(bars, fontsize=8, padding=3)
    axes.invert_yaxis()
    axes.set_xticks([])
    axes.set_xlim(0, 1.15 * max(counts))
    axes.set_title("wrong of 500 test images", fontsize=9)
    axes.tick_params(labelsize=8, length=0)


def fold(v: dict[str, Any]) -> None:
    made = figure(9, 3)
    learned, pieces, table = (v[name].block1.relu_1 for name in ("frozen", "cheap", "table"))
    x = torch.linspace(*pieces.interval, 4001)[1:-1]
    right = values(learned, x)
    errors = {f"{pieces.size} pieces": values(pieces, x) - right, "table of 256 entries": values(table, x) - right}
    for number, (title, error) in enumerate(errors.items()):
        axes = made.add_subplot(1, 2, number + 1)
        bound = (pieces, table)[number].error_bound
        axes.plot(x, error, color=(GREEN, BLUE)[number], lw=0.8)
        for side in (-bound, bound):
            axes.axhline(side, color=ORANGE, lw=1, ls="--")
        axes.set_title(f"error of the {title}; dashed: the bound", fontsize=9)
        axes.tick_params(labelsize=8)
        axes.set_ylim(-1.3 * bound, 1.3 * bound)
    save(made, "tutorial-fold.png")


def alone(draw: Any, name: str, v: dict[str, Any], width: float = 7, height: float = 2.8) -> None:
    made = figure(width, height)
    draw(made.add_subplot(), v)
    save(made, name)


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    page = PAGE.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        outputs, v = walkthrough.run(page, Path(folder))
    PAGE.write_text(walkthrough.filled(page, outputs), encoding="utf-8")
    audit(v)
    made = figure(9, 3.2)
    curve(made.add_subplot(1, 2, 1), v)
    bend(made.add_subplot(1, 2, 2), v)
    save(made, "tutorial-curve.png")
    alone(drift, "tutorial-drift.png", v)
    fold(v)
    alone(steps, "tutorial-steps.png", v)
    made = figure(11, 2.7)
    for number, draw in enumerate((bend, drift, steps)):
        draw(made.add_subplot(1, 3, number + 1), v)
    save(made, "swap.png")


if __name__ == "__main__":
    main()

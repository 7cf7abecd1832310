"""Pictures of the README and the pages: python docs/make_images.py [learned report polynomial kan], all of them if none is named.

Trains what they show, about two minutes, in folders of slaf-runs/ that are kept: a second call draws again from what is stored.

- docs/images/learned.png: what ``slaf`` became at its first two sites, seed 0, in two studies.
- docs/images/report.png: the top of a report, in chromium.
- docs/images/polynomial.png: the network of ``slaf encrypt-demo``, explained; its words are printed.
- docs/images/kan.png: a Kolmogorov–Arnold network after training with penalties, pruned, and as a formula, which is printed.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

from slaf.analyze import explain
from slaf.compare.figures import colors, plot_learned
from slaf.layers.kan import plot
from slaf.studies._encrypt_demo import learned as demo_network
from slaf.studies._encrypt_demo import samples as demo_data

ROOT = Path(__file__).parents[1]
RUNS, IMAGES = ROOT / "slaf-runs", ROOT / "docs" / "images"
LEARNED = {
    "readme-sparse-polynomials": ("sparse-polynomials", "-a", "relu,slaf", "--seeds", "1", "--no-identity"),
    "readme-spirals": ("spirals", "--budget", "full", "-a", "relu,slaf", "--seeds", "1", "--no-identity"),
}
REPORT = {"readme-digits": ("digits", "-a", "relu,gelu,slaf,slaf(degree=3)", "--seeds", "5")}
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def compared(name: str, words: tuple[str, ...]) -> Path:
    """The run folder, trained if it is not there whole."""
    folder = RUNS / name
    subprocess.run([sys.executable, "-m", "slaf", "compare", *words, "--out", str(folder)], check=True)
    return folder


def sites(folder: Path) -> list[tuple[str, dict]]:
    """(title, learned site) of the record of `slaf`, seed 0."""
    for line in (folder / "results.jsonl").read_text().splitlines():
        record = json.loads(line)
        if record["activation"] == "slaf" and record["seed"] == 0:
            study = record["study"].replace("_", " ")
            return [(f"{study}, layer {i + 1}", site) for i, site in enumerate(record["learned"][:2])]
    raise SystemExit(f"{folder}: no trial of slaf with seed 0")


def learned(folders: list[Path], out: Path) -> None:
    """One row of sites."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = [site for folder in folders for site in sites(folder)]
    figure = Figure(figsize=(3.1 * len(shown), 2.9), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    shades = list(colors([title.partition(",")[0] for title, _ in shown]).values())
    for number, (title, site) in enumerate(shown):
        axes = figure.add_subplot(1, len(shown), number + 1)
        plot_learned(axes, site, shades[number // 2])
        axes.set_title(title, fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(out, dpi=130, metadata={"Software": None})


def screenshot(folder: Path, out: Path) -> None:
    """The report from its headline to its first charts, in few enough colours to be small."""
    from PIL import Image
    from playwright.sync_api import sync_playwright

    path = next((p for p in map(shutil.which, BROWSERS) if p), None)
    if path is None:
        raise SystemExit(f"the picture of the report needs a browser, one of {', '.join(BROWSERS)}: scripts/install-chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1200, "height": 900}, device_scale_factor=1.5, color_scheme="light")
        page.goto((folder / "report.html").resolve().as_uri())
        end = page.locator(".pair").bounding_box()
        assert end is not None
        png = page.screenshot(full_page=True, clip={"x": 0, "y": 0, "width": 1200, "height": end["y"] + end["height"] + 28})
        browser.close()
    Image.open(io.BytesIO(png)).convert("RGB").quantize(192, dither=Image.Dither.NONE).save(out, optimize=True)


def draw_learned(out: Path) -> None:
    """See above."""
    learned([compared(*run) for run in LEARNED.items()], out)


def draw_report(out: Path) -> None:
    """See above."""
    for run in REPORT.items():
        screenshot(compared(*run), out)


def draw_polynomial(out: Path) -> None:
    """See above."""
    train, test = demo_data(seed=0)
    found = explain(demo_network(4, train, test, epochs=40, seed=0, progress=False), test[0])
    print(found)
    found.plot().savefig(out, dpi=110, metadata={"Software": None})


def draw_kan(out: Path) -> None:
    """See above: the code of docs/kan.md, its three networks side by side."""
    from PIL import Image

    code = (ROOT / "docs" / "kan.md").read_text(encoding="utf-8").partition("## From a network to a formula")[2]
    names: dict = {}
    exec(code.partition("```python\n")[2].partition("```")[0], names)
    pictures = []
    for network in (names["net"], names["small"].model, names["found"].model):
        png = io.BytesIO()
        plot(network, names["x"], ["x", "y"], ["f"]).savefig(png, dpi=100, metadata={"Software": None})
        pictures.append(Image.open(png).convert("RGB"))
    whole = Image.new("RGB", (sum(p.width for p in pictures) + 40 * (len(pictures) - 1), max(p.height for p in pictures)), "white")
    left = 0
    for picture in pictures:
        whole.paste(picture, (left, 0))
        left += picture.width + 40
    whole.quantize(64, dither=Image.Dither.NONE).save(out, optimize=True)


DRAWN = {"learned": draw_learned, "report": draw_report, "polynomial": draw_polynomial, "kan": draw_kan}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[[], *DRAWN], metavar="NAME", default=[])
    IMAGES.mkdir(parents=True, exist_ok=True)
    for name in parser.parse_args().names or DRAWN:
        out = IMAGES / f"{name}.png"
        DRAWN[name](out)
        print(f"docs/images/{out.name}: {out.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()

"""What ``slaf audit`` reads, and its page."""

from __future__ import annotations

from importlib import resources
from typing import Any

import torch
from torch import nn

import slaf
from slaf.compare.report.markup import text
from slaf.compare.report.svg import Plot, Scale, fit, steps
from slaf.core import SlafError
from slaf.export import read_source
from slaf.surgery.site import Audit, Site

__all__ = ["model_and_example", "page"]

WIDTH, HEIGHT = 420.0, 190.0
LEFT, RIGHT, TOP, BOTTOM = 14.0, 406.0, 24.0, 146.0


def model_and_example(source: str) -> tuple[nn.Module, Any]:
    """From ``package.module:function``, or a saved program and the inputs it was exported with.

    Raises:
        SlafError: there is no model, or none with an example.
    """
    model, example = read_source(source)
    if isinstance(model, torch.export.ExportedProgram):
        args, keywords = model.example_inputs or ((), {})
        if bool(args) == bool(keywords):
            raise SlafError(f"{source!r} must hold example inputs, all by position or all by name; it has {len(args)} and {len(keywords)}")
        return model.module(), tuple(args) or dict(keywords)
    if not isinstance(model, nn.Module):
        raise SlafError(f"source must be package.module:function or a file that ends in .pt2; got {source!r}")
    if example is None:
        raise SlafError(f"{source} must return (model, example); it returns a model alone")
    return model, example


def page(audit: Audit) -> str:
    """A page of its own: the table, and of every site the histogram of its inputs."""
    style = resources.files("slaf.compare.report").joinpath("page.css").read_text(encoding="utf-8")
    head, *rows = audit.rows()
    cells = "".join(f"<tr>{_cells(row, 'td')}</tr>" for row in rows)
    notes = "".join(f"<li>{text(note)}</li>" for note in (*audit.notes, *(f"missed: {m}" for m in audit.missed)))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{text(audit.model)} · slaf audit</title>
<style>
{style}
.seen {{ fill: var(--accent); }}
</style>
</head>
<body>
<header>
<p class="kicker">slaf audit</p>
<h1>{text(str(audit).splitlines()[0])}</h1>
</header>
<main>
<div class="scroll" tabindex="0" role="region" aria-label="All calls"><table>
<thead><tr>{_cells(head, "th")}</tr></thead>
<tbody>{cells}</tbody>
</table></div>
{f"<ul>{notes}</ul>" if notes else ""}
<section>
<h2>What they are given</h2>
<div class="pair">{"".join(_figure(site) for site in audit if site.inputs.count)}</div>
</section>
</main>
<footer><p>Made by slaf {text(slaf.__version__)}.</p></footer>
</body>
</html>
"""


def _cells(row: tuple[str, ...], tag: str) -> str:
    name, number = row[1], row[0]
    first = f'<th scope="{"col" if tag == "th" else "row"}"><code>{text(f"{number} {name}")}</code></th>'
    return first + "".join(f"<{tag}>{text(cell)}</{tag}>" for cell in row[2:])


def _figure(site: Site) -> str:
    where = "" if site.place is None else f"<br><code>{text(site.place.text)}</code>, line {site.place.line} of {text(site.place.file)}"
    said = text(f"{site.kind}: mean {site.inputs.mean:.3g}, standard deviation {site.inputs.std:.3g}") + where
    return f"<figure><h3>{text(f'{site.index} {site.name}')}</h3>{_histogram(site)}<figcaption>{said}</figcaption></figure>"


def _histogram(site: Site) -> str:
    counts, edges = site.inputs.histogram(48)
    across = fit([float(edges[0]), float(edges[-1])], LEFT, RIGHT, linear=True)
    plot = Plot(across, Scale(0.0, 1.0, BOTTOM, TOP), WIDTH, HEIGHT)
    floor = plot.box[3]
    heights = (floor * (1 - counts / counts.max())).tolist()
    bars = f'<path class="seen" d="{steps([across(e) - LEFT for e in edges.tolist()], heights, floor)}"/>'
    return plot.chart(plot.axes("input", "") + plot.within(bars), f"Histogram of the inputs of {site.name}")

"""``write_report``: from a run folder's stored results to ``report.html`` and its figures as PNG beside it."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

import slaf
from slaf.core import SlafError

from .figures import colors, draw_learned, draw_learning_curves, draw_metric
from .sections import failures, figure, formula_html, how, table, text
from .store import load
from .table import Comparison, tabulate
from .words import evidence, headline, quantity

__all__ = ["comparison_of", "write_report"]

Records = Sequence[Mapping[str, Any]]

MAX_LEARNED = 48
"""Figures of learned activations in the page: about 1.5 MB. The rest are PNG files only, and the page says so."""


def comparison_of(folder: str | Path) -> Comparison:
    """The table of a run folder's stored results."""
    run, records = load(folder)
    return _tabulate(run["view"], _in_order(run["view"], records))


def write_report(folder: str | Path) -> Path:
    """Write ``report.html`` and the figures of a run folder, from stored results alone; nothing is trained or imported.

    Raises:
        SlafError: no run folder, no finished trial in it, matplotlib is missing, or the folder cannot be written.
    """
    folder = Path(folder)
    run, found = load(folder)
    records = _in_order(run["view"], found)
    if not records:
        raise SlafError(f"{str(folder)!r} holds no finished trial yet; run `slaf compare` with --out {folder} first")
    fixed, view = run["fixed"], run["view"]
    comparison = _tabulate(view, records)
    color = colors(list(dict.fromkeys(r["activation"] for r in records)))
    files: dict[str, bytes] = {}
    sections = [
        _results(comparison, color),
        _overview(comparison, records, color, files),
        _learned(records, color, files),
        "<h2>How it was run</h2>" + how(fixed, view, records),
        _failed(records),
    ]
    page = _page(comparison, fixed, view, records, "\n".join(s for s in sections if s))
    try:
        for name, content in files.items():
            (folder / name).write_bytes(content)
        target = folder / "report.html"
        aside = folder / "report.html.new"
        aside.write_text(page, encoding="utf-8")
        os.replace(aside, target)
    except OSError as error:
        raise SlafError(f"cannot write the report to {str(folder)!r}: {error.strerror or error}") from None
    return target


def _in_order(view: Mapping[str, Any], records: Records) -> Records:
    """By seed and in the order that the activations were asked for; workers finish in any."""
    place = {name: number for number, name in enumerate(view["activations"])}
    return sorted(records, key=lambda r: (r["seed"], place.get(r["activation"], len(place))))


def _tabulate(view: Mapping[str, Any], records: Records) -> Comparison:
    return tabulate(records, view["primary"], view["direction"], view["reference"])


def _page(comparison: Comparison, fixed: Mapping[str, Any], view: Mapping[str, Any], records: Records, body: str) -> str:
    def own(name: str) -> str:
        return resources.files("slaf.compare").joinpath(name).read_text(encoding="utf-8")

    seeds = len({r["seed"] for r in records})
    facts = (
        (len(comparison.rows), "activations"),
        (seeds, "seed" if seeds == 1 else "seeds"),
        (len(records), "trials"),
        (sum(r["status"] in ("non-finite", "failed") for r in records), "broken runs"),
        (fixed["budget"], "budget"),
        (f"{comparison.metric}, {'more' if comparison.direction == 'max' else 'less'} is better", ""),
    )
    return Template(own("report.html")).substitute(
        title=text(view["title"]),
        study=text(fixed["study"].replace("_", "-")),
        headline=text(headline(comparison, view["title"])),
        evidence=text(evidence(comparison)),
        claim=text(view["claim"]),
        facts="\n".join(f"<li><b>{text(value)}</b> {text(what)}</li>" for value, what in facts),
        body=body,
        version=text(slaf.__version__),
        style=own("report.css"),
        script=own("report.js"),
    )


def _results(comparison: Comparison, color: Mapping[str, str]) -> str:
    notes = "".join(f'<p class="notice">{text(n)}</p>' for n in comparison.notes)
    lead = (
        f"Differences are to <code>{text(comparison.reference)}</code>, taken seed by seed, with their 95 % intervals; "
        "the small picture shows them around zero."
    )
    return f'<h2>Results</h2><p class="lead">{lead}</p>{notes}{table(comparison, color)}'


def _overview(comparison: Comparison, records: Records, color: Mapping[str, str], files: dict[str, bytes]) -> str:
    parts = []
    dots = draw_metric(comparison, color)
    if dots is not None:
        files["metric.png"] = dots
        told = ", ".join(f"{r.activation} {quantity(comparison.metric, r.mean)}" for r in comparison.rows if r.mean is not None)
        caption = "A dot is one seed, the line is their mean, the shade its 95 % bootstrap interval."
        parts.append(f"<section><h2>Every seed</h2>{figure(dots, f'Mean {comparison.metric}: {told}', caption)}</section>")
    curves = draw_learning_curves(records, color)
    if curves is not None:
        files["learning_curves.png"] = curves
        caption = "Thin: one seed. Thick: the mean over seeds."
        parts.append(f"<section><h2>Learning</h2>{figure(curves, 'Training loss by epoch, for each activation', caption)}</section>")
    return f'<div class="pair">{"".join(parts)}</div>' if parts else ""


def _learned(records: Records, color: Mapping[str, str], files: dict[str, bytes]) -> str:
    """First the first seed of every activation, then the others folded away."""
    with_sites = sorted((r for r in records if r.get("learned")), key=lambda r: r["seed"])
    if not with_sites:
        return ""
    first: list[str] = []
    others: list[str] = []
    left_out = 0
    shown: set[str] = set()
    for record in with_sites:
        is_first = record["activation"] not in shown
        shown.add(record["activation"])
        cards = []
        for site in record["learned"]:
            png = draw_learned(site, color[record["activation"]])
            files[_file_name(record, site)] = png
            if len(files) - 2 <= MAX_LEARNED:
                cards.append(_card(record, site, png))
            else:
                left_out += 1
        if cards:
            block = (
                f'<h3><code>{text(record["activation"])}</code>, seed {text(record["seed"])}</h3><div class="grid">{"".join(cards)}</div>'
            )
            (first if is_first else others).append(block)
    lead = (
        "Each picture is one place in the network: the activation before training (dashed) and after, over the distribution of the inputs "
        "it really sees on test data (grey, the central 99.8 % over all channels). The bold curve and the formula are the first channel’s; "
        "thin curves are other channels’, each drawn over its own channel’s inputs."
    )
    more = f"<details><summary>The other seeds</summary>{''.join(others)}</details>" if others else ""
    rest = f'<p class="fine">{left_out} more are in the PNG files beside this page.</p>' if left_out else ""
    return f'<h2>What was learned</h2><p class="lead">{lead}</p>{"".join(first)}{more}{rest}'


def _card(record: Mapping[str, Any], site: Mapping[str, Any], png: bytes) -> str:
    channels = site["channels"]
    where = f"Site <code>{text(site['site'])}</code>" + (f", {channels} channels" if channels > 1 else "")
    formula = site.get("formula")
    caption = where + (f'<span class="formula"><i>y</i> = {formula_html(formula)}</span>' if formula else "")
    alt = f"{record['activation']} at site {site['site']}, seed {record['seed']}: before and after training, over a histogram of its inputs"
    return figure(png, alt + (f"; y = {formula}" if formula else ""), caption)


def _file_name(record: Mapping[str, Any], site: Mapping[str, Any]) -> str:
    """Readable, safe on every file system, and different for different activations."""
    whole = f"{record['activation']} {site['site']}"
    slug = re.sub(r"[^a-z0-9]+", "-", whole.lower()).strip("-")[:60]
    return f"learned-{slug}-{hashlib.sha256(whole.encode()).hexdigest()[:6]}-seed{int(record['seed'])}.png"


def _failed(records: Records) -> str:
    broken = failures(records)
    if not broken:
        return ""
    lead = "Kept in the results and counted in the table; they are not run again unless their line in results.jsonl is removed."
    return f'<h2>Runs without a result</h2><p class="lead">{lead}</p>{broken}'

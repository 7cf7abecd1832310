"""``write_report``: from a run folder's stored results to ``report.html`` and its figures as PNG beside it."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from slaf.compare.figures import colors, draw_learned, draw_learning_curves, draw_metric
from slaf.compare.store import load
from slaf.compare.table import Comparison, tabulate
from slaf.core import SlafError

from .page import page

__all__ = ["comparison_of", "page_of", "write_report"]

Records = Sequence[Mapping[str, Any]]


def comparison_of(folder: str | Path) -> Comparison:
    """The table of a run folder's stored results."""
    run, records = load(folder)
    return _tabulate(run["view"], records)


def write_report(folder: str | Path) -> Path:
    """Write ``report.html`` and the figures of a run folder, from stored results alone; nothing is trained or imported.

    Raises:
        SlafError: no run folder, no finished trial in it, matplotlib is missing, or the folder cannot be written.
    """
    folder = Path(folder)
    run, found = load(folder)
    if not found:
        raise SlafError(f"{str(folder)!r} holds no finished trial yet; run `slaf compare` with --out {folder} first")
    comparison = _tabulate(run["view"], found)
    whole = page_of(run, found)
    try:
        for name, png in _pictures(comparison):
            (folder / name).write_bytes(png)
        target = folder / "report.html"
        aside = folder / "report.html.new"
        aside.write_text(whole, encoding="utf-8")
        os.replace(aside, target)
    except OSError as error:
        raise SlafError(f"cannot write the report to {str(folder)!r}: {error.strerror or error}") from None
    return target


def page_of(run: Mapping[str, Any], records: Records) -> str:
    """The page of what ``load`` read; at least one record."""
    return page(_tabulate(run["view"], records), run["fixed"], run["view"])


def _tabulate(view: Mapping[str, Any], records: Records) -> Comparison:
    """In the order that the activations were asked for and by seed; workers finish in any."""
    place = {name: number for number, name in enumerate(view["activations"])}
    ordered = sorted(records, key=lambda r: (r["seed"], place.get(r["activation"], len(place))))
    return tabulate(ordered, view["primary"], view["direction"], view["reference"], view["title"])


def _pictures(comparison: Comparison) -> Iterator[tuple[str, bytes]]:
    """The figures as PNG, with their file names."""
    color = colors(list(dict.fromkeys(r["activation"] for r in comparison.records)))
    overviews = {"metric.png": draw_metric(comparison, color), "learning_curves.png": draw_learning_curves(comparison.shown, color)}
    yield from ((name, png) for name, png in overviews.items() if png is not None)
    for record in comparison.shown:
        for site in record.get("learned", ()):
            yield _file_name(record, site), draw_learned(site, color[record["activation"]])


def _file_name(record: Mapping[str, Any], site: Mapping[str, Any]) -> str:
    """Readable, safe on every file system, and different for different activations."""
    whole = f"{record['activation']} {site['site']}"
    slug = re.sub(r"[^a-z0-9]+", "-", whole.lower()).strip("-")[:60]
    return f"learned-{slug}-{hashlib.sha256(whole.encode()).hexdigest()[:6]}-seed{int(record['seed'])}.png"

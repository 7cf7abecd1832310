"""The page as one string, from stored records alone."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from string import Template
from typing import Any

import slaf
from slaf.compare.table import Comparison
from slaf.compare.words import evidence, headline

from .charts import learning, seeds, tones
from .learned import learned
from .markup import text
from .method import how
from .results import failures, results

__all__ = ["page"]


def page(comparison: Comparison, fixed: Mapping[str, Any], view: Mapping[str, Any]) -> str:
    """The whole page. Its charts show the trials that the table's rows are of, the rest says how all were run."""
    tone = tones(list(dict.fromkeys(r["activation"] for r in comparison.records)))
    rates = {r.get("lr_factor", 1.0) for r in comparison.records}
    body = [
        results(comparison, tone),
        _pair(seeds(comparison, tone), learning(comparison.shown, tone)),
        learned(comparison.shown, tone, len(rates) > 1),
        how(fixed, view, comparison.records),
        failures(comparison.records),
    ]
    return Template(_own("page.html")).substitute(
        title=text(view["title"]),
        study=text(fixed["study"].replace("_", "-")),
        headline=_sentence(headline(comparison, view["title"])),
        evidence=_sentence(evidence(comparison)),
        claim=text(view["claim"]),
        facts="\n".join(f"<li><b>{text(value)}</b> {text(what)}</li>" for value, what in _facts(comparison, fixed)),
        body="\n".join(part for part in body if part),
        version=text(slaf.__version__),
        style=_own("page.css"),
        script=_own("page.js"),
    )


def _sentence(said: str) -> str:
    """A number stays on one line with its unit."""
    return text(said).replace(" %", "\u00a0%")


def _own(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _facts(comparison: Comparison, fixed: Mapping[str, Any]) -> list[tuple[object, str]]:
    records = comparison.records
    better = "more" if comparison.direction == "max" else "less"
    counts = (
        (len(comparison.rows), "activation"),
        (len({r["seed"] for r in records}), "seed"),
        (len(records), "trial"),
        (sum(r["status"] in ("non-finite", "failed") for r in records), "broken run"),
    )
    said = [(count, what if count == 1 else what + "s") for count, what in counts]
    return [*said, (fixed["budget"], "budget"), (comparison.metric, f"({better} is better)")]


def _pair(dots: str, curves: str) -> str:
    parts = (("seeds", "Every seed", dots), ("learning", "Learning", curves))
    made = [f'<section aria-labelledby="{key}"><h2 id="{key}">{name}</h2>{chart}</section>' for key, name, chart in parts if chart]
    return f'<div class="pair">{"".join(made)}</div>' if made else ""

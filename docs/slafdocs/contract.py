"""The contract's results as HTML: badges and details for an entry, the list of checks, the comparison with peers."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slaf.core import facts
from slaf.plot import example
from slaf.testing.check import CHECKS

__all__ = ["badges", "checks_table", "layer_badges", "load", "pairs", "peers_table", "pill", "summary"]

DOCS = Path(__file__).parents[1]
_SIGNS = {"passed": "✓", "skipped": "–", "xfailed": "!", "failed": "✗"}
_WORDS = {"passed": "passed", "skipped": "does not apply", "xfailed": "known gap", "failed": "failed"}


def load(name: str) -> dict[str, Any]:
    """A JSON file beside the pages; empty where it has not been made."""
    path = DOCS / name
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def statuses(entry: Mapping[str, Any], checks: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """``{check: (status, message)}``; what the file does not name has passed."""
    other = {check: (s, message) for s in ("failed", "xfailed", "skipped") for check, message in entry.get(s, {}).items()}
    return {check: other.get(check, ("passed", "")) for check in checks}


def pill(name: str, results: Mapping[str, Any]) -> str:
    """One badge for the gallery: how many checks passed, and what did not."""
    entry = results.get("entries", {}).get(name)
    if entry is None:
        return '<span class="slaf-pill slaf-unknown">not checked yet</span>'
    counts = entry["counts"]
    if counts.get("failed"):
        return f'<span class="slaf-pill slaf-failed">✗ {counts["failed"]} failed</span>'
    gaps = f", {counts['xfailed']} known gap{'s' if counts['xfailed'] > 1 else ''}" if counts.get("xfailed") else ""
    return f'<span class="slaf-pill slaf-{"xfailed" if gaps else "passed"}">✓ {counts["passed"]} checks{gaps}</span>'


def badges(name: str, results: Mapping[str, Any]) -> str:
    """The badges of every group, and behind them every check with its reason."""
    entry = results.get("entries", {}).get(name)
    if entry is None:
        return (
            '<p class="slaf-pills"><span class="slaf-pill slaf-unknown">not checked yet</span> '
            "run <code>python benchmarks/contract_badges.py --missing</code></p>"
        )
    found = statuses(entry, results["checks"])
    groups: dict[str, list[str]] = {}
    for check, about in results["checks"].items():
        groups.setdefault(about["group"], []).append(check)
    pills, rows = [], []
    for group, checks in groups.items():
        seen = [found[c][0] for c in checks]
        worst = next((s for s in ("failed", "xfailed", "passed") if s in seen), "skipped")
        told = ", ".join(f"{seen.count(s)} {_WORDS[s]}" for s in ("passed", "failed", "xfailed", "skipped") if s in seen)
        pills.append(
            f'<span class="slaf-pill slaf-{worst}" title="{told}">{_SIGNS[worst]} {group} {seen.count("passed")}/{len(seen)}</span>'
        )
        for check in checks:
            status, message = found[check]
            why = f": {html.escape(message)}" if message else ""
            rows.append(f"<tr><td>{group}</td><td><code>{check}</code></td><td>{_SIGNS[status]} {_WORDS[status]}{why}</td></tr>")
    table = f"<table><thead><tr><th>group</th><th>check</th><th>result</th></tr></thead><tbody>{''.join(rows)}</tbody></table>"
    return (
        f'<p class="slaf-pills">{" ".join(pills)}</p>\n<details class="slaf-details" data-search-exclude><summary>every check</summary>'
        f'<div class="slaf-wide" tabindex="0" role="region" aria-label="every check">{table}</div></details>'
    )


def layer_badges(results: Mapping[str, Mapping[str, Any]]) -> str:
    """One badge for every variant of a layer that was checked, and the reasons of those checks that one does not pass."""
    pills, reasons = [], []
    for variant, entry in results.items():
        status = next((s for s in ("failed", "xfailed") if s in entry), "passed")
        told = f"{_SIGNS[status]} {html.escape(variant)}{': ' if variant else ''}{entry['passed']} checks"
        pills.append(f'<span class="slaf-pill slaf-{status}">{told}</span>')
        for word in ("failed", "xfailed"):
            gaps = entry.get(word, {}).items()
            reasons += [f"{_WORDS[word].capitalize()}: <code>{check}</code>, {html.escape(message)}." for check, message in gaps]
    return f'<p class="slaf-pills">{" ".join(pills + reasons)}</p>' if pills else ""


def pairs(name: str, results: Mapping[str, Any]) -> str:
    """The family with every basis it takes."""
    items = [
        f"<li><code>{html.escape(s)}</code> {pill(s, results)}</li>" for s in results.get("entries", {}) if s.startswith(f"{name}(basis=")
    ]
    return f"<p>With each basis:</p><ul>{''.join(items)}</ul>" if items else ""


def checks_table() -> str:
    """Every check by its group, as it documents itself."""
    rows = "".join(
        f"<tr><td>{c.group}</td><td><code>{name}</code></td><td>{html.escape(c.doc).replace('``', '')}</td></tr>"
        for name, c in sorted(CHECKS.items(), key=lambda item: list(dict.fromkeys(c.group for c in CHECKS.values())).index(item[1].group))
    )
    head = "<thead><tr><th>group</th><th>check</th><th>what it says</th></tr></thead>"
    return (
        f"<p>{len(CHECKS)} checks:</p>\n"
        f'<div class="slaf-wide" tabindex="0" role="region" aria-label="checks"><table>{head}<tbody>{rows}</tbody></table></div>'
    )


def summary(names: list[str]) -> str:
    """One sentence over all entries, and where the numbers are from."""
    results = load("contract.json")
    if not results:
        return "<p>Not run yet: <code>python benchmarks/contract_badges.py</code></p>"
    entries = results["entries"]
    total = {s: sum(e["counts"].get(s, 0) for e in entries.values()) for s in _WORDS}
    told = ", ".join(f"{total[s]:,} {_WORDS[s]}" for s in ("passed", "xfailed", "failed", "skipped") if total[s])
    missing = [n for n in names if example(n) not in entries]
    more = f" Not checked yet: {len(missing)} ({html.escape(', '.join(missing[:6]))}{'…' if len(missing) > 6 else ''})." if missing else ""
    papers = [facts(n).paper for n in names]
    read = sum(p is not None and p.status == "read" for p in papers)
    remembered = sum(p is not None and p.status != "read" for p in papers)
    sources = f"Sources: {read} read in a public copy, {remembered} from memory, {len(papers) - read - remembered} without a paper."
    return (
        f"<p>{len(entries)} entries, pairs of family and basis included: {told}.{more} {sources} "
        f"slaf {results['slaf']}, torch {results['torch']}: <code>{results['command']}</code>, "
        f'kept in <a href="contract.json">contract.json</a>.</p>'
    )


def peers_table() -> str:
    """How many entries of each collection pass each check that applies to all of them."""
    found = load("peers.json")
    if not found:
        return "<p>Not run here yet: <code>python benchmarks/contract_peers.py --json docs/peers.json</code></p>"
    collections = found["collections"]
    head = "".join(f"<th>{html.escape(c['title'])}<br>{c['entries']} entries</th>" for c in collections.values())
    rows = []
    for check in found["checks"]:
        cells = []
        for collection in collections.values():
            counts = collection["checks"][check]
            tried = counts["passed"] + counts["failed"]
            cells.append(f"<td>{counts['passed']} of {tried}</td>" if tried else "<td>–</td>")
        rows.append(f"<tr><td><code>{check}</code></td>{''.join(cells)}</tr>")
    limit = f" Only {found['limit']} entries of each were run." if found.get("limit") else ""
    return (
        f'<div class="slaf-wide" tabindex="0" role="region" aria-label="peers"><table><thead><tr><th>check</th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>\n<p><code>{html.escape(found['command'])}</code>, torch {found['torch']}.{limit}</p>"
    )

"""How it was run: all that a reader needs to run it again, or to doubt it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from .markup import text

__all__ = ["command", "how"]

VERDICT = "“better” or “worse” is said only if the interval of the paired difference excludes 0 and, with up to 3 seeds, all seeds agree"
MAX_NOTES = 60


def command(fixed: Mapping[str, Any], view: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> str:
    """The command line that gives these results."""
    activations = list(dict.fromkeys(r["activation"] for r in records if r["activation"] != "identity" or not view["identity"]))
    seeds = {r["seed"] for r in records}
    words = ["slaf", "compare", fixed["study"].replace("_", "-"), "-a", ",".join(activations), "--seeds", str(max(seeds, default=0) + 1)]
    words += ["--budget", fixed["budget"], "--threads", str(fixed["threads"]), "--reference", view["reference"]]
    for name, value in view.get("given", {}).items():
        words += [f"--{name}", value]
    words += ["--model", fixed["model"]] if fixed.get("model") else []
    words += ["--sweep-lr"] if len(_rates(records)) > 1 else []
    for name, usual in (("device", "cpu"), ("devices", 1), ("strategy", "auto")):
        words += [f"--{name}", str(fixed[name])] if fixed.get(name, usual) != usual else []
    words += [] if view["identity"] else ["--no-identity"]
    words += [] if fixed["variance_match"] else ["--no-variance-match"]
    for name in view["changed"]:
        words += ["-o", f"{name}={_option(fixed['settings'].get(name))}"]
    for module in view["modules"]:
        words += ["--import", module]
    return shlex.join(str(word) for word in words)


def _rates(records: Sequence[Mapping[str, Any]]) -> list[float]:
    return sorted({r.get("lr_factor", 1.0) for r in records})


def _option(value: Any) -> str:
    if isinstance(value, list):
        return "(" + ", ".join(map(_option, value)) + ("," if len(value) == 1 else "") + ")"
    return str(value).lower() if isinstance(value, bool) else str(value)


def how(fixed: Mapping[str, Any], view: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> str:
    """How it was run: everything a reader needs to run it again or to doubt it."""
    normalised = dict.fromkeys(r["activation"] for r in records if r.get("variance_matched") is False)
    versions = dict.fromkeys(f"{name} {v}" for r in records for name, v in r.get("versions", {}).items())
    seconds = sum(r["cost"].get("seconds", 0.0) for r in records)
    sizes = ", ".join(f"{name} {_option(value)}" for name, value in fixed["settings"].items() if value != "")
    if not fixed["variance_match"]:
        matching = "switched off for all"
    else:
        matching = "the weights that read an activation are divided by √E f(z)², z ~ N(0, 1)"
        if normalised:
            names = ", ".join(f"<code>{text(n)}</code>" for n in normalised)
            matching += f"; not for {names}, which normalise by themselves or have no such number"
    entries = (
        ("Source", text(view["source"])),
        ("Data", _notes(records)),
        ("Network", f"<code>{text(fixed['model'])}</code>" if fixed.get("model") else ""),
        ("Command", f"<pre><code>{text(command(fixed, view, records))}</code></pre>"),
        ("Budget", f"{text(fixed['budget'])}: {text(sizes)}"),
        ("Seeds", text(", ".join(str(s) for s in sorted({r["seed"] for r in records})))),
        ("Learning rates", _swept(records)),
        ("Pairing", "with one seed, all activations get the same data, the same linear weights before matching, and the same batches"),
        ("First weights", matching),
        ("Intervals", f"95 % bootstrap over seeds; {VERDICT}"),
        ("Threads per trial", text(fixed["threads"])),
        ("Device", _devices(records)),
        ("Time of all trials", f"{seconds / 60:.1f} minutes" if seconds >= 90 else f"{seconds:.0f} seconds"),
        ("Versions", text(", ".join(versions))),
    )
    said = "\n".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in entries if value)
    return f'<section aria-labelledby="how"><h2 id="how">How it was run</h2><dl>{said}</dl></section>'


def _notes(records: Sequence[Mapping[str, Any]]) -> str:
    """What was done to the data, each sentence once: seeds that split it differently may differ in a few."""
    notes = list(dict.fromkeys(str(note) for r in records for note in r.get("notes") or ()))
    more = [f"and {len(notes) - MAX_NOTES} more sentences in results.jsonl"] if len(notes) > MAX_NOTES else []
    return "<ul>" + "".join(f"<li>{text(note)}</li>" for note in notes[:MAX_NOTES] + more) + "</ul>" if notes else ""


def _swept(records: Sequence[Mapping[str, Any]]) -> str:
    rates = _rates(records)
    tried = ", ".join(f"{rate:.2g}" for rate in rates)
    return f"{tried} times the study’s; everything here shows each activation at its best" if len(rates) > 1 else ""


def _devices(records: Sequence[Mapping[str, Any]]) -> str:
    costs = [(r["cost"].get("devices", 1), r["cost"].get("device") or r.get("device")) for r in records]
    found = dict.fromkeys(f"{count} × {device}" if count != 1 else str(device) for count, device in costs if device)
    return text(", ".join(found))

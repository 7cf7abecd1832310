"""How results are said: numbers with their units, and the sentences of a fair summary."""

from __future__ import annotations

from .table import Comparison, Row

__all__ = ["evidence", "exact", "headline", "points", "quantity"]

SHARES = ("accuracy",)
"""Metrics between 0 and 1 that are read as per cent."""


def quantity(metric: str, value: float | None) -> str:
    """A metric's value as a reader expects it: ``97.8 %``, ``0.00214``; an em dash if there is none."""
    if value is None:
        return "—"
    return f"{100 * value:.2f} %" if metric in SHARES else f"{value:.3g}"


def exact(metric: str, value: float) -> str:
    """A metric's value to five digits, for a reader who points at it."""
    return f"{100 * value:.5g} %" if metric in SHARES else f"{value:.5g}"


def points(metric: str, difference: float | None) -> str:
    """A difference of two values of a metric, with its sign; shares in percentage points."""
    if difference is None:
        return "—"
    text = f"{100 * difference:+.2f}" if metric in SHARES else f"{difference:+.3g}"
    return text.replace("-", "−")


def headline(comparison: Comparison, title: str) -> str:
    """One sentence that says how it went, in favour of nobody; it begins with ``title`` if there is one."""
    lead = f"{title}: " if title else ""
    rows = [r for r in comparison.rows if r.mean is not None]
    if not rows:
        return f"{lead}no trial has given a result."
    subject, reference = _subject(comparison), comparison.row(comparison.reference)
    if subject is None or reference is None:
        best = rows[0]
        return f"{lead}{best.activation} reaches a mean {comparison.metric} of {quantity(comparison.metric, best.mean)}."
    verb = {"better": "beats", "worse": "loses to"}.get(subject.verdict, "does not clearly differ from")
    if subject.verdict == "unclear" and subject.difference_low is None:
        verb = "is too little tested to compare with"
    means = f"{quantity(comparison.metric, subject.mean)} against {quantity(comparison.metric, reference.mean)}"
    return f"{lead}{subject.activation} {verb} {reference.activation}, {means} mean {comparison.metric}."


def evidence(comparison: Comparison) -> str:
    """What the headline rests on, what it leaves out, and which activation did best."""
    subject, metric = _subject(comparison), comparison.metric
    rows = [r for r in comparison.rows if r.mean is not None]
    sentences = []
    if subject is not None:
        unit = " points" if metric in SHARES else ""
        if subject.difference_low is None:
            sentences.append(f"The difference is {points(metric, subject.difference)}{unit} on one seed, which proves nothing.")
        else:
            interval = f"{points(metric, subject.difference_low)} to {points(metric, subject.difference_high)}"
            pairs = len(set(subject.values) & set((comparison.row(comparison.reference) or subject).values))
            sentences.append(
                f"Seed by seed the difference is {points(metric, subject.difference)}{unit} (95 % interval {interval}, {pairs} seeds)."
            )
        broken = subject.non_finite + subject.failed
        if broken:
            sentences.append(f"{broken} of {subject.runs} runs of {subject.activation} broke down.")
    if rows and (subject is None or rows[0].activation != subject.activation):
        sentences.append(f"Best by its mean: {rows[0].activation} with {quantity(metric, rows[0].mean)}.")
    return " ".join(sentences)


def _subject(comparison: Comparison) -> Row | None:
    """The activation that the headline is about: the best slaf, else the best of the others; only if it can be compared."""
    rows = [r for r in comparison.rows if r.difference is not None]
    others = [r for r in rows if r.activation != "identity"] or rows
    return next((r for r in rows if r.activation.partition("(")[0] == "slaf"), others[0] if others else None)

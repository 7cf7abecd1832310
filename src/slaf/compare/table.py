"""``tabulate``: stored records to a ``Comparison``, a plain table of paired differences with bootstrap intervals."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from slaf.core import SlafError

__all__ = ["Comparison", "Row", "bootstrap", "tabulate"]

RESAMPLES = 10_000


@dataclass(frozen=True)
class Row:
    """One activation. Numbers are ``None`` where no run gives them.

    Attributes:
        runs, non_finite, failed, not_applicable: how many, and how many went wrong in which way.
        values: the primary metric by seed, of the runs that gave one; ``mean`` and ``worst`` of them; ``low`` and ``high``: the mean's
            95 % bootstrap interval.
        difference: the mean difference to the reference over the seeds both have, ``difference_low`` and ``difference_high`` its 95 %
            bootstrap interval (``None`` with one seed).
        verdict: ``"reference"``, ``"better"``, ``"worse"``, ``"unclear"`` or ``"no data"``.
        seconds: the median time of a training.
        lr_factor: the row is of the runs at this multiple of the study's learning rate, the activation's best if several were tried.
    """

    activation: str
    runs: int
    non_finite: int
    failed: int
    not_applicable: int
    values: dict[int, float]
    mean: float | None
    worst: float | None
    low: float | None
    high: float | None
    difference: float | None
    difference_low: float | None
    difference_high: float | None
    verdict: str
    params: int | None
    activation_params: int | None
    seconds: float | None
    variance_matched: bool | None
    metrics: dict[str, float]
    lr_factor: float = 1.0


@dataclass(frozen=True, repr=False)
class Comparison:
    """The table: rows from best to worst by the mean of ``metric``, and ``notes``: sentences a fair reader needs beside it.

    ``records`` are the trials it was made from, ``title`` the study's. Shown as a table at a prompt and, with pictures, in a notebook.
    """

    study: str
    metric: str
    direction: str
    reference: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    title: str = ""
    records: tuple[Mapping[str, Any], ...] = field(default=(), compare=False)

    @property
    def shown(self) -> list[Mapping[str, Any]]:
        """The records behind the rows: of several learning rates, those of each activation's best."""
        rate = {row.activation: row.lr_factor for row in self.rows}
        return [r for r in self.records if r.get("lr_factor", 1.0) == rate.get(r["activation"])]

    def to_dicts(self) -> list[dict[str, Any]]:
        """The rows as plain dictionaries, ready for JSON."""
        return [asdict(row) for row in self.rows]

    def to_pandas(self, trials: bool = False) -> Any:
        """A data frame with one line per activation, or, with ``trials``, one per trial.

        Raises:
            SlafError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError:
            raise SlafError('to_pandas needs pandas, which is not installed: pip install "slaf[data]"') from None
        if trials:
            return pandas.DataFrame([_flat(r) for r in self.records])
        rows = [{k: v for k, v in row.items() if k not in ("values", "metrics")} for row in self.to_dicts()]
        return pandas.DataFrame(rows)

    def __repr__(self) -> str:
        from .terminal import as_text

        return as_text(self)

    def __rich__(self) -> Any:
        from .terminal import rich_table

        return rich_table(self)

    def _repr_html_(self) -> str:
        from .notebook import as_html

        return as_html(self)

    def row(self, activation: str) -> Row | None:
        """The row of one activation, if it is there."""
        return next((r for r in self.rows if r.activation == activation), None)


def bootstrap(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """The percentile bootstrap interval of the mean; the same numbers give the same interval at every call."""
    sample = np.asarray(values, dtype=np.float64)
    draws = np.random.default_rng(0).integers(0, len(sample), (RESAMPLES, len(sample)))
    means = sample[draws].mean(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _flat(record: Mapping[str, Any]) -> dict[str, Any]:
    names = ("study", "activation", "seed", "budget", "lr_factor", "status", "error")
    return {name: record.get(name) for name in names} | record["metrics"] | record["cost"]


def tabulate(records: Sequence[Mapping[str, Any]], metric: str, direction: str, reference: str, title: str = "") -> Comparison:
    """Summarise the records of one study, budget and set of options; of several learning rates, each activation's best.

    Args:
        records: as ``run_plan`` returns or ``load`` reads them; more may come later.
        metric: the metric to rank by; ``direction``: ``"max"`` or ``"min"``.
        reference: the activation that differences are taken to, seed by seed.
    """
    by_name, rates = _at_best_rate(records, metric, direction)
    values = {name: _values(group, metric) for name, group in by_name.items()}
    rows = [_row(name, group, values[name], values.get(reference, {}), direction, name == reference) for name, group in by_name.items()]
    sign = -1 if direction == "max" else 1
    rows.sort(key=lambda r: (r.mean is None, sign * (r.mean or 0.0)))
    notes = [*_identity_note(values, direction), *_few_seeds_note(values), *_rates_note(rates)]
    study = records[0]["study"] if records else ""
    return Comparison(study, metric, direction, reference, tuple(rows), tuple(notes), title, tuple(records))


def _at_best_rate(
    records: Sequence[Mapping[str, Any]], metric: str, direction: str
) -> tuple[dict[str, list[Mapping[str, Any]]], tuple[float, ...]]:
    """Each activation's trials at the learning rate with the best mean (one that broke nothing, if there is any), and all rates tried."""
    groups: dict[str, dict[float, list[Mapping[str, Any]]]] = {}
    for record in records:
        groups.setdefault(record["activation"], {}).setdefault(record.get("lr_factor", 1.0), []).append(record)

    def rank(group: list[Mapping[str, Any]]) -> tuple[int, float]:
        numbers = list(_values(group, metric).values())
        mean = statistics.fmean(numbers) if numbers else 0.0
        # few seeds of an unfinished sweep must not win over many
        return (len(numbers), mean if direction == "max" else -mean)

    best = {name: max(by_rate.values(), key=rank) for name, by_rate in groups.items()}
    return best, tuple(sorted({rate for by_rate in groups.values() for rate in by_rate}))


def _values(group: Sequence[Mapping[str, Any]], metric: str) -> dict[int, float]:
    found = {r["seed"]: r["metrics"].get(metric) for r in group if r["status"] == "ok"}
    return {seed: float(value) for seed, value in sorted(found.items()) if value is not None}


def _row(
    name: str, group: Sequence[Mapping[str, Any]], values: dict[int, float], reference: dict[int, float], direction: str, is_reference: bool
) -> Row:
    count = {status: sum(r["status"] == status for r in group) for status in ("non-finite", "failed", "n/a")}
    difference, low, high, verdict = _against(values, reference, direction)
    if verdict == "better" and (count["non-finite"] or count["failed"]):
        verdict = "unclear"  # a run that broke is not better, whatever the others did
    numbers = list(values.values())
    mean_low, mean_high = bootstrap(numbers) if len(numbers) > 1 else (None, None)
    return Row(
        activation=name,
        runs=len(group),
        non_finite=count["non-finite"],
        failed=count["failed"],
        not_applicable=count["n/a"],
        values=values,
        mean=statistics.fmean(numbers) if numbers else None,
        worst=(min(numbers) if direction == "max" else max(numbers)) if numbers else None,
        low=mean_low,
        high=mean_high,
        difference=None if is_reference else difference,
        difference_low=None if is_reference else low,
        difference_high=None if is_reference else high,
        verdict="reference" if is_reference else verdict,
        params=_first(group, "params"),
        activation_params=_first(group, "activation_params"),
        seconds=_median(group, "train_seconds"),
        variance_matched=next((r["variance_matched"] for r in group if r.get("variance_matched") is not None), None),
        metrics=_mean_metrics(group),
        lr_factor=group[0].get("lr_factor", 1.0),
    )


def _against(values: dict[int, float], reference: dict[int, float], direction: str) -> tuple[float | None, float | None, float | None, str]:
    """Mean paired difference, its interval, and what may be said of it."""
    pairs = [values[seed] - reference[seed] for seed in values if seed in reference]
    if not pairs:
        return None, None, None, "no data"
    mean = statistics.fmean(pairs)
    if len(pairs) == 1:
        return mean, None, None, "unclear"
    low, high = bootstrap(pairs)
    one_sign = all(d > 0 for d in pairs) or all(d < 0 for d in pairs)
    clear = (low > 0 or high < 0) and (len(pairs) > 3 or one_sign)
    if not clear:
        return mean, low, high, "unclear"
    return mean, low, high, "better" if (mean > 0) == (direction == "max") else "worse"


def _first(group: Sequence[Mapping[str, Any]], cost: str) -> int | None:
    return next((r["cost"][cost] for r in group if cost in r["cost"]), None)


def _median(group: Sequence[Mapping[str, Any]], cost: str) -> float | None:
    found = [r["cost"][cost] for r in group if cost in r["cost"]]
    return statistics.median(found) if found else None


def _mean_metrics(group: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    names = dict.fromkeys(name for r in group for name in r["metrics"])
    columns = {name: [r["metrics"].get(name) for r in group if r["status"] == "ok"] for name in names}
    kept = {name: [v for v in column if v is not None] for name, column in columns.items()}
    return {name: statistics.fmean(column) for name, column in kept.items() if column}


def _identity_note(values: dict[str, dict[int, float]], direction: str) -> list[str]:
    """A study that needs no activation measures nothing of activations; the reader must know."""
    identity = values.get("identity")
    others = {name: v for name, v in values.items() if name != "identity" and v}
    if not identity or not others or len(identity) < 2:
        return []
    if any(_against(v, identity, direction)[3] == "better" for v in others.values()):
        return []
    return [
        "No activation is clearly better than identity, that is, than none at all: at this size the study does not tell activations apart."
    ]


def _few_seeds_note(values: dict[str, dict[int, float]]) -> list[str]:
    most = max((len(v) for v in values.values()), default=0)
    if most == 1:
        return ["There is one seed only, so no difference has an interval and none is called better."]
    if most in (2, 3):
        return [f"{most} seeds are few: the intervals are rough, and better or worse means no more than that all {most} agree."]
    return []


def _rates_note(rates: tuple[float, ...]) -> list[str]:
    if len(rates) < 2:
        return []
    tried = ", ".join(f"{rate:.2g}" for rate in rates)
    return [
        f"Each activation is shown at the best of {len(rates)} learning rates ({tried} times the study's), chosen by these same results, "
        "so all means are a little too good."
    ]

"""``check_activation`` and ``check_layer``: run the contract over one activation or layer and report."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor, nn

from slaf.core import SlafError, nearest

from . import boxes, claims, construction, derivatives, export, inputs, norms, transforms, values  # noqa: F401 - they register their checks
from .case import Case, Layer, Subject
from .check import CHECKS

__all__ = ["Report", "Result", "check_activation", "check_layer", "checks"]


@dataclass(frozen=True)
class Result:
    """The outcome of one check: ``status`` is ``"passed"``, ``"failed"``, ``"skipped"`` or ``"xfailed"``; ``message`` says why.

    ``measured`` holds the numbers that the check found, such as the largest error in units in the last place.
    """

    check: str
    group: str
    status: str
    message: str
    seconds: float
    measured: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """What :func:`check_activation` or :func:`check_layer` found; ``passed`` is true where no check failed."""

    name: str
    results: tuple[Result, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing failed (an expected failure that passes counts as a failure)."""
        return not self.failures

    @property
    def failures(self) -> tuple[Result, ...]:
        """The failed checks."""
        return tuple(r for r in self.results if r.status == "failed")

    def __getitem__(self, check: str) -> Result:
        return next(r for r in self.results if r.check == check)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for a report or a JSON file: counts, and for every check its status, reason, seconds and measurements."""
        counts = {s: sum(r.status == s for r in self.results) for s in ("passed", "failed", "skipped", "xfailed")}
        return {"name": self.name, "passed": self.passed, "counts": counts, "results": [asdict(r) for r in self.results]}

    def __str__(self) -> str:
        counts = ", ".join(f"{n} {s}" for s, n in self.to_dict()["counts"].items() if n)
        return "\n".join([f"{self.name}: {counts}", *(f"  {r.check}: {r.message}" for r in self.failures)])


def checks() -> dict[str, str]:
    """The names of all checks and what each one says, in the order they run."""
    return {name: c.doc for name, c in CHECKS.items()}


def known(names: Iterable[str]) -> list[str]:
    """The names, each of them a check; raises with the nearest one otherwise. A set gets an order: all processes must collect the same."""
    given = list(names)
    for name in given:
        if name not in CHECKS:
            raise SlafError(f"unknown check {name!r}{nearest(name, CHECKS)}")
    return sorted(given, key=list(CHECKS).index) if isinstance(names, Set) else given


def check_activation(
    obj: Subject, xfail: Mapping[str, str] | None = None, checks: Iterable[str] | None = None, slow: bool = False
) -> Report:
    """Run the contract over one activation.

    Args:
        obj: an activation string, a module (it is copied, not changed), or a function without arguments that makes one.
            ``NormActivation`` and other modules that mix elements get the checks that apply to them.
        xfail: known gaps, ``{check: reason}``, beside those in ``facts.known_gaps``. Strict: one that passes, or does not apply, is a
            failure.
        checks: run these only.
        slow: run also what takes many seconds: compilation by Inductor.

    Raises:
        SlafError: an unknown check, an optional package that is missing, or an ``obj`` that cannot be built.

    Example:
        >>> report = check_activation("gelu")
        >>> assert report.passed, report
    """
    case = Case(obj)
    chosen = default_checks(case, slow) if checks is None else known(checks)
    expected = {**case.facts.known_gaps, **(xfail or {})}
    known(expected)
    return Report(case.name, tuple(outcome(case, name, expected.get(name)) for name in chosen))


def check_layer(
    layer: nn.Module | Callable[..., nn.Module],
    x: Tensor,
    features: int = 1,
    xfail: Mapping[str, str] | None = None,
    checks: Iterable[str] | None = None,
    slow: bool = False,
) -> Report:
    """Run the contract over a layer: a module whose output may have another shape than its input.

    Dtypes forward and backward, double backward, ``torch.func``, ``torch.compile``, ``torch.export``, ONNX, saving and copying, layouts,
    empty batches, an input that does not fit.

    Args:
        layer: a module (it is copied, not changed), or what makes one without arguments, such as ``partial(KANLinear, 3, 4)``.
        x: inputs, (batch, …), a few samples away from kinks; the smaller, the faster.
        features: the dimension of x whose size is fixed: 1 for (batch, features) and for convolutions, -1 for (batch, time, features).
        xfail, checks, slow: as in :func:`check_activation`.

    Raises:
        SlafError: x is not two samples or more of floating point, and as :func:`check_activation`.

    Example:
        >>> report = check_layer(partial(nn.Linear, 3, 4), torch.randn(5, 3), xfail={"wrong_size": "a RuntimeError of torch's"})
        >>> assert report.passed, report
    """
    return check_activation(Layer(layer, x, features=features), xfail, checks, slow)


def default_checks(case: Case, slow: bool) -> list[str]:
    """What runs if no check is named: a check of layers alone only on layers."""
    return [name for name, check in CHECKS.items() if (slow or not check.slow) and (case.layer or not check.layer)]


def outcome(case: Case, name: str, expected: str | None) -> Result:
    """Run one check; ``expected`` is the reason of a declared gap."""
    check, start = CHECKS[name], time.perf_counter()

    def result(status: str, message: str = "", measured: dict[str, float] | None = None) -> Result:
        return Result(name, check.group, status, message, time.perf_counter() - start, measured or {})

    reason = check.applies(case)
    if reason is not None:
        return result("failed", f"declared to fail ({expected}), but does not apply: {reason}") if expected else result("skipped", reason)
    try:
        measured = check.run(case)
    except Exception as error:
        if isinstance(error, SlafError) and isinstance(error.__cause__, ImportError):
            raise
        message = str(error) if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"
        return result("xfailed", f"{expected}: {message}") if expected else result("failed", message)
    return result("failed", f"declared to fail ({expected}), but passes: remove the xfail") if expected else result("passed", "", measured)

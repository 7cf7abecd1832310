"""``parametrize_with_checks``: one pytest test per activation and check, or per activation and group of checks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from .case import Case, Subject
from .check import CHECKS
from .contract import default_checks, known, outcome
from .extras import optional

__all__ = ["parametrize_with_checks"]

EXPORTED_TOGETHER = 24


def parametrize_with_checks(
    entries: Iterable[Subject],
    xfail: Mapping[str, Mapping[str, str]] | None = None,
    checks: Iterable[str] | None = None,
    slow: bool = False,
    groups: bool = False,
) -> Any:
    """Decorate ``def test(activation, check): check(activation)``: one test for every activation and every check that applies.

    Args:
        entries: what :func:`check_activation` takes, and layers with their inputs (:class:`Layer`).
        xfail: known gaps, ``{activation: {check: reason}}``, beside those in ``facts.known_gaps``; strict.
        checks: these only.
        slow: also what takes many seconds: compilation by Inductor.
        groups: one test for every activation and group of checks, which names all that fail; for thousands of them, since a test has
            its own cost.

    Example::

        @parametrize_with_checks(["my_relu", "my_relu(slope=2)"])
        def test_contract(activation, check):
            check(activation)
    """
    pytest = optional("pytest")
    expected = {name: dict(gaps) for name, gaps in (xfail or {}).items()}
    parameters = []
    named = None if checks is None else known(checks)
    cases = [Case(entry) for entry in entries]
    for start in range(0, len(cases), EXPORTED_TOGETHER):
        together = [case for case in cases[start : start + EXPORTED_TOGETHER] if CHECKS["onnx_float32"].applies(case) is None]
        for case in together:
            case.companions = together
    for case in cases:
        gaps = {**case.facts.known_gaps, **expected.pop(case.name, {})}
        known(gaps)
        chosen = default_checks(case, slow) if named is None else named
        applying = [name for name in chosen if CHECKS[name].applies(case) is None or name in gaps]
        if groups:
            for group in dict.fromkeys(CHECKS[name].group for name in applying):
                members = {name: gaps.get(name) for name in applying if CHECKS[name].group == group}
                parameters.append(pytest.param(case, _Bound(group, partial(_run_all, members)), id=f"{case.name}-{group}"))
            continue
        for name in applying:
            marks = [pytest.mark.xfail(reason=gaps[name], strict=True)] if name in gaps else []
            parameters.append(pytest.param(case, _Bound(name, CHECKS[name].run), marks=marks, id=f"{case.name}-{name}"))
    if expected:
        raise ValueError(f"xfail names {next(iter(expected))!r}, which is not among the entries")
    return pytest.mark.parametrize(("activation", "check"), parameters)


def _run_all(members: Mapping[str, str | None], case: Case) -> None:
    failures = [r for r in (outcome(case, name, gap) for name, gap in members.items()) if r.status == "failed"]
    if failures:
        raise AssertionError("; ".join(f"{r.check}: {r.message}" for r in failures))


class _Bound:
    """A check as the test calls it; its name is what pytest shows."""

    def __init__(self, name: str, run: Callable[[Case], object]) -> None:
        self.__name__, self._run = name, run

    def __call__(self, case: Case) -> None:
        self._run(case)

    def __repr__(self) -> str:
        return self.__name__

"""``slaf studies``."""

from __future__ import annotations


def command() -> None:
    """List the studies that `slaf compare` can run, with their budgets."""
    from slaf.compare import list_studies

    print(list_studies())

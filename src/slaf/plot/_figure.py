"""A figure that shows itself in a notebook without pyplot. Imported only once matplotlib is wanted."""

from __future__ import annotations

from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

__all__ = ["Shown"]


class Shown(Figure):
    """A figure drawn in memory: no window system and no global state is touched."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        FigureCanvasAgg(self)

    def _repr_png_(self) -> bytes:
        from .curve import figure_bytes

        return figure_bytes(self, "png")

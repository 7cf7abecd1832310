"""``sketch``: a curve in a few lines of text."""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["sketch"]

# the bits of a braille character by column and row
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))


def sketch(y: Sequence[float], low: float, high: float, width: int = 56, height: int = 12) -> str:
    """Draw ``y``, evenly spaced over [low, high], in ``height`` lines of ``width`` braille characters, with the axes' ends beside it.

    Values that are not finite leave a gap.
    """
    finite = [v for v in y if math.isfinite(v)]
    bottom, top = (min(*finite, 0.0), max(*finite, 0.0)) if finite else (-1.0, 1.0)
    if top - bottom < 1e-12:
        bottom, top = bottom - 1.0, top + 1.0
    cells = [[0] * width for _ in range(height)]
    columns, rows = 2 * width, 4 * height

    def row_of(value: float) -> int:
        return min(max(round((top - value) / (top - bottom) * (rows - 1)), 0), rows - 1)

    def dot(column: int, row: int) -> None:
        cells[row // 4][column // 2] |= _DOTS[column % 2][row % 4]

    for column in range(0, columns, 4):
        dot(column, row_of(0.0))
    previous: int | None = None
    for column in range(columns):
        value = y[round(column / (columns - 1) * (len(y) - 1))]
        if not math.isfinite(value):
            previous = None
            continue
        row = row_of(value)
        # join steep parts, but leave half of the way to each neighbour
        for between in range(min(row, row if previous is None else previous), max(row, row if previous is None else previous) + 1):
            dot(column, between)
        previous = row
    labels = {0: f"{top:.3g}", height - 1: f"{bottom:.3g}"}
    margin = max(len(text) for text in labels.values())
    lines = [f"{labels.get(n, ''):>{margin}} " + "".join(chr(0x2800 + c) for c in line) for n, line in enumerate(cells)]
    left, right = f"{low:g}", f"{high:g}"
    lines.append(" " * (margin + 1) + left + " " * max(1, width - len(left) - len(right)) + right)
    return "\n".join(lines)

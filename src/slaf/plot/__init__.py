"""Pictures of activations: as text for a terminal, as matplotlib figures, as claims in words. Figures of a comparison are drawn by
``compare``. Imports core alone; matplotlib when a figure is asked for.
"""

from .card import as_json, card, index
from .curve import curve
from .example import example
from .formula import formula
from .sketch import sketch
from .tags import tagged, tags
from .write import text, write

__all__ = ["as_json", "card", "curve", "example", "formula", "index", "sketch", "tagged", "tags", "text", "write"]

"""Pictures of activations: here as text for a terminal. Figures of a comparison are drawn by ``compare``. Imports core alone."""

from .card import as_json, card, index
from .formula import formula
from .sketch import sketch

__all__ = ["as_json", "card", "formula", "index", "sketch"]

"""Primitives of the learnable families: their plain torch definitions, and the paths that save less memory or run faster.

No activation and no module lives here. Imports torch and numpy alone.
"""

from .recurrence import Recurrence
from .series import moments, series

__all__ = ["Recurrence", "moments", "series"]

"""Primitives of the learnable families: their plain torch definitions, and the native kernels that run faster and keep less memory.

``backend()`` says what runs and why. No activation and no module lives here. Imports torch and numpy alone.
"""

from .dispatch import Backend, backend, use
from .recurrence import Recurrence
from .series import moments, series

__all__ = ["Backend", "Recurrence", "backend", "moments", "series", "use"]

"""The functions an edge may become, their fits to splines, layers of such edges, and the fine-tuning of their affine maps."""

from .edges import Fit
from .functions import LIBRARY, Function
from .layer import SymbolicKANLinear
from .tune import Tuned, tune

__all__ = ["LIBRARY", "Fit", "Function", "SymbolicKANLinear", "Tuned", "tune"]

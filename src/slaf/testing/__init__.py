"""The contract that activations and layers pass, ours and a third party's.

``check_activation``, ``check_layer`` and ``parametrize_with_checks`` run it.

One short function per check, grouped by file. Imports ``slaf.core`` alone; mpmath, onnx, onnxruntime and pytest when a check needs them.
"""

from .case import Layer
from .contract import Report, Result, check_activation, check_layer, checks
from .parametrize import parametrize_with_checks

__all__ = ["Layer", "Report", "Result", "check_activation", "check_layer", "checks", "parametrize_with_checks"]

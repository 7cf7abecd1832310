"""The contract that every activation passes, ours and a third party's: ``check_activation`` and ``parametrize_with_checks``.

One short function per check, grouped by file. Imports ``slaf.core`` alone; mpmath, onnx, onnxruntime and pytest when a check needs them.
"""

from .contract import Report, Result, check_activation, checks
from .parametrize import parametrize_with_checks

__all__ = ["Report", "Result", "check_activation", "checks", "parametrize_with_checks"]

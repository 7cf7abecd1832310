"""From a model to a file that another runtime reads: ONNX, ``torch.export``, safetensors, a C header;
``encrypted``: into a program on ciphertexts. Imports surgery and below.

The package can be called: ``slaf.export(…)`` is :func:`slaf.export.api.export`.
"""

from slaf.core.rooms import make_callable

from . import encrypted
from .api import export
from .exported import Exported
from .safetensors import load, metadata
from .source import read_source

__all__ = ["Exported", "encrypted", "export", "load", "metadata", "read_source"]

make_callable(__name__, export)

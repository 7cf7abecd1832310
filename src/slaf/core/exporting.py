"""What torch's exporter and ONNX Runtime need around them, for the contract's checks and for ``slaf.export`` alike."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from typing import Any

__all__ = ["quiet", "session"]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence what torch's exporter says of itself (deprecations, missing torchvision, progress)."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            logger.setLevel(level)


def session(runtime: Any, model: bytes) -> Any:
    """An ONNX Runtime session of one CPU thread over a serialised model; ``runtime`` is the package ``onnxruntime``."""
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors
    return runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

"""``TensorBoard``: training's numbers as event files that ``tensorboard --logdir`` shows."""

from __future__ import annotations

import hashlib
import os
import re
import struct
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from slaf.core import SlafError

__all__ = ["TensorBoard"]

_PNG = b"\x89PNG\r\n\x1a\n"
_LONGEST = 120


class TensorBoard:
    """Writes scalars, results and images of any number of runs, each into a folder of its own under ``folder``.

    A context manager: everything is on disk after it. A run's files are closed by ``log_result`` and opened anew if it goes on.

    Args:
        folder: made if it is not there.

    Raises:
        SlafError: tensorboard is not installed, or ``folder`` cannot be written to.

    Example:
        >>> with slaf.train.TensorBoard("runs") as board:
        ...     board.log_epoch("digits/slaf/0", 1, {"loss": 0.3})
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow, if installed, is imported by tensorboard and talks
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                raise SlafError('TensorBoard needs the package tensorboard; pip install "slaf[train]"') from None
        self._make: Any = SummaryWriter
        self._writers: dict[str, Any] = {}
        _check_writable(self.folder)

    def __enter__(self) -> TensorBoard:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Write what is left, and close all files."""
        for run in list(self._writers):
            self._writers.pop(run).close()

    def path(self, run: str) -> Path:
        """The run's folder: its name where that is safe in a path, else cleaned and followed by a hash, so that no two runs share one."""
        safe = re.sub(r"[^\w.,=()+-]+", "_", run)[:_LONGEST].strip("._ ")
        if not safe or safe != run:
            safe = f"{safe}-{hashlib.sha256(run.encode()).hexdigest()[:8]}".lstrip("-")
        return self.folder / safe

    def log_epoch(self, run: str, epoch: int, values: Mapping[str, float | None]) -> None:
        """One point of every curve; ``None`` is left out."""
        for name, value in values.items():
            if value is not None:
                self._writer(run).add_scalar(name, value, epoch)

    def log_result(self, run: str, hparams: Mapping[str, Any], metrics: Mapping[str, float | None]) -> None:
        """The run's row in the table of hyperparameters; what is no number, string or truth value is shown by its ``str``."""
        told = {k: v if v is None or isinstance(v, (bool, int, float, str)) else str(v) for k, v in hparams.items()}
        writer = self._writer(run)
        writer.add_hparams(told, {k: float(v) for k, v in metrics.items() if v is not None}, run_name=".")
        self._writers.pop(run).close()

    def log_image(self, run: str, tag: str, png: bytes) -> None:
        """An image, as the bytes of a PNG file.

        Raises:
            SlafError: ``png`` is none.
        """
        if not isinstance(png, bytes) or not png.startswith(_PNG) or len(png) < 26:
            raise SlafError(f"png must be the bytes of a PNG file; got {png[:8] if isinstance(png, bytes) else type(png).__name__!r}")
        from tensorboard.compat.proto.summary_pb2 import Summary

        width, height = struct.unpack(">II", png[16:24])
        channels = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}.get(png[25], 4)  # PNG's colour types as TensorBoard's colour spaces
        image = Summary.Image(height=height, width=width, colorspace=channels, encoded_image_string=png)
        # SummaryWriter.add_image would decode and encode it again
        self._writer(run).file_writer.add_summary(Summary(value=[Summary.Value(tag=tag, image=image)]))

    def _writer(self, run: str) -> Any:
        if run not in self._writers:
            path = self.path(run)
            try:
                self._writers[run] = self._make(str(path))
            except OSError as error:
                raise SlafError(f"folder {path} cannot be written to: {error.strerror or error}") from None
        return self._writers[run]


def _check_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        reason = "" if os.access(folder, os.W_OK | os.X_OK) else "permission denied"
    except OSError as error:
        reason = error.strerror or str(error)
    if reason:
        raise SlafError(f"folder {folder} cannot be written to: {reason}")

"""``arrays_from``: what a function of the user's returns (arrays, tensors, data sets) as tensors, checked."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from slaf.core import SlafError

from .function import called
from .images import standardised_pixels
from .items import is_dataset, items_of
from .split import Split, check_share, draw, scale_of
from .target import MOST_CLASSES

__all__ = ["Arrays", "arrays_from"]

_FEWEST = 10
_FORMS = "(x, y), ((x_train, y_train), (x_test, y_test)), a data set with a length and items, a pair of them, or a dict with train and test"
_TEST = ("test", "validation", "valid", "val")

Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Arrays:
    """Inputs and targets as a function returned them.

    Attributes:
        train: inputs (n, …), uint8 or float32, and targets (n,), int64 indices of ``classes`` or float64 numbers.
        test: the held-out ones, likewise, or ``None``: they are drawn from ``train``.
        task: ``"classification"`` for targets that are integers or words, ``"regression"`` for floating-point numbers.
        classes: the classes' names, sorted; empty in a regression.
        notes: short sentences on what was returned.
    """

    train: Pair = field(repr=False)
    test: Pair | None = field(repr=False)
    task: str
    classes: tuple[str, ...]
    notes: tuple[str, ...]

    def digest(self) -> str:
        """SHA-256 over types, shapes and bytes, and the names of the classes; hexadecimal."""
        total = hashlib.sha256(repr((self.task, self.classes)).encode())
        for tensor in (*self.train, *(self.test or ())):
            total.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
            total.update(tensor.contiguous().numpy())
        return total.hexdigest()

    def tensors(self, generator: torch.Generator, test_share: float = 0.2) -> Split:
        """Training and held-out samples in random order, float32, standardised by training's mean and std.

        Standardised is each channel of images (n, C, H, W), each column of rows (n, d) of floats, and otherwise the whole: bytes are
        pixels, which have one scale. Targets are int64 classes, or float32 (n, 1), standardised too. A pure function of the seed.

        Raises:
            SlafError: ``test_share`` is not between 0 and 1.
        """
        check_share(test_share)
        x, y = self.train
        classes = self.task == "classification"
        if self.test is None:
            rows, held_out = draw(len(y), generator, test_share, y if classes else None)
            x_test, y_test, how = x[held_out], y[held_out], "drawn by the seed"
        else:
            rows, order = (torch.randperm(len(pair[1]), generator=generator) for pair in (self.train, self.test))
            x_test, y_test, how = self.test[0][order], self.test[1][order], "as the function says"
        x, y = x[rows], y[rows]
        inputs = _standardised(x, x_test)
        notes = (f"{len(y) + len(y_test):,} samples: {len(y):,} for training, {len(y_test):,} held out ({how})", *self.notes)
        if classes:
            return Split((inputs[0], y), (inputs[1], y_test), notes=notes)
        mean = y.mean()
        std = scale_of(y.std(correction=0), mean, 1e-12)
        targets = [((part - mean) / std).float()[:, None] for part in (y, y_test)]
        return Split((inputs[0], targets[0]), (inputs[1], targets[1]), float(mean), float(std), notes)


def arrays_from(text: str) -> Arrays:
    """Call the function that ``package.module:function`` names, and check what it returns.

    Accepted: ``(x, y)``; ``((x_train, y_train), (x_test, y_test))``; a data set (``len`` and items ``(input, label)`` or dicts with image,
    img, pixel_values or x, and label, labels or y), a pair of them; a dict with train and test (or validation) of any of these. Arrays may
    be numpy's, torch's or nested lists; inputs of items may be PIL images. So a local data set of torchvision or Hugging Face will do.

    Raises:
        SlafError: the function cannot be loaded or fails, or returns something else; lengths that differ, fewer than 10 samples, inputs
            that are not finite numbers, targets that are not one number or word for each sample, or all the same.
    """
    train, test = _parts(text, called(text))
    inputs = {"train": _inputs(f"{text}: x", train[0])}
    raw = {"train": _targets(f"{text}: y", train[1])}
    if test is not None:
        inputs["test"], raw["test"] = _inputs(f"{text}: x_test", test[0]), _targets(f"{text}: y_test", test[1])
        if inputs["test"].shape[1:] != inputs["train"].shape[1:]:
            shapes = " and ".join(str(tuple(part.shape[1:])) for part in inputs.values())
            raise SlafError(f"{text}: training and test inputs must have the same shape; got {shapes}")
    for part, x in inputs.items():
        if len(x) != len(raw[part]):
            raise SlafError(f"{text}: {part} has {len(x):,} inputs and {len(raw[part]):,} targets: there must be as many")
    for part, least in (("train", _FEWEST), ("test", 1)):
        if part in inputs and len(inputs[part]) < least:
            raise SlafError(f"{text}: {part} has {len(inputs[part])} samples: at least {least} needed")
    y, classes = _coded(text, raw)
    shape = "×".join(map(str, inputs["train"].shape[1:])) or "1"
    notes = [f"inputs of shape {shape}, {str(inputs['train'].dtype).removeprefix('torch.')}, from {text}"]
    if classes:
        notes.append(f"targets: classification, {len(classes):,} classes ({', '.join(classes[:10])}{', …' * (len(classes) > 10)})")
    else:
        notes.append("targets: regression (floating-point numbers)")
    held_out = (inputs["test"], y["test"]) if "test" in inputs else None
    return Arrays((inputs["train"], y["train"]), held_out, "classification" if classes else "regression", classes, tuple(notes))


def _parts(text: str, found: Any) -> tuple[tuple[Any, Any], tuple[Any, Any] | None]:
    """(inputs, targets) for training, and for testing if they are given."""
    if isinstance(found, Mapping):
        if "train" not in found:
            keys = ", ".join(map(repr, list(found)[:10])) or "none"
            raise SlafError(f"{text} returned a dict without 'train' (keys: {keys}); accepted are {_FORMS}")
        key = next((key for key in _TEST if key in found), None)
        return _pair(text, found["train"]), None if key is None else _pair(text, found[key])
    if isinstance(found, (tuple, list)) and len(found) == 2:
        if all(_is_pair(part) or is_dataset(part) for part in found):
            return _pair(text, found[0]), _pair(text, found[1])
        if all(_is_array(part) for part in found):
            return (found[0], found[1]), None
    if is_dataset(found):
        return _pair(text, found), None
    raise SlafError(f"{text} returned {_called(found)}; accepted are {_FORMS}")


def _pair(text: str, found: Any) -> tuple[Any, Any]:
    if _is_pair(found):
        return found[0], found[1]
    if is_dataset(found):
        return items_of(text, found)
    raise SlafError(f"{text} returned a part that is {_called(found)}; accepted are {_FORMS}")


def _is_pair(found: Any) -> bool:
    return isinstance(found, (tuple, list)) and len(found) == 2 and all(_is_array(part) and getattr(part, "ndim", 1) for part in found)


def _is_array(found: Any) -> bool:
    return isinstance(found, (Tensor, list)) or (hasattr(found, "__array__") and not hasattr(found, "column_names"))


def _called(found: Any) -> str:
    size = f" of {len(found)}" if isinstance(found, (tuple, list)) else ""
    return f"a {type(found).__name__}{size}" if found is not None else "None"


def _array(argument: str, found: Any) -> np.ndarray:
    if isinstance(found, Tensor):
        found = found.detach().cpu()
        found = found.float() if found.dtype in (torch.bfloat16, torch.float16) else found
    try:
        return np.asarray(found)
    except Exception as error:  # a ragged list, a sparse tensor, or whatever the object's own __array__ raises
        raise SlafError(f"{argument} cannot be made an array: {' '.join(str(error).split())[:200]}") from None


def _inputs(argument: str, found: Any) -> Tensor:
    """uint8 or finite float32 (n, …), n at least 1 dimension more; images with channels last get them first."""
    values = _array(argument, found)
    if values.dtype.kind not in "buif":
        raise SlafError(f"{argument} must hold numbers; got {values.dtype}")
    if values.ndim < 1 or 0 in values.shape[1:]:
        raise SlafError(f"{argument} must have the shape (samples, …); got {values.shape}")
    if values.ndim == 1:
        values = values[:, None]
    if values.ndim == 4 and values.shape[-1] in (1, 3) and values.shape[1] not in (1, 3):
        values = np.moveaxis(values, -1, 1)
    if values.dtype == np.uint8:
        return torch.from_numpy(np.array(values, order="C"))
    with np.errstate(over="ignore"):  # what float32 cannot hold is refused below
        tensor = torch.from_numpy(np.array(values, dtype=np.float32, order="C"))
    finite = tensor.flatten(1).isfinite().all(1)
    if not bool(finite.all()):
        raise SlafError(f"{argument} must hold finite numbers; sample {int((~finite).int().argmax())} does not")
    return tensor


def _targets(argument: str, found: Any) -> np.ndarray:
    """One number or word for each sample: int64, float64 or text (n,)."""
    values = _array(argument, found)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        raise SlafError(f"{argument} must hold one number or word for each sample; got the shape {values.shape}")
    if values.dtype.kind == "O" and all(isinstance(value, str) for value in values):
        values = values.astype(str)
    if values.dtype.kind not in "buifU":
        raise SlafError(f"{argument} must hold integers or words (classes) or floating-point numbers (a regression); got {values.dtype}")
    if values.dtype.kind == "f" and not np.isfinite(values.astype(np.float32)).all():
        bad = ~np.isfinite(values.astype(np.float32))
        raise SlafError(f"{argument} must hold finite numbers; that of sample {int(bad.argmax())} is not")
    return values.astype(np.float64) if values.dtype.kind == "f" else values if values.dtype.kind == "U" else values.astype(np.int64)


def _coded(text: str, raw: dict[str, np.ndarray]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Targets by part, and the classes; none in a regression."""
    kinds = {part.dtype.kind for part in raw.values()}
    if len(kinds) > 1:
        raise SlafError(
            f"{text}: training and test targets must be of one kind; got {' and '.join(str(part.dtype) for part in raw.values())}"
        )
    joined = np.concatenate(list(raw.values()))
    values, codes = np.unique(joined, return_inverse=True)
    if len(values) < 2 or len(np.unique(raw["train"])) < 2:
        raise SlafError(f"{text}: the training targets are always {values[0]}: there is nothing to predict")
    if kinds == {"f"}:
        return {part: torch.from_numpy(numbers) for part, numbers in raw.items()}, ()
    if len(values) > MOST_CLASSES:
        raise SlafError(f"{text}: y has {len(values):,} classes, more than {MOST_CLASSES:,}: floating-point targets make it a regression")
    indices = torch.from_numpy(codes.astype(np.int64)).split([len(part) for part in raw.values()])
    return dict(zip(raw, indices, strict=True)), tuple(str(value) for value in values)


def _standardised(train: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    if train.dtype == torch.uint8:
        shape = train.shape[1:] if train.dim() == 4 else (1, 1, -1)
        parts = standardised_pixels(train.reshape(len(train), *shape), test.reshape(len(test), *shape))
        return parts[0].view(train.shape), parts[1].view(test.shape)
    over = {2: (0,), 4: (0, 2, 3)}.get(train.dim(), tuple(range(train.dim())))
    # in parts, for the sums are in float64
    parts = train.split(4096)
    count = train.numel() // train[:1].mean(over, keepdim=True).numel()
    mean = torch.stack([part.sum(over, keepdim=True, dtype=torch.float64) for part in parts]).sum(0) / count
    square = torch.stack([(part.double() - mean).square().sum(over, keepdim=True) for part in parts]).sum(0)
    std = scale_of((square / count).sqrt(), mean)
    shift, scale = mean.float(), std.float()
    return (train - shift).div_(scale), (test - shift).div_(scale)

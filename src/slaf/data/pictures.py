"""Folders of image files: which files there are by class, and how they become pixels of one size and mode."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from slaf.core import SlafError, nearest

from .library import library

__all__ = ["Folders", "find_pictures", "load_pictures"]

_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
_TRAIN, _TEST = ("train", "training"), ("test", "testing", "val", "valid", "validation")
_GREY = ("1", "L", "LA")
_MOST_BYTES = 2**31

Folders = dict[str, tuple[Path, ...]]
"""Class name to its image files, both sorted."""


def find_pictures(folder: Path) -> tuple[Folders, Folders | None, tuple[str, ...]]:
    """The image files for training and, if there are folders ``train`` and ``test`` (or ``val``), the held-out ones; and notes.

    Raises:
        SlafError: no subfolders, a single class, a class without images, or held-out classes that training does not have.
    """
    inside = _subfolders(folder)
    top = next((inside[name] for name in _TRAIN if name in inside), None)
    parts = [inside[name] for name in _TEST if name in inside]
    if top is None or not (parts or len(inside) == 1):
        train, others = _classes(folder)
        return train, None, _left(others)
    train, others = _classes(top)
    if not parts:
        return train, None, (f"{top.name} is the only folder: held-out images are drawn from it", *_left(others))
    test, more = _classes(parts[0])
    strange = next((name for name in test if name not in train), None)
    if strange is not None:
        raise SlafError(f"{parts[0]} has a class {strange!r} that {top} does not have{nearest(strange, train)}")
    notes = [f"{parts[0].name} is held out, as the folders say", *_left(others + more)]
    notes += [f"folder {name} is left out" for name in inside if inside[name] not in (top, parts[0])]
    absent = [name for name in train if name not in test]
    if absent:
        notes.append(f"no held-out image of {', '.join(absent[:8])}{' and more' * (len(absent) > 8)}")
    return train, test, tuple(notes)


def _subfolders(folder: Path) -> dict[str, Path]:
    return {p.name: p for p in sorted(folder.iterdir()) if p.is_dir() and not p.name.startswith((".", "__"))}


def _classes(folder: Path) -> tuple[Folders, int]:
    """The images by class, and how many other files there are."""
    found: Folders = {}
    others = 0
    for name, inside in _subfolders(folder).items():
        files = sorted(Path(at) / file for at, _, files in os.walk(inside) for file in files if not file.startswith("."))
        found[name] = tuple(file for file in files if file.suffix.lower() in _SUFFIXES)
        others += len(files) - len(found[name])
        if not found[name]:
            raise SlafError(f"{inside} holds no image: a class needs at least one file that ends in {', '.join(_SUFFIXES)}")
    loose = sum(p.suffix.lower() in _SUFFIXES for p in folder.iterdir())
    if not found:
        what = f"{loose:,} images but no subfolders" if loose else "no subfolders of images and no IDX files"
        raise SlafError(f"{folder} holds {what}: put the images of each class into a subfolder named after it")
    if len(found) < 2:
        raise SlafError(f"{folder} holds a single class, {next(iter(found))!r}: at least 2 subfolders are needed")
    return found, others + loose


def _left(others: int) -> tuple[str, ...]:
    return (f"{others:,} other file{'s' * (others != 1)} left out",) if others else ()


def load_pictures(files: Sequence[Path], size: int) -> Tensor:
    """Pixels of all ``files``, uint8 (N, C, H, W): C is 1 if all are greyscale, otherwise 3; an alpha channel is dropped.

    H = W = ``size``, resampled bilinearly; with 0 the size that all files have.

    Raises:
        SlafError: Pillow is missing, a file that is not a readable image or has 16 bits, different sizes and no ``size``, too many pixels.
    """
    image = library("PIL.Image", "reading image files")
    seen = [_opened(image, file, lambda opened: (opened.mode, opened.size)) for file in files]
    for file, (mode, _) in zip(files, seen, strict=True):
        if mode[0] in "IF":
            raise SlafError(f"{file} has more than 8 bits per pixel (mode {mode}): save it with 8")
    mode = "L" if all(m in _GREY for m, _ in seen) else "RGB"
    width, height = seen[0][1] if not size else (size, size)
    other = next((i for i, (_, s) in enumerate(seen) if s != seen[0][1]), None)
    if other is not None and not size:
        a, b = ("×".join(map(str, s)) for s in (seen[0][1], seen[other][1]))
        raise SlafError(f"images differ in size: {files[0]} is {a} and {files[other]} {b}; -o size=32 makes them all 32×32")
    channels = len(mode.replace("L", "1"))
    if len(files) * channels * height * width > _MOST_BYTES:
        gigabytes = len(files) * channels * height * width / 1e9
        raise SlafError(
            f"{len(files):,} images of {width}×{height} are {gigabytes:.1f} GB of pixels, too many: -o size=32 makes them smaller"
        )
    pixels = torch.empty(len(files), channels, height, width, dtype=torch.uint8)

    def decode(opened: Any) -> Tensor:
        converted = opened.convert(mode)
        if converted.size != (width, height):
            converted = converted.resize((width, height), image.Resampling.BILINEAR)
        values = torch.frombuffer(bytearray(converted.tobytes()), dtype=torch.uint8)
        return values.view(height, width, channels).permute(2, 0, 1)

    for i, file in enumerate(files):
        pixels[i] = _opened(image, file, decode)
    return pixels


def _opened(image: Any, file: Path, use: Callable[[Any], Any]) -> Any:
    """``use`` of the opened file; whatever Pillow's many decoders raise or warn of becomes one sentence."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", image.DecompressionBombWarning)
            with image.open(file) as opened:
                return use(opened)
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise SlafError(f"{file} cannot be read as an image: {reason.replace(str(file), 'it')}") from None

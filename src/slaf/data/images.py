"""``read_images``: labelled images from IDX files or from a folder with a subfolder for each class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from slaf.core import SlafError

from .idx import Pair, idx_pairs, pair_of, read_idx
from .pictures import Folders, find_pictures, load_pictures
from .split import Split, check_share, draw, scale_of

__all__ = ["Images", "image_files", "read_images", "standardised_pixels"]

_FEWEST = 10


@dataclass(frozen=True)
class Images:
    """Labelled images of one size.

    Attributes:
        pixels: uint8 (N, C, H, W).
        labels: int64 (N,), indices of ``classes``.
        classes: names of the classes, sorted.
        split: the first ``split`` images are for training and the others held out, as the files say; ``None``: the seed decides.
        notes: short sentences on what was read.
    """

    pixels: Tensor = field(repr=False)
    labels: Tensor = field(repr=False)
    classes: tuple[str, ...]
    split: int | None
    notes: tuple[str, ...]

    def tensors(self, generator: torch.Generator, test_share: float = 0.2) -> Split:
        """Training and held-out images in random order, float32 (n, C, H, W), each channel standardised by training's mean and std.

        A fixed split stays what it is; otherwise ``test_share`` of each class is held out. A pure function of the generator's seed.

        Raises:
            SlafError: ``test_share`` is not between 0 and 1.
        """
        check_share(test_share)
        total = len(self.labels)
        if self.split is None:
            train, test = draw(total, generator, test_share, self.labels)
        else:
            train = torch.randperm(self.split, generator=generator)
            test = self.split + torch.randperm(total - self.split, generator=generator)
        how = "each class by its share" if self.split is None else "as the files say"
        counted = f"{total:,} images: {len(train):,} for training, {len(test):,} held out ({how})"
        x, y = standardised_pixels(self.pixels[train], self.pixels[test]), self.labels
        return Split((x[0], y[train]), (x[1], y[test]), notes=(counted, *self.notes))


def standardised_pixels(train: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    """uint8 (n, C, H, W) as float32, (pixel − mean) / std by channel, mean and std of ``train``; exact, from the 256 counts."""
    values = torch.arange(256, dtype=torch.float64)
    counts = torch.stack([torch.bincount(train[:, c].flatten(), minlength=256) for c in range(train.shape[1])]).double()
    total = counts.sum(1)
    mean = (counts @ values) / total
    std = scale_of(((counts * (values - mean[:, None]).square()).sum(1) / total).sqrt(), mean)
    shift, scale = mean.float()[:, None, None], std.float()[:, None, None]
    return train.float().sub_(shift).div_(scale), test.float().sub_(shift).div_(scale)


def image_files(path: str | Path) -> tuple[Path, ...]:
    """The files that ``read_images`` reads, sorted.

    Raises:
        SlafError: nothing there that could be read.
    """
    found = _find(path)
    if isinstance(found, tuple) and isinstance(found[0], Pair):
        return tuple(sorted(file for pair in found for file in (pair.images, pair.labels)))
    train, test, _ = found
    return tuple(sorted(chain(*train.values(), *(test or {}).values())))


def read_images(path: str | Path, *, size: int = 0, max_images: int = 200_000) -> Images:
    """Read the IDX files in a folder, one IDX image file and its labels, or a folder with one subfolder of image files for each class.

    ``train-…`` and ``t10k-…`` IDX pairs, or folders ``train`` and ``test`` (or ``val``) with the classes inside, are a fixed split.

    Args:
        path: the folder, or an IDX image file.
        size: all images become ``size × size``; 0 leaves them as they are.
        max_images: more are refused before they are read.

    Raises:
        SlafError: whatever cannot be read or must not be guessed, in one sentence.

    Example:
        >>> images = read_images("mnist")                              # doctest: +SKIP
        >>> images.tensors(torch.Generator().manual_seed(0)).train[0]  # doctest: +SKIP
    """
    for argument, value, least in (("size", size, 0), ("max_images", max_images, _FEWEST)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise SlafError(f"{argument} must be an integer of at least {least}; got {value!r}")
    if size > 1024:
        raise SlafError(f"size must be an integer of at most 1024; got {size!r}")
    found = _find(path)
    images = _from_idx(found, size, max_images) if isinstance(found[0], Pair) else _from_folders(found, size, max_images)
    if len(images.labels) < _FEWEST:
        raise SlafError(f"{path} holds {len(images.labels)} images: at least {_FEWEST} are needed")
    return images


def _find(path: str | Path) -> Any:
    """Pairs of IDX files, or (training folders, held-out folders or ``None``, notes)."""
    where = Path(path).expanduser()
    try:
        if where.is_file():
            return (pair_of(where),)
        if not where.is_dir():
            raise SlafError(f"{where} is neither a folder nor an IDX file" if where.exists() else f"{where}: there is no such folder")
        return idx_pairs(where) or find_pictures(where)
    except OSError as error:
        raise SlafError(f"{where} cannot be read: {error.strerror or error}") from None


def _from_idx(pairs: Sequence[Pair], size: int, most: int) -> Images:
    parts = {test: [pair for pair in pairs if pair.test == test] for test in (False, True)}
    several = next((part for part in parts.values() if len(part) > 1), None)
    if several:
        names = " and ".join(pair.images.name for pair in several[:2])
        raise SlafError(f"{several[0].images.parent} holds more than one set of images, {names}: give the path of one image file")
    ordered = [*parts[False], *parts[True]]
    read = [_pair(pair, most) for pair in ordered]
    shapes = [tuple(pixels.shape[1:]) for pixels, _ in read]
    if len(set(shapes)) > 1:
        a, b = ("×".join(map(str, shape)) for shape in shapes)
        raise SlafError(f"images differ in size: {ordered[0].images} has {a} and {ordered[1].images} {b}")
    pixels, values = (torch.cat(part) if len(part) > 1 else part[0] for part in zip(*read, strict=True))
    classes, labels = values.unique(return_inverse=True)
    if len(classes) < 2:
        raise SlafError(f"{ordered[0].labels} holds a single class, {int(classes[0])}: at least 2 are needed")
    notes = [f"{pixels.shape[0]:,} images of {_shape(pixels)} from {' and '.join(pair.images.name for pair in ordered)}"]
    if size and tuple(pixels.shape[2:]) != (size, size):
        # uint8 in and out, a part at a time: the float copy of a large set would not fit
        pixels = torch.cat([F.interpolate(part, (size, size), mode="bilinear", antialias=True) for part in pixels.split(4096)])
        notes.append(f"resampled to {_shape(pixels)}")
    split = len(read[0][1]) if len(read) == 2 else None
    return Images(pixels, labels, tuple(str(c) for c in classes.tolist()), split, (*notes, _class_note(classes.tolist(), labels)))


def _pair(pair: Pair, most: int) -> tuple[Tensor, Tensor]:
    pixels, labels = read_idx(pair.images, (3, 4), most), read_idx(pair.labels, (1,))
    if len(pixels) != len(labels):
        raise SlafError(f"{pair.images} holds {len(pixels):,} images and {pair.labels.name} {len(labels):,} labels: there must be as many")
    if pixels.dim() == 3:
        return pixels[:, None], labels
    if pixels.shape[1] in (1, 3):
        return pixels, labels
    if pixels.shape[3] in (1, 3):
        return pixels.permute(0, 3, 1, 2).contiguous(), labels
    raise SlafError(f"{pair.images} has the sizes {'×'.join(map(str, pixels.shape))}: neither the second nor the last is 1 or 3 channels")


def _from_folders(found: tuple[Folders, Folders | None, tuple[str, ...]], size: int, most: int) -> Images:
    train, test, notes = found
    classes, parts = tuple(train), [train] if test is None else [train, test]
    files = [file for part in parts for group in part.values() for file in group]
    if len(files) > most:
        raise SlafError(f"{len(files):,} image files are more than max_images={most:,}: -o max_images=N reads more")
    pixels = load_pictures(files, size)
    labels = torch.cat([torch.full((len(group),), classes.index(name)) for part in parts for name, group in part.items()])
    split = None if test is None else sum(map(len, train.values()))
    counted = f"{len(files):,} image files, {_shape(pixels)}"
    return Images(pixels, labels, classes, split, (counted, _class_note(classes, labels), *notes))


def _shape(pixels: Tensor) -> str:
    _, channels, height, width = pixels.shape
    return f"{width}×{height} pixels, {'greyscale' if channels == 1 else 'colour'}"


def _class_note(classes: Sequence[Any], labels: Tensor) -> str:
    counts = torch.bincount(labels, minlength=len(classes))
    names = f"{', '.join(map(str, classes[:10]))}{', …' * (len(classes) > 10)}"
    return f"{len(classes)} classes ({names}), {int(counts.min()):,} to {int(counts.max()):,} images each"

"""IDX files, the format of MNIST and its relatives: two zero bytes, a type, the number of dimensions, their big-endian sizes, the bytes."""

from __future__ import annotations

import math
import re
import struct
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from slaf.core import SlafError

from .text import readable

__all__ = ["Pair", "idx_pairs", "pair_of", "read_idx"]

_TYPES = {0x08: "unsigned bytes", 0x09: "signed bytes", 0x0B: "16-bit integers", 0x0C: "32-bit integers", 0x0D: "floats", 0x0E: "doubles"}
_IMAGES = re.compile(r"(?P<set>.*)images(?P<sign>[-.])idx[34][-.]ubyte(?:\.gz)?")
_MOST_BYTES = 2**31
_PACKED = 1100
"""Bytes that one byte of a gzip file can at most stand for (1032 by its format), to refuse a header before memory is asked for."""


@dataclass(frozen=True)
class Pair:
    """An image file and its label file; ``test`` if the name says that it is the held-out part (t10k, test)."""

    images: Path
    labels: Path

    @property
    def test(self) -> bool:
        """Whether the name says that these images are held out."""
        return bool(re.search("t10k|test", self.images.name))


def idx_pairs(folder: Path) -> tuple[Pair, ...]:
    """All pairs of image and label files directly in ``folder``, sorted; of a file that is also there unpacked, the packed one is not used.

    Raises:
        SlafError: an image file without its labels.
    """
    found = {p.name: p for p in sorted(folder.iterdir()) if p.is_file() and _IMAGES.fullmatch(p.name)}
    return tuple(pair_of(path) for name, path in found.items() if not (path.suffix == ".gz" and name.removesuffix(".gz") in found))


def pair_of(images: Path) -> Pair:
    """``images`` and the file of its labels: the same name with ``labels`` and ``idx1``, packed or not.

    Raises:
        SlafError: the name is not that of an image file, or there are no labels beside it.
    """
    match = _IMAGES.fullmatch(images.name)
    if not match:
        raise SlafError(f"{images} is not named as an IDX image file: train-images-idx3-ubyte or t10k-images-idx3-ubyte, also .gz, are")
    stem = f"{match['set']}labels"
    names = [f"{stem}{sign}idx1{dash}ubyte{end}" for end in ("", ".gz") for sign in "-." for dash in "-."]
    labels = next((images.with_name(name) for name in names if images.with_name(name).is_file()), None)
    if labels is None:
        raise SlafError(f"{images} has no file of labels beside it: {stem}{match['sign']}idx1-ubyte, also .gz, is looked for")
    return Pair(images, labels)


def read_idx(path: Path, dimensions: tuple[int, ...], most: int | None = None) -> Tensor:
    """The bytes of an IDX file, a uint8 tensor of the shape that its header gives.

    Args:
        path: the file, packed by gzip or not.
        dimensions: how many dimensions are allowed.
        most: the largest allowed first size.

    Raises:
        SlafError: not an IDX file of unsigned bytes, other dimensions, sizes that cannot be, bytes missing or left over.
    """
    with readable(path) as handle:
        head = handle.read(4)
        if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in _TYPES:
            raise SlafError(f"{path} is not an IDX file: it begins with {head.hex(' ') or 'nothing'}, an IDX file with 00 00 08")
        if head[2] != 0x08:
            raise SlafError(f"{path} holds {_TYPES[head[2]]} (type {head[2]:#04x}), but only unsigned bytes (0x08) are read")
        if head[3] not in dimensions:
            raise SlafError(f"{path} has {head[3]} dimensions where {' or '.join(map(str, dimensions))} are expected")
        sizes = handle.read(4 * head[3])
        if len(sizes) < 4 * head[3]:
            raise SlafError(f"{path} is cut off: its header should have {4 + 4 * head[3]} bytes and has {4 + len(sizes)}")
        shape = struct.unpack(f">{head[3]}I", sizes)
        expected, there = math.prod(shape), path.stat().st_size
        text = "×".join(map(str, shape))
        if not expected:
            raise SlafError(f"{path} is empty: its header gives the sizes {text}")
        if most is not None and shape[0] > most:
            raise SlafError(f"{path} holds {shape[0]:,} images, more than max_images={most:,}: -o max_images=N reads more")
        if expected > _MOST_BYTES or expected > _PACKED * there:
            raise SlafError(f"{path} cannot be right: its header gives {text} = {expected:,} bytes, the file has {there:,}")
        values = torch.empty(expected, dtype=torch.uint8)
        view, filled = values.numpy(), 0
        while filled < expected and (count := handle.readinto(view[filled:])):  # type: ignore[attr-defined]
            filled += count
        over = 0
        while filled == expected and (rest := len(handle.read(2**20))):
            over += rest
    if filled < expected:
        raise SlafError(f"{path} is cut off: its header gives {text} = {expected:,} bytes of data, the file has {filled:,}")
    if over:
        raise SlafError(f"{path} is too long: its header gives {text} = {expected:,} bytes of data, the file has {expected + over:,}")
    return values.view(shape)

"""MNIST and what comes in its format: the images study on IDX files that the user has."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from slaf.compare.study import register_study
from slaf.core import SlafError
from slaf.data import is_function

from .images import ImageStudy

__all__ = ["Mnist"]


@register_study
class Mnist(ImageStudy):
    """The paper's network on MNIST, Fashion-MNIST and the like; a fixed split if both parts are there, otherwise by the seed."""

    name = "mnist"
    title = "MNIST"
    source = "Y. LeCun, C. Cortes, C. Burges, MNIST, the files given as data; the network of M. Goyal, R. Goyal, B. Lall, arXiv:1906.09529"
    claim = "A learned activation reads held-out digits at least as well as ReLU in the SLAF paper's convolutional network, equally wide."
    inputs: ClassVar[Mapping[str, str]] = {
        "data": "a folder with train-images-idx3-ubyte and t10k-images-idx3-ubyte (one is enough, also .gz) and their labels"
    }

    def files(self) -> tuple[Path, ...]:
        """The IDX files.

        Raises:
            SlafError: a function is given, or a folder without IDX files.
        """
        data = self.given["data"]
        files = () if is_function(data) else super().files()
        if not files or not all("idx" in file.name for file in files):
            what = "a function" if is_function(data) else "a folder of image files"
            raise SlafError(f"study mnist reads IDX files, and {data} is {what}: study images takes it")
        return files

    def fingerprint(self) -> str:
        self.files()
        return super().fingerprint()

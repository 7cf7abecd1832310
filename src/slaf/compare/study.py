"""``Study``: a workload in which the activation function is the only thing that varies."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from slaf.core import Registry, SlafError, canonical, nearest, parse
from slaf.core.spec import Spec
from slaf.train import Recipe, Trace, train

__all__ = ["Block", "Data", "Make", "Study", "register_study", "studies"]

Make = Callable[..., nn.Module]
"""``make(slot="hidden", num_channels=None, channel_dim=1) -> nn.Module``: builds the activation under test for one site of the model.

In a study that has ``blocks``, ``make.block(linears)`` builds the one under test; it is ``None`` while an activation is."""
Block = Callable[..., nn.Module]
"""``block(linears, **arguments) -> nn.Module``: what stands in the place of a perceptron of these linear layers."""


@dataclass
class Data:
    """Tensors of one seed: ``train`` and ``test`` are (inputs, targets); ``truth`` holds what the generator knows.

    ``spec`` holds what ``build`` needs beyond the tensors' shapes, such as the widths that the budget asks for; ``notes`` are sentences
    that a reader of the results must know, such as how missing values were filled.
    """

    train: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    truth: dict[str, Any] = field(default_factory=dict)
    spec: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def to(self, device: torch.device | str) -> Data:
        """The same with its tensors on ``device``."""
        (x, y), (x_test, y_test) = self.train, self.test
        return replace(self, train=(x.to(device), y.to(device)), test=(x_test.to(device), y_test.to(device)))


class Study:
    """One workload. Subclass it, fill the class attributes, write ``data``, ``build``, ``loss`` and ``metrics``, and register it.

    Attributes:
        name: what ``slaf compare NAME`` calls it.
        source: the paper or data set; ``claim``: the one sentence that the metrics can refute.
        primary: the metric that the table ranks by; ``direction``: ``"max"`` or ``"min"``.
        inputs: what the user must give, ``--NAME`` at the command line, and what it is: of ``data`` and ``target``.
        slots: the named places where an activation goes; the first is the default.
        budgets: sizes and steps by budget name: ``smoke`` (≤ 10 s), ``small`` (≤ 3 min), ``full`` (≤ 15 min), maybe ``paper``.
            ``slaf compare -o name=value`` changes an entry.
        activations: what is compared by default, besides ``identity``.
        blocks: by name, what may be compared in the place of a whole perceptron, such as a gated or a Kolmogorov–Arnold network.
        seeds: the default number of seeds.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    source: ClassVar[str]
    claim: ClassVar[str]
    primary: ClassVar[str] = "accuracy"
    direction: ClassVar[str] = "max"
    inputs: ClassVar[Mapping[str, str]] = {}
    slots: ClassVar[tuple[str, ...]] = ("hidden",)
    budgets: ClassVar[Mapping[str, Mapping[str, Any]]]
    activations: ClassVar[tuple[str, ...]] = ("relu", "gelu", "slaf")
    blocks: ClassVar[Mapping[str, Block]] = {}
    seeds: ClassVar[int] = 3

    def __init__(self, **given: str) -> None:
        self.given: Mapping[str, str] = given

    def with_inputs(self, given: Mapping[str, str]) -> Study:
        """The same study, reading what the user gave.

        Raises:
            SlafError: something is missing, or is nothing that this study takes.
        """
        for name in given:
            if name not in self.inputs:
                takes = f"it takes {', '.join('--' + n for n in self.inputs)}" if self.inputs else "it brings its own data"
                raise SlafError(f"study {self.name} takes no --{name}{nearest(name, self.inputs)}; {takes}")
        for name, what in self.inputs.items():
            if name not in given:
                raise SlafError(f"study {self.name} needs --{name}: {what}")
        return type(self)(**given) if given else self

    @property
    def ranking(self) -> str:
        """By what the table ranks, in words."""
        return f"{self.primary} ({'more' if self.direction == 'max' else 'less'} is better)"

    def canonical(self, text: str) -> str:
        """The one spelling of an activation, or of a block that this study has.

        Raises:
            SlafError: it is neither.
        """
        spec = parse(text)
        if spec.name in self.blocks:
            return str(Spec(spec.name, spec.args, spec.kwargs))
        try:
            return canonical(text)
        except SlafError as error:
            hint = nearest(spec.name, self.blocks)
            raise SlafError(f"study {self.name} has no block {spec.name!r}{hint}") if hint else error from None

    def files(self) -> tuple[Path, ...]:
        """The data files that ``data`` reads; generated data have none."""
        return ()

    def fingerprint(self) -> str:
        """SHA-256 of the data files, part of every trial's key; empty if there are none.

        Raises:
            SlafError: a file cannot be read.
        """
        files = self.files()
        return hashlib.sha256(b"".join(_hash(path, self.name) for path in files)).hexdigest() if files else ""

    def ranked_by(self, budget: Mapping[str, Any]) -> tuple[str, str]:  # noqa: ARG002 - a study of the user's data may need it
        """The metric that the table ranks by, and its direction."""
        return self.primary, self.direction

    def data(self, seed: int, budget: Mapping[str, Any]) -> Data:
        """The tensors: a pure function of the seed and the budget's sizes; no network.

        ``seed`` is the trial's root seed: take ``slaf.train.generator(seed, "data")``, for batches and first weights come from it too.
        """
        raise NotImplementedError

    def build(self, make: Make, data: Data) -> nn.Module:
        """The model; ``make(slot, num_channels)`` once per site. Weights come from torch's global generator, seeded by the runner."""
        raise NotImplementedError

    def recipe(self, budget: Mapping[str, Any], data: Data) -> Recipe:
        """How it is trained: the same for every activation."""
        raise NotImplementedError

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """The task loss of one batch, a scalar."""
        raise NotImplementedError

    def train(
        self,
        model: nn.Module,
        data: Data,
        budget: Mapping[str, Any],
        seed: int,
        on_epoch: Callable[[int, int, float], None],
        *,
        lr_factor: float = 1.0,
        fabric: Any = None,
    ) -> Trace:
        """Train ``model`` in place; ``on_epoch(done, total, loss)`` reports progress.

        ``lr_factor`` multiplies the recipe's learning rates, ``fabric`` spreads each batch over several devices; a study that trains in
        its own way may leave both out of its signature, and is then refused with ``--sweep-lr`` or ``--devices``.
        """
        recipe = self.recipe(budget, data)
        if lr_factor != 1:
            recipe = recipe.scaled(lr_factor)
        spread = {} if fabric is None else {"fabric": fabric}
        return train(model, data.train, self.loss, recipe, seed=seed, on_epoch=on_epoch, **spread)

    def metrics(self, model: nn.Module, data: Data) -> dict[str, float]:
        """All numbers the claim needs, on ``data.test``, the model in evaluation mode; must hold ``primary``."""
        raise NotImplementedError


def _hash(path: Path, study: str) -> bytes:
    try:
        stat = path.stat()
        return _hash_once(path, stat.st_size, stat.st_mtime_ns)
    except OSError as error:
        raise SlafError(f"study {study} cannot read its data file {path}: {error.strerror}") from None


@lru_cache(maxsize=64)
def _hash_once(path: Path, _size: int, _changed: int) -> bytes:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").digest() if hasattr(hashlib, "file_digest") else hashlib.sha256(file.read()).digest()


studies: Registry[Study] = Registry("study", "slaf studies")


def register_study(cls: type[Study]) -> type[Study]:
    """Class decorator: make the study known under its name (an underscore or a hyphen may be typed)."""
    studies.register(cls.name.replace("-", "_"), cls())
    return cls

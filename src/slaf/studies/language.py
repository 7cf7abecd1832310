"""A tiny language model on generated text whose entropy is known: what the perceptrons of a transformer are worth."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slaf.compare.study import Data, Make, Study, register_study
from slaf.core import SlafError
from slaf.train import Recipe, derive

from ._blocks import BLOCKS
from ._mlp import predict
from ._transformer import GPT

__all__ = ["Grammar", "Language"]

KINDS = ("sum", "product", "fact", "brackets", "copy")
DEEPEST, COPIED = 4, 3

Token = tuple[int, float]


class Grammar:
    """Lines of five kinds, each token with its log-probability given all before it; the kind, with which a line begins, is uniform.

    * ``sum a b c``, ``product a b c``: a and b uniform numbers, c = a + b or a·b modulo ``numbers``;
    * ``fact e r v``: a uniform name and relation, and the value that a table, drawn once for the language, has for them;
    * ``brackets``: three kinds of them, at most 4 deep; where one may open or close, or end where all are closed, each has probability ½;
    * ``copy``: three uniform numbers, and the same again.

    So whatever is not a uniform draw follows from the line so far, and no model has a smaller expected loss than ``rules`` give.
    """

    def __init__(self, random: np.random.Generator, numbers: int = 7, names: int = 8, relations: int = 4) -> None:
        self.random, self.numbers, self.names, self.relations = random, numbers, names, relations
        self.kinds, self.entities, self.relation, self.open = np.cumsum([numbers, len(KINDS), names, relations]).tolist()
        self.end = self.open + 6
        self.vocabulary = self.end + 1
        self.facts = random.integers(numbers, size=(names, relations))

    def _uniform(self, count: int, offset: int = 0) -> Token:
        return offset + int(self.random.integers(count)), -math.log(count)

    def line(self) -> list[Token]:
        """The tokens of one line."""
        kind = self._uniform(len(KINDS), self.kinds)
        name = KINDS[kind[0] - self.kinds]
        return [kind, *getattr(self, f"_{name}")()]

    def _sum(self) -> Iterator[Token]:
        a, b = self._uniform(self.numbers), self._uniform(self.numbers)
        return iter((a, b, ((a[0] + b[0]) % self.numbers, 0.0)))

    def _product(self) -> Iterator[Token]:
        a, b = self._uniform(self.numbers), self._uniform(self.numbers)
        return iter((a, b, (a[0] * b[0] % self.numbers, 0.0)))

    def _fact(self) -> Iterator[Token]:
        e, r = self._uniform(self.names, self.entities), self._uniform(self.relations, self.relation)
        return iter((e, r, (int(self.facts[e[0] - self.entities, r[0] - self.relation]), 0.0)))

    def _copy(self) -> Iterator[Token]:
        word = [self._uniform(self.numbers) for _ in range(COPIED)]
        return iter(word + [(token, 0.0) for token, _ in word])

    def _brackets(self) -> Iterator[Token]:
        """At the start one opens; at the greatest depth one closes; elsewhere it is a coin's choice."""
        stack: list[int] = []
        first = True
        while True:
            choice = 0.0 if first or len(stack) == DEEPEST else -math.log(2)
            opens = first or (len(stack) < DEEPEST and self.random.random() < 0.5)
            first = False
            if opens:
                kind, log_p = self._uniform(3)
                stack.append(kind)
                yield self.open + kind, choice + log_p
            elif stack:
                yield self.open + 3 + stack.pop(), choice
            else:
                yield self.end, choice
                return

    def rows(self, count: int, length: int) -> tuple[Tensor, Tensor]:
        """Tokens (count, length + 1), every row from the start of a line on and cut off at its end, and their log-probabilities."""
        tokens, log_p = np.zeros((count, length + 1), np.int64), np.zeros((count, length + 1))
        for row in range(count):
            filled: list[Token] = []
            while len(filled) <= length:
                filled += self.line()
            tokens[row], log_p[row] = zip(*filled[: length + 1], strict=True)
        return torch.from_numpy(tokens), torch.from_numpy(log_p)


@register_study
class Language(Study):
    """A transformer of two blocks on sums, products, facts, brackets and copies; the loss is measured from the text's entropy on."""

    name = "language"
    title = "A tiny language model"
    source = (
        "generated text of known entropy; the blocks' perceptrons as in Zhuo et al., Polynomial Composition Activations, 2024, "
        "arXiv:2411.03884, and Shazeer, GLU Variants Improve Transformer, 2020, arXiv:2002.05202 [from memory]"
    )
    claim = "PolyNorm and PolyReLU have a smaller held-out loss than SwiGLU, GELU and ReLU at equal parameters."
    primary = "excess"
    direction = "min"
    budgets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {"rows": 256, "context": 32, "epochs": 2, "width": 16, "hidden": 32, "depth": 1, "lr": 3e-3},
        "small": {"rows": 2048, "context": 32, "epochs": 10, "width": 32, "hidden": 64, "depth": 2, "lr": 1e-2},
        "full": {"rows": 8192, "context": 128, "epochs": 12, "width": 96, "hidden": 384, "depth": 4, "lr": 2e-3},
    }
    activations = ("relu", "gelu", "polyrelu(share=layer)", "polynorm", "swiglu")
    blocks = BLOCKS

    def data(self, seed: int, budget: Mapping[str, Any]) -> Data:
        """Rows of tokens and those that follow them; the facts of the language are drawn by the seed too."""
        for name in ("rows", "context"):
            if budget[name] < 8:
                raise SlafError(f"{name} must be an integer of at least 8; got {budget[name]!r}")
        grammar = Grammar(np.random.default_rng(derive(seed, "data")))
        (tokens, _), (held_out, log_p) = (grammar.rows(n, budget["context"]) for n in (budget["rows"], max(64, budget["rows"] // 4)))
        spec = {name: budget[name] for name in ("context", "width", "hidden", "depth")} | {"vocabulary": grammar.vocabulary}
        notes = ("The loss is in nats per token; excess is what it has over the entropy of the held-out text, which the generator knows.",)
        oracle = -float(log_p[:, 1:].mean())
        return Data((tokens[:, :-1], tokens[:, 1:]), (held_out[:, :-1], held_out[:, 1:]), {"loss": oracle}, spec, notes)

    def build(self, make: Make, data: Data) -> nn.Module:
        s = data.spec
        return GPT(make, s["vocabulary"], s["context"], s["width"], s["depth"], heads=4, hidden=s["hidden"])

    def recipe(self, budget: Mapping[str, Any], data: Data) -> Recipe:
        return Recipe(budget["epochs"], 16, budget["lr"], "cosine", "adamw", weight_decay=1e-2, clip=1.0)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(output.flatten(0, 1), target.flatten())

    def metrics(self, model: nn.Module, data: Data) -> dict[str, float]:
        """``loss`` on held-out text and ``excess`` over its entropy, in nats per token; ``perplexity`` and the ``oracle``'s loss."""
        x, y = data.test
        loss, oracle = float(self.loss(predict(model, x), y)), data.truth["loss"]
        return {"excess": loss - oracle, "loss": loss, "perplexity": math.exp(loss), "oracle": oracle}

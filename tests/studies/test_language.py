"""The generated text: its rules, its entropy, and its studies' claims about both."""

import math

import numpy as np
import pytest
import torch

from slaf.core import SlafError
from slaf.studies import studies
from slaf.studies.language import KINDS, Grammar


@pytest.fixture(scope="module")
def lines():
    grammar = Grammar(np.random.default_rng(0))
    found = {kind: [] for kind in KINDS}
    for _ in range(3000):
        (kind, log_p), *rest = grammar.line()
        assert log_p == pytest.approx(-math.log(5))
        found[KINDS[kind - grammar.kinds]].append(rest)
    return grammar, found


def test_sums_products_facts_and_copies_are_true_and_their_ends_certain(lines):
    grammar, found = lines
    n = grammar.numbers
    for a, b, c in found["sum"]:
        assert c == ((a[0] + b[0]) % n, 0.0)
    for a, b, c in found["product"]:
        assert c == (a[0] * b[0] % n, 0.0)
    for e, r, v in found["fact"]:
        assert v == (grammar.facts[e[0] - grammar.entities, r[0] - grammar.relation], 0.0)
    for word in found["copy"]:
        assert [t for t, _ in word[:3]] == [t for t, _ in word[3:]]
        assert [p for _, p in word] == [-math.log(n)] * 3 + [0.0] * 3


def test_brackets_close_in_order_and_have_the_probabilities_of_their_choices(lines):
    grammar, found = lines
    for line in found["brackets"]:
        stack, most = [], 0
        for place, (token, log_p) in enumerate(line):
            free = place > 0 and len(stack) < 4
            if token == grammar.end:
                assert not stack
                assert log_p == -math.log(2)
            elif token < grammar.open + 3:
                stack.append(token - grammar.open)
                assert log_p == pytest.approx(-math.log(3) - math.log(2) * free)
            else:
                assert stack.pop() == token - grammar.open - 3
                assert log_p == (-math.log(2) if free else 0.0)
            most = max(most, len(stack))
        assert line[-1][0] == grammar.end
        assert most <= 4


def test_the_oracles_loss_is_the_entropy_of_what_is_drawn(lines):
    """Counted anew: over many lines −log p of the choices agrees with their frequencies."""
    _, found = lines
    opens = [p for line in found["brackets"] for _, p in line[1:] if p in (-math.log(2), -math.log(2) - math.log(3))]
    opened = np.mean([p < -1 for p in opens])
    # beyond the greatest depth a close is certain and has log p = 0, so what is left are fair coins
    assert opened == pytest.approx(0.5, abs=4 * 0.5 / len(opens) ** 0.5)


def test_rows_are_shifted_by_one_and_facts_belong_to_the_seed():
    study = studies["language"]
    budget = {**study.budgets["smoke"], "rows": 16}
    data, again, other = (study.data(seed, budget) for seed in (0, 0, 1))
    x, y = data.train
    assert x.shape == (16, 32)
    assert torch.equal(x[:, 1:], y[:, :-1])
    assert torch.equal(x, again.train[0])
    assert not torch.equal(x, other.train[0])
    assert len(data.test[0]) == 64
    assert 1.0 < data.truth["loss"] < 2.0
    with pytest.raises(SlafError, match="rows must be an integer of at least 8; got 2"):
        study.data(0, {**budget, "rows": 2})


def test_metrics_of_a_model_that_knows_nothing():
    study = studies["language"]
    data = study.data(0, {**study.budgets["smoke"], "rows": 16})

    class Uniform(torch.nn.Module):
        def forward(self, x):
            return torch.zeros(*x.shape, data.spec["vocabulary"])

    got = study.metrics(Uniform(), data)
    assert got["loss"] == pytest.approx(math.log(data.spec["vocabulary"]), rel=1e-5)
    assert got["perplexity"] == pytest.approx(data.spec["vocabulary"], rel=1e-4)
    assert got["excess"] == pytest.approx(got["loss"] - data.truth["loss"])

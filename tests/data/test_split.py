"""The drawn split: complete, seeded, each class by its share."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from slaf.core import SlafError
from slaf.data import draw


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=2, max_size=80), st.floats(0.01, 0.99), st.integers(0, 2**31))
def test_every_row_is_in_one_part_and_every_class_gives_its_share(labels, share, seed):
    _, y = torch.tensor(labels).unique(return_inverse=True)
    counts = torch.bincount(y)
    if int(counts.max()) == 1:
        with pytest.raises(SlafError, match="single sample"):
            draw(len(y), seeded(seed), share, y)
        return
    train, test = draw(len(y), seeded(seed), share, y)
    assert sorted([*train.tolist(), *test.tolist()]) == list(range(len(y)))
    held_out = torch.bincount(y[test], minlength=len(counts))
    assert (held_out < counts).all()  # every class can be learned
    wanted = min(max(1, int(len(y) * share + 0.5)), len(y) - 1)
    assert len(test) == min(wanted, int((counts - 1).sum()))
    if len(test) == wanted and (counts * share <= counts - 1).all():
        assert ((held_out - counts * share).abs() <= 1).all()


def test_the_seed_decides_and_the_order_is_random():
    y = torch.arange(100) // 50
    first, again, other = (draw(100, seeded(s), 0.2, y)[1] for s in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first[:10].sort().values.tolist() != first[:10].tolist()
    assert torch.bincount(y[first]).tolist() == [10, 10]


def test_a_tie_between_classes_is_not_always_decided_for_the_same():
    y = torch.arange(10) // 2  # five classes of two, of which two give a row
    assert len({tuple(y[draw(10, seeded(seed), 0.2, y)[1]].sort().values.tolist()) for seed in range(20)}) > 3


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5, float("nan"), "0.2", True, None])
def test_a_share_that_cannot_be(share):
    with pytest.raises(SlafError, match="test_share must be a number above 0 and below 1"):
        draw(10, seeded(), share)

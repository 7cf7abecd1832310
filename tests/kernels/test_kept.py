"""What a learned family keeps for backward: the memory of its input, which others may keep too, and under a checkpoint nothing."""

import copy

import pytest
import torch
from families import FAMILIES, equal, made, pair, step
from torch.utils.checkpoint import checkpoint


def kept_by(function, x):
    """The storages of what autograd keeps, by address, and their bytes."""
    found = {}

    def pack(t):
        found[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        y = function(x)
    return y, found


def block(act):
    return lambda x: act(x.sin()).cos()


def under_checkpoint(act):
    return lambda x: checkpoint(block(act), x, use_reentrant=False)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("spec", FAMILIES.values(), ids=FAMILIES)
def test_the_input_itself_is_kept_and_no_copy(spec, training):
    act, (x, _) = made(spec).train(training), pair()
    _, found = kept_by(act, x)
    assert x.untyped_storage().data_ptr() in found
    del found[x.untyped_storage().data_ptr()]
    assert sum(found.values()) < x.nbytes / 4  # coefficients


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("spec", FAMILIES.values(), ids=FAMILIES)
def test_in_a_checkpoint_nothing_is_kept_and_all_is_the_same(spec, training):
    act, (x, g) = made(spec).train(training), pair()
    other = copy.deepcopy(act)
    for _ in range(2):
        twin = copy.deepcopy(act)
        wanted, found = step(block(act), act, x, g), step(under_checkpoint(twin), twin, x, g)
        for a, b in zip(found, wanted, strict=True):  # terms are measured about the running mean, which has moved meanwhile
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5) if training and getattr(act, "normalize", "") == "batch" else equal(
                [a], [b]
            )
        equal(twin.buffers(), act.buffers())  # statistics are counted once
    _, kept = kept_by(under_checkpoint(other), x)
    assert set(kept) <= {x.untyped_storage().data_ptr()}


@pytest.mark.parametrize("spec", ["slaf", "slaf(degree=3, normalize=batch)", "slaf(basis=rbf)"])
def test_definitions_count_once_too(spec):
    act, (x, g) = made(spec).double(), pair(dtype=torch.float64)
    twin = copy.deepcopy(act)
    wanted, found = step(block(act), act, x, g), step(under_checkpoint(twin), twin, x, g)
    for a, b in zip([*found, *twin.buffers()], [*wanted, *act.buffers()], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)

"""``Sketch`` against dense float64 numpy: moments exact, quantiles within their rank error, merges, odd inputs."""

import copy
import json
import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from slaf.core import SlafError
from slaf.surgery.sketch import Sketch

SHARES = np.linspace(0, 1, 401)


def sketch_of(*tensors: torch.Tensor, **options: int) -> Sketch:
    sketch = Sketch(**options)
    for x in tensors:
        sketch.update(x)
    return sketch


def rank_error(sketch: Sketch, values: np.ndarray) -> float:
    """The largest distance of a wanted share from the shares that its quantile has in ``values``."""
    ordered, found = np.sort(values, axis=None), sketch.quantile(SHARES).numpy()
    below, upto = (np.searchsorted(ordered, found, side) / ordered.size for side in ("left", "right"))
    return float(np.maximum(below - SHARES, SHARES - upto).max())


def same_moments(a: Sketch, b: Sketch) -> None:
    assert (a.count, a.nonfinite, a.min, a.max) == (b.count, b.nonfinite, b.min, b.max)
    np.testing.assert_allclose([a.mean, a.std], [b.mean, b.std], rtol=1e-9, atol=1e-9)


@given(
    st.lists(st.lists(st.floats(-1e6, 1e6, width=32), max_size=40), max_size=8),
    st.sampled_from([torch.float64, torch.float32, torch.bfloat16, torch.float16]),
)
@settings(max_examples=60, deadline=None)
def test_moments_are_those_of_all_elements(parts: list[list[float]], dtype: torch.dtype) -> None:
    tensors = [torch.tensor(p, dtype=torch.float64).clamp(-6e4, 6e4).to(dtype) for p in parts]
    sketch = sketch_of(*tensors)
    seen = np.concatenate([np.empty(0), *(t.double().numpy() for t in tensors)])
    assert sketch.count == seen.size
    if not seen.size:
        assert all(math.isnan(v) for v in (sketch.mean, sketch.std, sketch.min, sketch.max, sketch.quantile(0.5)))
        return
    assert (sketch.min, sketch.max) == (seen.min(), seen.max())
    np.testing.assert_allclose([sketch.mean, sketch.std], [seen.mean(), seen.std()], rtol=1e-10, atol=1e-9)
    np.testing.assert_allclose(sketch.quantile(SHARES).numpy(), np.quantile(seen, SHARES), rtol=1e-12, atol=1e-9)


@given(st.integers(0, 10_000), st.sampled_from([64, 256]), st.integers(1, 5))
@settings(max_examples=30, deadline=None)
def test_merging_in_any_order_gives_one_summary(seed: int, capacity: int, channels: int) -> None:
    random = torch.Generator().manual_seed(seed)
    tensors = [torch.randn(50, channels, 9, generator=random) * s + s for s in (0.1, 1.0, 10.0)]
    a, b, c = (sketch_of(t, channel_dim=1, capacity=capacity) for t in tensors)
    left = copy.deepcopy(a).merge(b).merge(c)
    right = copy.deepcopy(a).merge(copy.deepcopy(b).merge(c))
    whole = sketch_of(*tensors, channel_dim=1, capacity=capacity)
    seen = torch.cat(tensors).double()
    for sketch in (left, right):
        same_moments(sketch, whole)
        assert torch.allclose(sketch.channel_mean, seen.mean((0, 2)), rtol=1e-9)
        assert torch.allclose(sketch.channel_var, seen.var((0, 2), correction=0), rtol=1e-9)
        assert rank_error(sketch, seen.numpy()) < 5 / capacity**0.9
        assert float(sketch.sample()[1].sum()) == sketch.count
    assert b.count == tensors[1].numel(), "the merged one stays as it was"


@pytest.mark.parametrize("arrangement", ["one tensor", "many", "sorted", "waves", "skewed", "channels"])
def test_rank_error_at_ten_million_values(arrangement: str) -> None:
    x = torch.randn(10_000_000, generator=torch.Generator().manual_seed(3))
    if arrangement == "sorted":
        x = x.sort().values
    elif arrangement == "waves":  # in step with any fixed stride that is a power of two
        x = torch.arange(10_000_000).remainder(256).float()
    elif arrangement == "skewed":
        x = x.mul_(3).exp_()
    elif arrangement == "channels":
        x = (x.view(-1, 100) + torch.arange(100.0)).view(-1)
    sketch = sketch_of(*(x.split(9_973) if arrangement in ("many", "channels") else (x,)))
    assert sketch.count == x.numel()
    assert (sketch.min, sketch.max) == (float(x.min()), float(x.max()))
    points, weights = sketch.sample()
    assert len(points) <= sketch.capacity + 2, "memory does not grow"
    assert float(weights.sum()) == x.numel()
    assert rank_error(sketch, x.numpy()) < 0.01
    assert np.isclose(sketch.mean, x.double().mean(), rtol=1e-9)


@pytest.mark.parametrize("view", ["plain", "channels_last", "transposed", "slice", "expanded"])
def test_channels_in_every_memory_layout(view: str) -> None:
    x = torch.randn(6, 5, 4, 3, generator=torch.Generator().manual_seed(0)) + torch.arange(5.0).view(1, 5, 1, 1)
    if view == "channels_last":
        x = x.to(memory_format=torch.channels_last)
    elif view == "transposed":
        x = x.transpose(2, 3)
    elif view == "slice":
        x = x[:, :, ::2]
    elif view == "expanded":
        x = x[:1].expand(4, -1, -1, -1)
    sketch, dense = sketch_of(x, x * 2, channel_dim=-3), torch.cat([x, x * 2]).double()
    assert torch.allclose(sketch.channel_mean, dense.mean((0, 2, 3)))
    assert torch.allclose(sketch.channel_var, dense.var((0, 2, 3), correction=0))
    np.testing.assert_allclose(sketch.quantile([0.1, 0.5]).numpy(), np.quantile(dense.numpy(), [0.1, 0.5]))


def test_tensors_larger_than_a_piece() -> None:
    x = torch.randn(3, 2, 700_001, generator=torch.Generator().manual_seed(1)) * torch.tensor([1.0, 2.0]).view(1, 2, 1)
    sketch = sketch_of(x, channel_dim=1)
    assert sketch.count == x.numel()
    assert torch.allclose(sketch.channel_var, x.double().var((0, 2), correction=0))
    assert rank_error(sketch, x.numpy()) < 0.01


def test_non_finite_elements_are_counted_apart() -> None:
    x = torch.randn(8, 3, 5)
    broken = x.clone()
    broken[0, 0, :3] = torch.tensor([math.nan, math.inf, -math.inf])
    broken[:, 2] = math.nan
    sketch = sketch_of(broken, channel_dim=1)
    kept = broken[torch.isfinite(broken)].double().numpy()
    assert (sketch.count, sketch.nonfinite) == (kept.size, 3 + 40)
    np.testing.assert_allclose([sketch.mean, sketch.std, sketch.min, sketch.max], [kept.mean(), kept.std(), kept.min(), kept.max()])
    np.testing.assert_allclose(sketch.quantile(0.3), np.quantile(kept, 0.3))
    assert sketch.channel_mean.isnan().tolist() == sketch.channel_var.isnan().tolist() == [False, False, True]
    told = json.loads(json.dumps(sketch.to_dict(), allow_nan=False))
    assert told["channel_mean"][2] is None
    assert told["nonfinite"] == 43


def test_only_non_finite_or_nothing() -> None:
    for x in (torch.full((4, 2), math.nan), torch.zeros(0, 2), torch.zeros(3, 2, 0)):
        sketch = sketch_of(x, channel_dim=1)
        assert sketch.count == 0
        assert json.loads(json.dumps(sketch.to_dict(), allow_nan=False))["mean"] is None
        assert "count=0" in repr(sketch)
        with pytest.raises(SlafError, match="finite"):
            sketch.density()
        with pytest.raises(SlafError, match="finite"):
            sketch.histogram()


@pytest.mark.parametrize("n", [1, 3, 100_000])
def test_constant_input(n: int) -> None:
    sketch = sketch_of(torch.full((n,), 0.1))
    value = float(torch.tensor(0.1))
    assert (sketch.count, sketch.mean, sketch.std, sketch.quantile(0.37)) == (
        n,
        pytest.approx(value, rel=1e-14),
        pytest.approx(0, abs=1e-15),
        value,
    )
    assert float(sketch.histogram(8)[0].sum()) == n
    points, weights = sketch.density().nodes()
    assert bool((points == value).all())
    assert float(weights.sum()) == pytest.approx(1)


def test_large_offset_keeps_its_digits() -> None:
    x = torch.randn(100_000, dtype=torch.float64, generator=torch.Generator().manual_seed(2)) + 1e8
    assert sketch_of(*x.split(97)).std == pytest.approx(x.numpy().std(), rel=1e-7)


def test_density_and_histogram_hold_the_extremes() -> None:
    x = torch.randn(300_000, generator=torch.Generator().manual_seed(5))
    x[17], x[99] = -40.0, 50.0
    sketch = sketch_of(*x.split(1000))
    points, weights = sketch.density().nodes()
    assert (float(points[0]), float(points[-1])) == (-40.0, 50.0)
    assert float(weights[0]) == pytest.approx(1 / 300_000)
    assert float((weights * points).sum()) == pytest.approx(float(x.mean()), abs=0.01)
    counts, edges = sketch.histogram(32)
    exact = np.histogram(x.numpy(), bins=edges.numpy())[0]
    assert float(counts.sum()) == 300_000
    assert (len(edges), float(edges[0]), float(edges[-1])) == (33, -40.0, 50.0)
    assert np.abs(np.cumsum(counts.numpy()) - np.cumsum(exact)).max() < 0.01 * 300_000


def test_the_same_calls_give_the_same_numbers_and_leave_the_global_generators_alone() -> None:
    x = torch.randn(200_000)
    states = torch.get_rng_state(), np.random.get_state()[1].copy()
    first, second = sketch_of(*x.split(999)), sketch_of(*x.split(999))
    assert torch.equal(states[0], torch.get_rng_state())
    assert np.array_equal(states[1], np.random.get_state()[1])
    assert torch.equal(first.sample()[0], second.sample()[0])
    again = pickle.loads(pickle.dumps(first))
    assert torch.equal(again.quantile(SHARES), first.quantile(SHARES))
    x.requires_grad_()
    first.update(x)
    assert first.count == 400_000


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(SlafError, match="capacity must be an integer of 64 or more; got 10"):
        Sketch(capacity=10)
    with pytest.raises(SlafError, match="channel_dim must be an integer or None"):
        Sketch(channel_dim=1.5)
    with pytest.raises(SlafError, match=r"floating dtype; got torch\.int64"):
        Sketch().update(torch.arange(3))
    with pytest.raises(SlafError, match="floating dtype; got list"):
        Sketch().update([1.0])
    with pytest.raises(SlafError, match=r"shape \(3,\) has no channel_dim=1"):
        Sketch(channel_dim=1).update(torch.zeros(3))
    with pytest.raises(SlafError, match="5 channels in dimension 1; before there were 4"):
        sketch_of(torch.zeros(2, 4), torch.zeros(2, 5), channel_dim=1)
    with pytest.raises(SlafError, match="q must be in"):
        sketch_of(torch.zeros(3)).quantile(1.5)
    with pytest.raises(SlafError, match="bins must be a positive integer; got 0"):
        sketch_of(torch.zeros(3)).histogram(0)
    with pytest.raises(SlafError, match="4 and 5"):
        sketch_of(torch.zeros(2, 4), channel_dim=1).merge(sketch_of(torch.zeros(2, 5), channel_dim=1))
    with pytest.raises(SlafError, match="do not merge"):
        Sketch(channel_dim=1).merge(Sketch())
    with pytest.raises(SlafError, match="must be a Sketch; got int"):
        Sketch().merge(3)

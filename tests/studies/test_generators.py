"""The studies' data against the stated formulas."""

import math

import pytest
import torch

from slaf import SlafError
from slaf.studies.digits import Digits
from slaf.studies.sparse_polynomials import SparsePolynomials, sparse_polynomial
from slaf.studies.spirals import Spirals, two_spirals

END = 780 * 2 * math.pi / 360


@pytest.mark.parametrize("turns", [1.0, 2.0])
def test_spiral_points_lie_on_the_curve(turns):
    x, y = two_spirals(2000, turns, noise=0.0, generator=torch.Generator().manual_seed(0))
    assert x.shape == (4000, 2)
    assert torch.equal(y[:, 0], (torch.arange(4000) >= 2000).float())
    assert torch.equal(x[2000:], -x[:2000])
    t = x[:2000].double().norm(dim=1)
    assert float(t.max()) <= END + 1e-4
    torch.testing.assert_close(x[:2000, 0].double(), -t * torch.cos(turns * t), atol=1e-3, rtol=0)
    torch.testing.assert_close(x[:2000, 1].double(), t * torch.sin(turns * t), atol=1e-3, rtol=0)


def test_spiral_radius_and_noise_have_the_stated_laws():
    n = 200_000
    clean, _ = two_spirals(n, 2.0, 0.0, torch.Generator().manual_seed(0))
    noisy, _ = two_spirals(n, 2.0, 0.1, torch.Generator().manual_seed(0))
    # (t / end)^2 is uniform
    u = (clean[:n].double().norm(dim=1) / END).square()
    assert float(u.mean()) == pytest.approx(1 / 2, abs=3e-3)
    assert float(u.var()) == pytest.approx(1 / 12, abs=2e-3)
    noise = (noisy - clean)[:n].double()
    assert float(noise.min()) > -1e-5
    assert float(noise.max()) < 0.1 + 1e-5
    assert float(noise.mean()) == pytest.approx(0.05, abs=5e-4)
    assert float(noise.var()) == pytest.approx(0.01 / 12, rel=0.02)


def test_the_paper_sizes_of_the_spirals():
    settings = Spirals.budgets["full"]
    data = Spirals().data(0, settings)
    assert data.train[0].shape == (160_000, 2)
    assert data.test[1].shape == (40_000, 1)
    assert float(data.train[1].mean()) == pytest.approx(0.5, abs=5e-3)
    assert settings == Spirals.budgets["paper"]
    recipe = Spirals().recipe(settings, data)
    assert (recipe.epochs, recipe.batch_size, recipe.clip) == (15, 256, 5.0)
    assert [recipe.lr_at(e) for e in (0, 7, 8, 9, 10, 14)] == [1e-2, 1e-2, 1e-3, 1e-3, 1e-4, 1e-4]


def test_sparse_polynomials_are_sums_of_products():
    x, y, indices = sparse_polynomial(500, 20, 5, 3, torch.Generator().manual_seed(0))
    assert indices.shape == (5, 3)
    rows = [sum(math.prod(float(row[i]) for i in term) for term in indices.tolist()) for row in x[:50]]
    torch.testing.assert_close(y[:50, 0], torch.tensor(rows), rtol=1e-4, atol=1e-5)


def test_sparse_indices_are_drawn_with_replacement_and_inputs_are_standard_normal():
    _, _, indices = sparse_polynomial(1, 10, 5000, 3, torch.Generator().manual_seed(0))
    x, _, _ = sparse_polynomial(20_000, 10, 1, 3, torch.Generator().manual_seed(0))
    assert torch.equal(indices.unique(), torch.arange(10))
    distinct = torch.tensor([len(set(term)) == 3 for term in indices.tolist()]).double().mean()
    assert float(distinct) == pytest.approx(0.9 * 0.8, abs=0.03)
    assert float(x.mean()) == pytest.approx(0, abs=0.01)
    assert float(x.std()) == pytest.approx(1, abs=0.01)


def test_the_paper_sizes_and_schedules_of_the_sparse_polynomials():
    study = SparsePolynomials()
    settings = study.budgets["full"] | {"samples": 1000}
    data = study.data(0, settings)
    assert data.train[0].shape == (700, 100)
    assert data.spec == {"widths": (512, 512)}
    assert len(data.truth["monomials"]) == 10
    paper = study.recipe(study.budgets["paper"], data)
    assert [paper.lr_at(e) for e in (0, 199, 200, 999, 1000)] == [1e-2, 1e-2, 1e-3, 1e-3, 1e-4]
    harder = study.recipe(study.budgets["paper"] | {"degree": 4}, data)
    assert [harder.lr_at(e) for e in (0, 200, 1000, 2000)] == [1e-3, 1e-4, 1e-5, 1e-4]


def test_digits_are_split_by_the_seed_without_overlap():
    pytest.importorskip("sklearn")
    study = Digits()
    a, b, again = (study.data(seed, study.budgets["smoke"]) for seed in (0, 1, 0))
    assert a.train[0].shape == (1257, 64)
    assert a.test[0].shape == (540, 64)
    assert torch.equal(a.train[0], again.train[0])
    assert not torch.equal(a.train[0], b.train[0])
    assert (float(a.train[0].min()), float(a.train[0].max())) == (-1.0, 1.0)
    rows = {tuple(row) for part in (a.train[0], a.test[0]) for row in part.tolist()}
    assert len(rows) == 1797  # no two images are equal, so none is on both sides
    assert [f.name for f in study.files()] == ["digits.csv.gz"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: two_spirals(0), "points must be a positive integer; got 0"),
        (lambda: two_spirals(5, noise=-1.0), "noise one of at least 0"),
        (lambda: sparse_polynomial(10, degree=0), "degree must be a positive integer; got 0"),
    ],
)
def test_sizes_that_make_no_sense_are_one_sentence(call, message):
    with pytest.raises(SlafError, match=message):
        call()

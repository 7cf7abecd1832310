"""The studies of the user's own data, on tiny generated files."""

import struct

import numpy as np
import pytest
import torch
from torch import nn

from slaf import SlafError
from slaf.compare import make_plan
from slaf.compare.plan import find_study
from slaf.studies._mlp import predict
from slaf.studies.images import paper_cnn

pytest.importorskip("pandas")


def relu(slot="hidden", width=None):  # noqa: ARG001
    return nn.ReLU()


def run(study, budget, seed=0, **changes):
    settings = {**study.budgets[budget], **changes}
    data = study.data(seed, settings)
    torch.manual_seed(seed)
    model = study.build(relu, data)
    trace = study.train(model, data, settings, seed, lambda *_: None)
    return data, trace, study.metrics(model, data)


@pytest.fixture
def table(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 3))
    price = 100 + 20 * np.sin(2 * x[:, 0]) + 10 * x[:, 1] * x[:, 2]
    path = tmp_path / "houses.csv"
    rows = [f"{a:.4f},{b:.4f},{c:.4f},{p:.3f},{'dear' if p > 100 else 'cheap'}" for (a, b, c), p in zip(x, price, strict=True)]
    path.write_text("a,b,c,price,kind\n" + "\n".join(rows) + "\n")
    return path


def idx(folder, count=60, size=8, name="train"):
    labels = np.arange(count, dtype=np.uint8) % 3
    pixels = np.random.default_rng(count).integers(0, 60, (count, size, size), dtype=np.uint8)
    for label in range(3):  # a bright bar whose place is the class
        pixels[labels == label, 2 * label : 2 * label + 2] += 150
    for what, array in (("images", pixels), ("labels", labels)):
        head = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
        (folder / f"{name}-{what}-idx{array.ndim}-ubyte").write_bytes(head + array.tobytes())
    return folder


def test_a_regression_is_ranked_by_its_share_of_the_variance(table):
    study = find_study("table", {"data": str(table), "target": "price"})
    assert study.ranked_by(study.budgets["small"]) == ("nmse", "min")
    data, trace, metrics = run(study, "small", ignore="kind", lr=3e-3)
    assert trace.finite
    assert trace.steps == 3 * 100  # 320 rows are 3 batches
    assert set(metrics) == {"nmse", "rmse", "loss"}
    assert metrics["nmse"] < 0.3
    prices = np.loadtxt(table, delimiter=",", skiprows=1, usecols=3)
    held_out = data.test[1].double() * data.spec["target_std"]
    assert metrics["rmse"] == pytest.approx((metrics["nmse"] * float(held_out.var(correction=0))) ** 0.5, rel=1e-4)
    assert 0.8 * prices.std() < data.spec["target_std"] < 1.2 * prices.std()
    assert any("regression" in note for note in data.notes)


def test_a_classification_is_ranked_by_accuracy(table):
    study = find_study("table", {"data": str(table), "target": "kind"})
    assert study.ranked_by(study.budgets["small"]) == ("accuracy", "max")
    data, trace, metrics = run(study, "smoke")
    assert set(metrics) == {"accuracy", "balanced_accuracy", "loss"}
    assert metrics["accuracy"] > 0.9
    assert trace.history["loss"][-1] < trace.history["loss"][0]
    again = run(study, "smoke")[2]
    assert again == metrics
    assert data.train[0].shape == (320, 4)
    assert study.ranked_by({**study.budgets["small"], "categorical": "price", "ignore": "a"}) == ("accuracy", "max")


def test_balanced_accuracy_is_the_mean_recall(table):
    study = find_study("table", {"data": str(table), "target": "kind"})
    data = study.data(0, study.budgets["smoke"])
    always = nn.Linear(4, 2)
    nn.init.zeros_(always.weight)
    always.bias.data = torch.tensor([1.0, 0.0])
    metrics = study.metrics(always, data)
    assert metrics["balanced_accuracy"] == pytest.approx(0.5)
    assert metrics["accuracy"] == pytest.approx(float((data.test[1] == 0).double().mean()))


def test_steps_are_whole_epochs(table):
    study = find_study("table", {"data": str(table), "target": "price"})
    budget = dict(study.budgets["small"])
    data = study.data(0, budget)
    for steps, epochs in ((1, 1), (3, 1), (30, 10), (31, 10), (3000, 100)):
        assert study.recipe({**budget, "steps": steps}, data).epochs == epochs
    for wrong in ({"steps": 0}, {"batch_size": 0}):
        with pytest.raises(SlafError, match="must be an integer of at least 1; got 0"):
            study.recipe({**budget, **wrong}, data)


def test_a_file_is_parsed_once_until_it_changes(table, monkeypatch):
    import slaf.studies._given as given

    parsed = []
    real = given.read_table
    monkeypatch.setattr(given, "read_table", lambda *a, **k: parsed.append(1) or real(*a, **k))
    study = find_study("table", {"data": str(table), "target": "price"})
    budget = study.budgets["smoke"]
    first = study.data(0, budget)
    for seed in (0, 1):
        study.data(seed, budget)
    study.ranked_by(budget)
    assert len(parsed) == 1
    study.data(0, {**budget, "ignore": "a"})
    assert len(parsed) == 2
    before = study.fingerprint()
    table.write_text(table.read_text() + "1,2,3,4,dear\n")
    assert study.fingerprint() != before
    assert len(study.data(0, budget).test[1]) == len(first.test[1])
    assert len(study.data(0, budget).train[1]) == len(first.train[1]) + 1
    assert len(parsed) == 3


def test_plans_name_what_is_wrong(table, tmp_path):
    def plan(study, options=None, **given):
        return make_plan(study, ["relu"], 1, "smoke", options, given=given)

    with pytest.raises(SlafError, match="study table needs --target: the column to predict"):
        plan("table", data=str(table))
    with pytest.raises(SlafError, match="no column 'prize'; did you mean 'price'"):
        plan("table", data=str(table), target="prize")
    with pytest.raises(SlafError, match="there is no such file"):
        plan("table", data=str(tmp_path / "no.csv"), target="price")
    with pytest.raises(SlafError, match="task must be one of"):
        plan("table", {"task": "guess"}, data=str(table), target="price")
    with pytest.raises(SlafError, match="test_share must be a number above 0 and below 1"):
        plan("table", {"test_share": "1.5"}, data=str(table), target="price")
    with pytest.raises(SlafError, match="target kind holds text"):
        plan("table", {"task": "regression"}, data=str(table), target="kind")
    with pytest.raises(SlafError, match="takes no --target"):
        plan("images", data=str(table), target="kind")
    assert plan("table", {"ignore": "kind"}, data=str(table), target="price").common.data_hash


@pytest.mark.parametrize("name", ["images", "mnist"])
def test_images_are_learned(tmp_path, name):
    study = find_study(name, {"data": str(idx(tmp_path))})
    assert study.ranked_by(study.budgets["small"]) == ("accuracy", "max")
    data, trace, metrics = run(study, "smoke", batch_size=16)
    assert data.train[0].shape == (48, 1, 8, 8)
    assert metrics["accuracy"] > 0.9
    assert set(metrics) == {"accuracy", "loss"}
    assert trace.finite
    assert run(study, "smoke", batch_size=16)[2] == metrics
    idx(tmp_path, 30, name="t10k")
    data = study.data(0, {**study.budgets["smoke"], "images": 20})
    assert (len(data.train[1]), len(data.test[1])) == (20, 20)
    assert data.notes[0] == "only 20 of the 60 training images are used (images=20)"


def test_the_network_is_the_papers_for_any_size():
    made = []

    def make(slot, width):
        made.append((slot, width))
        return nn.ReLU()

    for shape in ((1, 28, 28), (3, 32, 32), (1, 5, 7), (3, 1, 1)):
        assert paper_cnn(make, shape, 10)(torch.zeros(2, *shape)).shape == (2, 10)
    assert made[:3] == [("convolution", 16), ("convolution", 32), ("dense", 1024)]
    weights = sum(p.numel() for p in paper_cnn(make, (1, 28, 28), 10).parameters())
    assert weights == (25 + 1) * 16 + (16 * 25 + 1) * 32 + (7 * 7 * 32 + 1) * 1024 + 1025 * 10


def test_the_papers_start_and_schedule(tmp_path):
    study = find_study("images", {"data": str(idx(tmp_path, 2000, 4))})
    budget = study.budgets["paper"]
    data = study.data(0, budget)
    model = study.build(relu, data).requires_grad_(False)
    assert (model[0].bias == 0.1).all()
    assert float(model[7].weight.abs().max()) <= 0.2
    assert float(model[7].weight.std()) == pytest.approx(0.1 * 0.88, rel=0.02)  # a normal law cut at two standard deviations
    recipe = study.recipe(budget, data)  # 1,600 images, 32 steps an epoch
    assert [recipe.lr_at(e) for e in (0, 93, 94, 155, 156, 700)] == [1e-2, 1e-2, 1e-3, 1e-3, 5e-5, 5e-5]
    assert (recipe.epochs, recipe.batch_size) == (781, 50)


def test_a_class_that_is_renamed_is_another_comparison(tmp_path):
    image = pytest.importorskip("PIL.Image")
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for i in range(6):
            image.new("L", (8, 8), i * 20 + (name == "dog")).save(tmp_path / name / f"{i}.png")
    study = find_study("images", {"data": str(tmp_path)})
    before = study.fingerprint()
    assert len(study.data(0, {**study.budgets["smoke"], "size": 4}).train[0][0, 0]) == 4
    (tmp_path / "dog").rename(tmp_path / "dogs")
    assert study.fingerprint() != before
    with pytest.raises(SlafError, match=r"study mnist reads IDX files, and .* is a folder of image files: study images takes it"):
        make_plan("mnist", ["relu"], 1, "smoke", given={"data": str(tmp_path)})
    with pytest.raises(SlafError, match=r"study mnist reads IDX files, and a.b:c is a function"):
        make_plan("mnist", ["relu"], 1, "smoke", given={"data": "a.b:c"})


def test_images_too_large_for_the_network(tmp_path):
    study = find_study("images", {"data": str(idx(tmp_path, size=130))})
    with pytest.raises(SlafError, match="images of 130×130 are too large for this network, 128×128 is the most: -o size=64"):
        study.data(0, study.budgets["smoke"])
    assert study.data(0, {**study.budgets["smoke"], "size": 16}).train[0].shape[2:] == (16, 16)
    with pytest.raises(SlafError, match="images must be an integer of at least 0"):
        study.data(0, {**study.budgets["smoke"], "images": -1, "size": 16})
    with pytest.raises(SlafError, match="start must be one of torch, paper"):
        study.data(0, {**study.budgets["smoke"], "start": "papr", "size": 16})


USERS = """
import torch
def rows():
    x = torch.linspace(-1, 1, 120).view(40, 3)
    return x, x.sum(1).square()
def labelled():
    x = torch.linspace(-1, 1, 40)
    return x[:, None], (x > 0).long()
def pictures():
    y = torch.arange(40) % 2
    return (y[:, None, None] * 100 + torch.arange(64).view(8, 8)).to(torch.uint8), y
"""


def test_functions_in_the_place_of_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "users_data.py").write_text(USERS)
    study = find_study("table", {"data": "users_data:rows", "target": "y"})
    assert study.ranked_by(study.budgets["smoke"]) == ("nmse", "min")
    assert len(study.fingerprint()) == 64
    assert study.files() == ()
    assert run(study, "smoke")[2]["nmse"] < 0.5
    study = find_study("table", {"data": "users_data:labelled", "target": "y"})
    assert run(study, "smoke")[2]["accuracy"] > 0.8
    study = find_study("images", {"data": "users_data:pictures"})
    data, _, metrics = run(study, "smoke")
    assert data.train[0].shape == (32, 1, 8, 8)
    assert metrics["accuracy"] == 1
    with pytest.raises(SlafError, match="returned floating-point targets; study images takes"):
        find_study("images", {"data": "users_data:rows"}).data(0, study.budgets["smoke"])
    with pytest.raises(SlafError, match=r"returned inputs of shape \(1,\); study images takes"):
        find_study("images", {"data": "users_data:labelled"}).data(0, study.budgets["smoke"])
    with pytest.raises(SlafError, match="module 'users_data' has no function 'missing'"):
        find_study("table", {"data": "users_data:missing", "target": "y"}).fingerprint()


def test_prediction_takes_large_rows_in_small_batches():
    seen = []

    class Counts(nn.Module):
        def forward(self, x):
            seen.append(len(x))
            return x.flatten(1)[:, :1]

    for shape, largest in (((20_000, 4), 8192), ((9000, 128), 8192), ((3000, 1, 28, 28), 334), ((2, 3, 2000, 2000), 1)):
        seen.clear()
        assert predict(Counts(), torch.zeros(shape)).shape == (shape[0], 1)
        assert max(seen) == largest


def test_the_vision_transformer_reads_square_images_in_patches(tmp_path):
    study = find_study("mnist-vision", {"data": str(idx(tmp_path))})
    budget = {**study.budgets["smoke"], "steps": 4, "width": 8, "hidden": 16}
    data = study.data(0, budget)
    model = study.build(lambda *_: nn.GELU(), data)
    assert model.positions.shape == (4, 8)  # 8×8 pixels in patches of 4×4
    assert study.train(model, data, budget, 0, None).finite
    assert 0 <= study.metrics(model, data)["accuracy"] <= 1
    with pytest.raises(SlafError, match="patch must be the side of squares that tile a square image; got 3 for 8×8"):
        study.data(0, {**budget, "patch": 3})

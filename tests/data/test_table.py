"""Tables against pandas and numpy by hand."""

import csv
import gzip
import io
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from slaf.data import read_table, table_files

pd = pytest.importorskip("pandas")

PASSENGERS = pd.DataFrame(
    {
        "number": range(1, 61),
        "age": [None if i % 7 == 3 else 20 + (i * 37) % 50 for i in range(60)],
        "fare": [7.25 + ((i * 13) % 29) / 8 for i in range(60)],
        "port": [("S", "C", "Q", None)[(i * i) % 4 if i % 5 else 3] for i in range(60)],
        "name": [f"Passenger, Mx. {i}" for i in range(60)],
        "boarded": [f"1912-04-{1 + i % 28:02d}" for i in range(60)],
        "crew": ["true" if i % 3 else "false" for i in range(60)],
        "ship": ["Titanic"] * 60,
        "survived": [int(i % 3 == 1) for i in range(60)],
    }
)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def passengers(tmp_path):
    path = tmp_path / "passengers.csv"
    PASSENGERS.to_csv(path, index=False)
    return path


def written(tmp_path, text, name="t.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_columns_are_what_their_values_say(passengers):
    table = read_table(passengers, "survived")
    assert table.numeric_names == ("age", "fare", "crew")
    assert table.categorical_names == ("port",)
    assert table.levels == (tuple(sorted(PASSENGERS["port"].dropna().unique())),)
    assert (table.task, table.classes, table.rows) == ("classification", ("0", "1"), 60)
    np.testing.assert_array_equal(table.numeric[:, 0], PASSENGERS["age"].to_numpy(np.float32))
    np.testing.assert_array_equal(table.numeric[:, 2], (PASSENGERS["crew"] == "true").to_numpy(np.float32))
    np.testing.assert_array_equal(table.y, PASSENGERS["survived"])
    np.testing.assert_array_equal(table.codes[:, 0] < 0, PASSENGERS["port"].isna())


def test_what_was_done_is_said(passengers):
    table = read_table(passengers, "survived")
    text = "\n".join(table.tensors(seeded()).notes)
    for said in (
        "60 rows: 48 for training, 12 held out (each class by its share)",
        "3 numeric columns, 1 categorical (one-hot; levels: port",
        "4 left out (number: counts the rows; name: text, every value is different; boarded: dates; ship: always 'Titanic')",
        "target survived: classification (auto: 2 different whole numbers), 2 classes",
        f"age: {PASSENGERS['age'].isna().sum()} values missing, the training mean instead and a column that says so",
        "port: ",
    ):
        assert said in text


def test_inputs_are_standardised_by_what_training_shows(passengers):
    table = read_table(passengers, "survived")
    split = table.tensors(seeded(3))
    assert split.features[:4] == ("age", "age missing", "fare", "crew")
    assert split.features[-1] == "port missing"
    (x, y), (x_test, y_test) = split.train, split.test
    assert (x.dtype, y.dtype, x.shape, y.shape) == (torch.float32, torch.int64, (48, len(split.features)), (48,))
    # standardised by training alone, then the same map for both: the fares in order are an affine image of the file's
    fare, found = np.sort(PASSENGERS["fare"]), torch.cat([x, x_test])[:, 2].double().sort().values.numpy()
    np.testing.assert_allclose(found, np.polyval(np.polyfit(fare, found, 1), fare), atol=1e-5)
    assert abs(float(x[:, 2].mean())) < 1e-6
    assert abs(float(x[:, 2].std(correction=0)) - 1) < 1e-6
    missing = x[:, 1] == 1
    assert (x[missing, 0] == 0).all()
    assert abs(float(x[~missing, 0].std(correction=0)) - 1) < 1e-6
    assert (x[:, 4:].sum(1) == 1).all()  # one level, or missing
    assert torch.bincount(y_test).tolist() == [8, 4]
    again = table.tensors(seeded(3))
    assert torch.equal(again.train[0], x)
    assert not torch.equal(table.tensors(seeded(4)).train[0], x)


def test_a_regression_target_is_standardised_and_comes_back(passengers):
    table = read_table(passengers, "fare", task="regression", ignore="number,name")
    split = table.tensors(seeded())
    assert split.train[1].shape == (48, 1)
    assert "target fare: regression" in " ".join(split.notes)
    back = torch.cat([split.train[1], split.test[1]]).double()[:, 0] * split.target_std + split.target_mean
    np.testing.assert_allclose(np.sort(back), np.sort(PASSENGERS["fare"]), rtol=1e-6)
    assert abs(float(split.train[1].mean())) < 1e-6


def test_levels_beyond_the_31_most_frequent_are_one(tmp_path):
    levels = [f"L{i:02d}" for i in range(40)]
    rows = [(level, i) for i, level in enumerate(levels) for _ in range(i + 5)]
    path = written(tmp_path, "level,y\n" + "\n".join(f"{a},{b % 2}" for a, b in rows))
    split = read_table(path, "y").tensors(seeded())
    assert len(split.features) == 32
    assert split.features[-1] == "level=other"
    assert "level=L39" in split.features
    assert "level=L00" not in split.features
    assert (split.train[0].sum(1) == 1).all()
    assert (split.test[0].sum(1) == 1).all()


def test_a_level_or_a_gap_that_training_never_has_gets_no_column(tmp_path):
    rows = [f"a,{i % 2}" for i in range(30)] + ["rare,1"]
    path = written(tmp_path, "level,n,y\n" + "\n".join(f"{r.split(',')[0]},{i % 4},{r[-1]}" for i, r in enumerate(rows)))
    table = read_table(path, "y")
    for seed in range(20):
        split = table.tensors(seeded(seed))
        has = bool((table.codes[:, 0] == 1).any()) and "level=rare" in split.features
        assert has == (split.train[0].shape[1] == 3)


def test_numbers_far_from_zero_keep_their_differences(tmp_path):
    times = [1_700_000_000 + (i * 7) % 31 for i in range(50)]
    path = written(tmp_path, "t,y\n" + "\n".join(f"{t},{i % 2}" for i, t in enumerate(times)))
    table = read_table(path, "y")
    assert len(np.unique(table.numeric)) == 31
    np.testing.assert_allclose(table.numeric[:, 0] + table.centres[0], times, atol=1e-3)


def test_a_column_constant_in_training_alone_is_not_blown_up(tmp_path):
    path = written(tmp_path, "a,b,y\n" + "\n".join(f"{0.1 if i else 0.3},{i % 5},{i % 2}" for i in range(20)))
    table = read_table(path, "y")
    for seed in range(30):
        split = table.tensors(seeded(seed))
        if bool((split.train[0][:, 0] == 0).all()):
            assert float(split.test[0].abs().max()) < 5
            return
    raise AssertionError("row 0 was never held out")


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("decimal", [".", ","])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_delimiters_and_decimal_signs(tmp_path, delimiter, decimal, end):
    text = io.StringIO()
    out = csv.writer(text, delimiter=delimiter, lineterminator=end)
    out.writerow(["a", "b c", "y"])
    out.writerows([f"{i + 0.5}".replace(".", decimal), "x" if i % 2 else 'q "z"', i % 3] for i in range(12))
    path = tmp_path / "t.csv"
    path.write_bytes(b"\xef\xbb\xbf" + text.getvalue().encode())
    table = read_table(path, "y", decimal=decimal)
    assert table.numeric_names == ("a",)
    np.testing.assert_array_equal(table.numeric[:, 0], np.arange(12) + 0.5)
    assert table.levels == (('q "z"', "x"),)


def test_gzip_and_parquet_hold_the_same_table(passengers, tmp_path):
    packed = tmp_path / "p.csv.gz"
    packed.write_bytes(gzip.compress(passengers.read_bytes()))
    tables = [read_table(path, "survived") for path in (passengers, packed)]
    pytest.importorskip("pyarrow")
    frame = PASSENGERS.assign(crew=PASSENGERS["crew"] == "true", boarded=pd.to_datetime(PASSENGERS["boarded"]))
    frame["port"] = frame["port"].astype("category")
    for name in ("p.parquet", "named_otherwise"):
        frame.to_parquet(tmp_path / name)
        tables.append(read_table(tmp_path / name, "survived"))
    first = tables[0].tensors(seeded())
    for table in tables[1:]:
        split = table.tensors(seeded())
        assert split.features == first.features
        assert torch.equal(split.train[0], first.train[0])
        assert torch.equal(split.test[1], first.test[1])
        assert table.notes == tables[0].notes


def test_options(tmp_path):
    path = written(tmp_path, "code,v,y\n" + "\n".join(f"{i % 4:03d},{'-9' if i == 3 else i % 6},{'ab'[i % 2]}" for i in range(20)))
    table = read_table(path, "y", missing="-9,?", categorical="code")
    assert table.levels == (("000", "001", "002", "003"),)
    assert np.isnan(table.numeric[:, 0]).sum() == 1
    assert table.classes == ("a", "b")
    assert read_table(path, "y", ignore="code").categorical_names == ()
    assert read_table(path, "v", task="classification").classes == ("-9", "0", "1", "2", "3", "4", "5")


def test_a_number_column_with_words_only_late_in_the_file_is_text(tmp_path):
    rows = [f"{i},{i % 2}" for i in range(1000)] * 300 + ["word,1"] * 100_000
    path = written(tmp_path, "mixed,y\n" + "\n".join(rows))
    table = read_table(path, "y", ignore="")
    assert table.categorical_names == ("mixed",)
    assert "word" in table.levels[0]
    assert "7" in table.levels[0]


names = st.lists(st.text("abcdefghij_", min_size=1, max_size=6), min_size=2, max_size=4, unique=True)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_round_trip_through_csv(tmp_path_factory, data):
    columns = data.draw(names)
    rows = data.draw(st.integers(10, 40))
    number = st.one_of(st.none(), st.floats(-1e6, 1e6, width=32).filter(lambda v: v == 0 or abs(v) > 1e-6))
    values = {name: data.draw(st.lists(number, min_size=rows, max_size=rows)) for name in columns[1:]}
    labels = data.draw(st.lists(st.sampled_from(["cat", "dog, wild", 'a "b"', "line\nend"]), min_size=rows, max_size=rows))
    labels[:2] = ["cat", "dog, wild"]
    if all(len(set(v)) < 2 for v in values.values()):
        return
    frame = pd.DataFrame({columns[0]: labels, **values})
    path = tmp_path_factory.mktemp("round") / "t.csv"
    frame.to_csv(path, index=False)
    table = read_table(path, columns[0])
    assert [table.classes[i] for i in table.y] == labels
    for name in columns[1:]:
        if name in table.numeric_names:
            j = table.numeric_names.index(name)
            wanted = np.array([np.nan if v is None else v for v in values[name]])
            np.testing.assert_allclose(table.numeric[:, j] + table.centres[j], wanted, rtol=2e-6, atol=1e-6)
        else:
            there = set(values[name])
            counted = None not in there and values[name][0] in (0, 1) and np.all(np.diff(np.array(values[name], float)) == 1)
            assert len(there) == 1 or counted


def test_files_are_named_and_nothing_heavy_is_imported(passengers):
    assert table_files(passengers) == (passengers,)
    code = "import sys, slaf.data; print(*{'pandas', 'pyarrow', 'PIL'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == ""

"""What a table reader refuses: one sentence that names the thing; and nothing else ever comes out of a damaged file."""

import gzip
import random

import pytest
import torch

from slaf.core import SlafError
from slaf.data import read_table, table_files

pytest.importorskip("pandas")

PLAIN = "a,b,c,y\n" + "".join(f"{i * 0.5},{i % 3},{'uvw'[i % 3]},{i % 2}\n" for i in range(20))


def lines(**changed):
    """PLAIN with whole lines replaced, by their number (line2="…")."""
    rows = PLAIN.splitlines()
    for name, text in changed.items():
        rows[int(name.removeprefix("line")) - 1] = text
    return "\n".join(rows) + "\n"


def column(values, name="v"):
    """A table of one column beside the target."""
    return f"{name},y\n" + "".join(f"{value},{i % 2}\n" for i, value in enumerate(values))


CASES = {
    "empty file": ("", {}, ["is empty: a table needs a first line of column names"]),
    "blank lines": ("\n\n", {}, ["is empty"]),
    "header alone": ("a,b,y\n", {}, ["holds a line of column names and no rows"]),
    "few rows": ("a,y\n1,2\n3,4\n", {}, ["has 2 rows: at least 10 are needed"]),
    "zero bytes": (b"a,y\n1\0,2\n", {}, ["is not a table: it is binary"]),
    "spreadsheet": (b"PK\x03\x04 and so on", {}, ["it is a spreadsheet or a zip archive; CSV (also .gz), TSV and Parquet are read"]),
    "utf-16": (PLAIN.encode("utf-16"), {}, ["is UTF-16 text; save the file as UTF-8"]),
    "latin-1": (lines(line3="1,2,é,1").encode("latin-1"), {}, ["is not UTF-8 text: line 3 holds the byte 0xe9; save the file as UTF-8"]),
    "latin-1 late": (
        (PLAIN + "1,2,u,1\n" * 20_000 + "1,2,é,1\n").encode("latin-1"),
        {},
        ["is not UTF-8 text: line 20022 holds the byte 0xe9"],
    ),
    "no header": (PLAIN.split("\n", 1)[1].replace("u", "1").replace("v", "2").replace("w", "3"), {}, ["the first line holds numbers"]),
    "names twice": (PLAIN.replace("a,b,c,y", "a,b,a,y"), {}, ["has two columns named 'a'; rename one"]),
    "too short a row": (lines(line5="1,2,u"), {}, ["line 5 has 3 fields where the header has 4"]),
    "too long a row": (lines(line5="1,2,u,1,9"), {}, ["line 5 has 5 fields where the header has 4"]),
    "long row after a quoted line end": (
        lines(line2='1,2,"u\nu",1', line5="1,2,u,1,9"), {},
        ["line 6 has 5 fields where the header has 4"],
    ),
    "row names": (lines(line1="b,c,y"), {}, ["the first row has 4 fields where the header has 3"]),
    "open quote": (lines(line5='1,2,"u,1'), {}, ["a quotation mark in line 5 is never closed"]),
    "other delimiter": (PLAIN.replace(",", ";"), {"delimiter": ","}, ["is one column when separated by ','", "-o delimiter=semicolon"]),
    "wrong delimiter": (PLAIN, {"delimiter": "semicolons"}, ["delimiter must be one of", "did you mean 'semicolon'"]),
    "wrong decimal": (PLAIN, {"decimal": ";"}, ["decimal must be one of"]),
    "wrong task": (PLAIN, {"task": "classify"}, ["task must be one of", "did you mean 'classification'"]),
    "wrong target": (
        PLAIN.replace("y", "price", 1), {"target": "prize"},
        ["no column 'prize'; did you mean 'price'?; it has a, b, c, price"],
    ),
    "wrong ignore": (PLAIN, {"ignore": "cc"}, ["ignore: ", "no column 'cc'; did you mean 'c'?"]),
    "wrong categorical": (PLAIN, {"categorical": "a, bb"}, ["categorical: ", "no column 'bb'"]),
    "missing is no text": (PLAIN, {"missing": 3}, ["missing must be text"]),
    "ignored target": (PLAIN, {"ignore": "y"}, ["ignore must not name the target 'y'"]),
    "max_rows": (PLAIN, {"max_rows": 12}, ["rows (0 MB), more than max_rows=12: -o max_rows=N reads more"]),
    "max_rows is no number": (PLAIN, {"max_rows": "many"}, ["max_rows must be an integer of at least 10; got 'many'"]),
    "word among numbers": (
        lines(line7="oops,1,u,1"),
        {},
        ["column a holds numbers but for 1 of its 20 values, the first being 'oops' in line 7", "-o missing=oops", "-o categorical=a"],
    ),
    "decimal comma": (
        column([f'"{i},5"' for i in range(12)]),
        {},
        ["column v holds numbers with ','", "such as '0,5': -o decimal=, reads it as the decimal sign"],
    ),
    "decimal point": (column([f"{i}.5" for i in range(12)]).replace(",", ";"), {"decimal": ","}, ["numbers with '.'", "-o decimal=."]),
    "infinity": (lines(line4="inf,1,u,1"), {}, ["column a holds inf in line 4", "-o ignore=a"]),
    "too large": (lines(line4="-1e39,1,u,1"), {}, ["column a holds -1e+39 in line 4: a number must be finite and below 3.4e38"]),
    "target missing": (
        lines(line6="1,2,u,", line9="1,2,u,NA"), {},
        ["target y is missing in 2 of 20 rows, first in line 6: remove those rows"],
    ),
    "one class": (PLAIN.replace(",0\n", ",1\n"), {}, ["target y is always '1': there is nothing to predict"]),
    "one number": (PLAIN.replace(",0\n", ",1\n"), {"task": "regression"}, ["target y is always 1"]),
    "text regression": (PLAIN, {"target": "c", "task": "regression"}, ["target c holds text, such as 'u': task=regression needs numbers"]),
    "many classes": (
        column(range(1200)), {"target": "v", "task": "classification"},
        ["1,200 classes", "task=regression predicts a number"],
    ),
    "many words": (column([f"w{i}" for i in range(1200)]), {"target": "v"}, ["target v has 1,200 classes", "is it the right column?"]),
    "date target": (column([f"2020-01-{i + 1:02d}" for i in range(12)]), {"target": "v"}, ["target v holds dates"]),
    "target alone": ("y\n" + "1\n2\n" * 10, {}, ["has no column left to predict y from"]),
    "nothing left": (column([7] * 12), {}, ["has no column left to predict y from (v: always 7)"]),

}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_one_sentence(tmp_path, case):
    content, options, said = CASES[case]
    path = tmp_path / "t.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SlafError) as error:
        read_table(path, **({"target": "y"} | options)).tensors(torch.Generator().manual_seed(0))
    message = str(error.value)
    assert "\n" not in message
    for part in said:
        assert part in message
    assert type(error.value) is SlafError


def test_an_error_has_no_other_behind_it(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(lines(line5="1,2,u,1,9"))
    with pytest.raises(SlafError) as error:
        read_table(path, "y")
    assert error.value.__cause__ is None or error.value.__suppress_context__


def test_files_that_are_not_there(tmp_path, monkeypatch):
    for use in (table_files, lambda p: read_table(p, "y")):
        with pytest.raises(SlafError, match="there is no such file"):
            use(tmp_path / "no.csv")
        with pytest.raises(SlafError, match="is a folder"):
            use(tmp_path)
    path = tmp_path / "t.csv"
    path.write_text(PLAIN)

    def refuse(*_args, **_more):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.open", refuse)
    with pytest.raises(SlafError, match="cannot be read: Permission denied"):
        read_table(path, "y")


def test_gzip_that_is_none_and_gzip_cut_off(tmp_path):
    path = tmp_path / "t.csv.gz"
    path.write_text(PLAIN)
    with pytest.raises(SlafError, match=r"ends in .gz but is not a gzip file"):
        read_table(path, "y")
    packed = gzip.compress((PLAIN * 50).encode())
    for cut in (3, 15, len(packed) // 2, len(packed) - 1):
        path.write_bytes(packed[:cut])
        with pytest.raises(SlafError):
            read_table(path, "y")


def test_damaged_and_long_parquet(tmp_path):
    pytest.importorskip("pyarrow")
    import pandas as pd

    path = tmp_path / "t.parquet"
    path.write_bytes(b"PAR1 and nothing more PAR1")
    with pytest.raises(SlafError, match="is a damaged Parquet file"):
        read_table(path, "y")
    path.write_text(PLAIN)
    with pytest.raises(SlafError, match="is not a Parquet file: it does not begin with PAR1"):
        read_table(path, "y")
    frame = pd.DataFrame({"a": range(5, 35), "l": [[1]] * 30, "e": [None] * 30, "y": [i % 2 for i in range(30)]})
    frame.to_parquet(path)
    with pytest.raises(SlafError, match=r"has 30 rows .* more than max_rows=20"):
        read_table(path, "y", max_rows=20)
    assert "2 left out (l: neither numbers nor text; e: no values)" in read_table(path, "y").notes[0]


def test_a_missing_library_is_named_with_its_command(tmp_path, monkeypatch):
    path = tmp_path / "t.csv"
    path.write_text(PLAIN)
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(SlafError, match=r'reading a table needs pandas.*pip install "slaf\[data\]"'):
        read_table(path, "y")


def attempt(path, **options):
    """Whether a table came of it; anything but a SlafError is a failure of the test."""
    message = ""
    try:
        read_table(path, "y", **options).tensors(torch.Generator().manual_seed(0))
    except SlafError as error:
        message = str(error)
    assert "\n" not in message
    return not message


def test_random_bytes(tmp_path):
    rng = random.Random(0)
    path = tmp_path / "t.csv"
    for _ in range(150):
        alphabet = rng.choice([range(256), b"a,;\n1.", b'a"\n,y0\r', "é,\n\u20281\ty".encode()])
        path.write_bytes(bytes(rng.choice(alphabet) for _ in range(rng.randrange(200))))
        attempt(path)
        path.write_bytes(b"x,y\n" + path.read_bytes())
        attempt(path)


@pytest.mark.parametrize("packed", [False, True])
def test_random_damage(tmp_path, packed):
    rng = random.Random(1)
    path = tmp_path / "t.csv"
    whole = gzip.compress(PLAIN.encode()) if packed else PLAIN.encode()
    came = 0
    for _ in range(200):
        data = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            at, kind = rng.randrange(len(data)), rng.randrange(4)
            if kind == 0:
                data[at] = rng.choice(b',"\n\r;.x9\0\xff') if not packed else rng.randrange(256)
            elif kind == 1:
                del data[at : at + rng.randint(1, 9)]
            elif kind == 2:
                data[at:at] = rng.choice([b'"', b"\n", b",,", b"\r\n\r\n", b"1e999", b"nan", b"  ", b"\xc3\xa9", b"\t"])
            else:
                data = data[:at] + data[at:] * 2
            if not data:
                data = bytearray(b"y")
        path.write_bytes(bytes(data))
        came += attempt(path)
    assert came >= (0 if packed else 20)


def test_random_damage_to_parquet(tmp_path):
    pytest.importorskip("pyarrow")
    import pandas as pd

    rng = random.Random(2)
    path = tmp_path / "t.parquet"
    pd.DataFrame({"a": [i * 0.5 for i in range(40)], "c": ["u", "v"] * 20, "y": [i % 3 for i in range(40)]}).to_parquet(path)
    whole = path.read_bytes()
    for _ in range(100):
        data = bytearray(whole)
        for _ in range(rng.randint(1, 3)):
            data[rng.randrange(4, len(data))] = rng.randrange(256)
        path.write_bytes(bytes(data[: rng.choice([len(data), rng.randrange(1, len(data))])]))
        attempt(path)

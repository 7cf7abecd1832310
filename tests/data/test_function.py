"""Data that a function of the user's returns."""

import itertools
import textwrap

import numpy as np
import pytest
import torch

from slaf.core import SlafError
from slaf.data import arrays_from, is_function, load_function

_count = itertools.count()


@pytest.fixture
def written(tmp_path, monkeypatch):
    """``written(body)`` is the text of a function ``get`` with that body, in a module in the folder the user is in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(body, head=""):
        name = f"users_module_{next(_count)}"
        code = f"import numpy as np\nimport torch\n{textwrap.dedent(head)}\ndef get():\n{textwrap.indent(textwrap.dedent(body), '    ')}\n"
        (tmp_path / f"{name}.py").write_text(code)
        return f"{name}:get"

    return write


X = "x = np.arange(40.0).reshape(20, 2) ** 2\ny = np.arange(20) % 3\n"
DATASET = """
class Rows:
    def __init__(self, n, make):
        self.n, self.make = n, make
    def __len__(self):
        return self.n
    def __getitem__(self, i):
        return self.make(i)
"""


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_its_form(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_function("a.b:c")
    assert not any(map(is_function, ["a.csv", "a:b:c", "a b:c", "/a/b:c", ":c", "a:", "1:2", r"C:\data", "a.b"]))
    (tmp_path / "a:b").write_text("a file")
    assert not is_function("a:b")


FORMS = {
    "arrays": "return x, y",
    "tensors": "return torch.tensor(x), torch.tensor(y)",
    "lists": "return [x.tolist(), y.tolist()]",
    "column": "return x, y[:, None]",
    "data set": "return Rows(20, lambda i: (torch.tensor(x[i]), int(y[i])))",
    "tensor data set": "return torch.utils.data.TensorDataset(torch.tensor(x), torch.tensor(y))",
    "dicts": "return Rows(20, lambda i: {'pixel_values': x[i], 'label': y[i], 'more': None})",
    "dict of train": "return {'train': (x, y)}",
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_one_part(written, form):
    arrays = arrays_from(written(X + FORMS[form], DATASET))
    x = np.arange(40.0).reshape(20, 2) ** 2
    np.testing.assert_array_equal(arrays.train[0].numpy(), x.astype(np.float32))
    assert arrays.train[1].tolist() == [i % 3 for i in range(20)]
    assert arrays.test is None
    assert (arrays.task, arrays.classes) == ("classification", ("0", "1", "2"))
    split = arrays.tensors(seeded())
    assert (len(split.train[1]), len(split.test[1])) == (16, 4)
    torch.testing.assert_close(split.train[0].mean(0), torch.zeros(2), atol=1e-6, rtol=0)
    torch.testing.assert_close(split.train[0].std(0, correction=0), torch.ones(2))


PARTS = {
    "pairs": "return (x, y), (x[:6], y[:6])",
    "lists of pairs": "return [[x, y], [x[:6], y[:6]]]",
    "data sets": "return Rows(20, lambda i: (x[i], y[i])), Rows(6, lambda i: (x[i], y[i]))",
    "dict": "return {'train': (x, y), 'test': (x[:6], y[:6])}",
    "dict of data sets": "return {'train': Rows(20, lambda i: (x[i], y[i])), 'validation': Rows(6, lambda i: (x[i], y[i]))}",
}


@pytest.mark.parametrize("form", PARTS)
def test_forms_of_two_parts(written, form):
    arrays = arrays_from(written(X + PARTS[form], DATASET))
    assert arrays.test is not None
    np.testing.assert_array_equal(arrays.test[0].numpy(), arrays.train[0][:6].numpy())
    split = arrays.tensors(seeded())
    assert (len(split.train[1]), len(split.test[1])) == (20, 6)
    assert "20 for training, 6 held out (as the function says)" in split.notes[0]


def test_targets_say_the_task(written):
    regression = arrays_from(written(X + "return x, y * 0.5 + 1e6"))
    assert regression.task == "regression"
    split = regression.tensors(seeded())
    assert split.train[1].shape == (16, 1)
    back = split.train[1].double() * split.target_std + split.target_mean
    assert set(back.round(decimals=3).flatten().tolist()) == {1e6, 1e6 + 0.5, 1e6 + 1}
    words = arrays_from(written(X + "return x, ['no', 'yes'] * 10"))
    assert words.classes == ("no", "yes")
    assert arrays_from(written(X + "return x, y > 0")).classes == ("0", "1")


def test_pictures(written):
    pytest.importorskip("PIL.Image")
    head = DATASET + "from PIL import Image\n"
    body = "v = np.arange(20 * 48, dtype=np.uint8).reshape(20, 4, 4, 3)\n"
    arrays = arrays_from(written(body + "return Rows(20, lambda i: {'image': Image.fromarray(v[i]), 'label': i % 2})", head))
    v = np.arange(20 * 48).reshape(20, 4, 4, 3) % 256
    assert arrays.train[0].dtype == torch.uint8
    np.testing.assert_array_equal(arrays.train[0].numpy(), np.moveaxis(v, -1, 1))
    same = arrays_from(written(body + "return v, np.arange(20) % 2"))
    assert torch.equal(same.train[0], arrays.train[0])
    x = arrays.tensors(seeded()).train[0]
    torch.testing.assert_close(x.std((0, 2, 3), correction=0), torch.ones(3))


def test_bytes_have_one_scale_and_constants_stay_at_zero(written):
    text = written("x = np.zeros((20, 3), np.uint8)\nx[:, 1] = np.arange(20)\nreturn x, np.arange(20) % 2")
    x = arrays_from(text).tensors(seeded()).train[0]
    assert abs(float(x.std(correction=0)) - 1) < 1e-6
    text = written("x = np.full((20, 3), 0.1)\nx[:, 1] = np.arange(20)\nreturn x, np.arange(20) % 2")
    x = arrays_from(text).tensors(seeded()).train[0]
    assert (x[:, 0] == 0).all()


def test_the_digest_is_that_of_the_content(written):
    one, same, other = (arrays_from(written(X + tail)) for tail in ("return x, y", "return x.tolist(), y", "x[3, 1] += 1\nreturn x, y"))
    assert one.digest() == same.digest() != other.digest()
    assert len(one.digest()) == 64


REFUSED = {
    "return None": "returned None; accepted are (x, y)",
    "return 1, 2, 3": "returned a tuple of 3",
    "return {'x': x, 'y': y}": "returned a dict without 'train' (keys: 'x', 'y')",
    "return x, y[:5]": "train has 20 inputs and 5 targets",
    "return x[:9], y[:9]": "train has 9 samples: at least 10 needed",
    "x[7, 1] = np.nan\nreturn x, y": "x must hold finite numbers; sample 7 does not",
    "x[7, 1] = 1e300\nreturn x, y": "sample 7 does not",
    "y = y * 1.0\ny[4] = np.inf\nreturn x, y": "y must hold finite numbers; that of sample 4 is not",
    "return x, y * 0": "targets are always 0: there is nothing to predict",
    "return x, np.eye(20)": "y must hold one number or word for each sample; got the shape (20, 20)",
    "return x.astype(complex), y": "x must hold numbers; got complex128",
    "return x.astype(str), y": "x must hold numbers",
    "return [[1, 2], [3]] * 10, y": "x cannot be made an array",
    "return x, [object()] * 20": "y must hold integers or words",
    "return np.zeros((1500, 1)), np.arange(1500)": "y has 1,500 classes, more than 1,000: floating-point targets make it a regression",
    "return (x, y), (x[:, :1], y)": "training and test inputs must have the same shape; got (2,) and (1,)",
    "return (x, y), (x, y * 0.5)": "training and test targets must be of one kind",
    "return (x, y), (x[:0], y[:0])": "test has 0 samples: at least 1 needed",
    "return Rows(20, lambda i: x[i])": "item 0 must be (input, label) or a dict; it is a ndarray",
    "return Rows(20, lambda i: {'picture': x[i]})": "item 0 needs an input named image, img, pixel_values, x; it has picture",
    "return Rows(20, lambda i: {'image': x[i]})": "item 0 needs a label named label, labels, y; it has image",
    "return Rows(20, lambda i: (x[: i + 1], 1))": "inputs must have one shape; item 0 has (1, 2), item 1 has (2, 2)",
    "return Rows(20, lambda i: (x[i], y[i + 5]))": "item 15 cannot be fetched: IndexError",
    "return Rows(0, None)": "returned a data set without items",
    "return Rows(20, lambda i: ('word', 1))": "the input of item 0 must hold numbers; it is a str",
    "return {'train': 3}": "returned a part that is a int",
    "raise KeyError('lost')": "failed: KeyError: 'lost' (",
    "open('not there')": "failed: FileNotFoundError",
    "raise SystemExit(3)": "failed: SystemExit: 3 (",
    "return np.linalg.inv(np.zeros((2, 2)))": "failed: LinAlgError: Singular matrix (",
}


@pytest.mark.parametrize("body", REFUSED)
def test_what_is_refused(written, body):
    text = written(X + body, DATASET)
    with pytest.raises(SlafError) as error:
        arrays_from(text)
    message = str(error.value)
    assert REFUSED[body] in message
    assert text in message
    assert "\n" not in message
    if "failed" in message:  # the user's own file and line, not numpy's
        assert f"{text.partition(':')[0]}.py, line " in message


def test_functions_that_cannot_be_loaded(written, tmp_path):
    text = written("return 1", "value = 3\ndef needs(a):\n    pass\n")
    module = text.partition(":")[0]
    for wrong, said in {
        "no_such_module_anywhere:get": "cannot be imported: No module named 'no_such_module_anywhere'",
        f"{module}:gett": "has no function 'gett'; did you mean 'get'",
        f"{module}:value": "must be a function; it is a int",
        "a b": "a function is written package.module:function; got 'a b'",
    }.items():
        with pytest.raises(SlafError, match=said):
            load_function(wrong)
    with pytest.raises(SlafError, match="needs no arguments: missing a required argument: 'a'"):
        arrays_from(f"{module}:needs")
    (tmp_path / "broken_module.py").write_text("x = (\n")
    with pytest.raises(SlafError, match=r"cannot be imported: SyntaxError: .*broken_module.py, line 1"):
        load_function("broken_module:get")
    (tmp_path / "failing_module.py").write_text("\n1 / 0\n")
    with pytest.raises(SlafError, match=r"cannot be imported: ZeroDivisionError: division by zero \(.*failing_module.py, line 2\)"):
        load_function("failing_module:get")

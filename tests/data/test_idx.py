"""IDX files written byte by byte with ``struct``."""

import gzip
import random
import struct

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from slaf.core import SlafError
from slaf.data import image_files, read_images
from slaf.data.idx import read_idx


def idx(array, kind=0x08):
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, kind, array.ndim, *array.shape) + array.astype(">u1").tobytes()


def pixels(count=20, *sizes, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *(sizes or (5, 4))), dtype=np.uint8)


def pair(folder, images, labels, name="train", sign="-", packed=False):
    end = ".gz" if packed else ""
    for what, array, dims in (("images", images, 3), ("labels", np.asarray(labels, np.uint8), 1)):
        data = idx(array)
        path = folder / f"{name}-{what}{sign}idx{dims}-ubyte{end}"
        path.write_bytes(gzip.compress(data) if packed else data)
    return folder


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=3, max_size=4), st.booleans(), st.integers(0, 1000))
def test_round_trip(tmp_path_factory, sizes, packed, seed):
    array = pixels(*sizes, seed=seed)
    path = tmp_path_factory.mktemp("idx") / "a"
    path.write_bytes(gzip.compress(idx(array)) if packed else idx(array))
    np.testing.assert_array_equal(read_idx(path, (3, 4)).numpy(), array)


def test_cut_off_at_any_byte_or_too_long(tmp_path):
    whole = idx(pixels(3, 2, 2))
    path = tmp_path / "a-ubyte"
    for data in (whole, gzip.compress(whole)):
        for cut in range(len(data)):
            path.write_bytes(data[:cut])
            with pytest.raises(SlafError, match="a-ubyte"):
                read_idx(path, (3,))
    path.write_bytes(whole[:-5])
    with pytest.raises(SlafError, match="is cut off: its header gives 3×2×2 = 12 bytes of data, the file has 7"):
        read_idx(path, (3,))
    for data in (whole + b"ab", gzip.compress(whole + b"ab")):
        path.write_bytes(data)
        with pytest.raises(SlafError, match="is too long: its header gives 3×2×2 = 12 bytes of data, the file has 14"):
            read_idx(path, (3,))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is not an IDX file: it begins with nothing"),
        (b"GIF89a and so on", "is not an IDX file: it begins with 47 49 46 38"),
        (idx(pixels(), 0x0D), r"holds floats \(type 0x0d\), but only unsigned bytes \(0x08\) are read"),
        (idx(pixels(20)[:, 0, 0]), "has 1 dimensions where 3 or 4 are expected"),
        (struct.pack(">BBBB3I", 0, 0, 8, 3, 0, 28, 28), "is empty: its header gives the sizes 0×28×28"),
        (struct.pack(">BBBB3I", 0, 0, 8, 3, 2**32 - 1, 2**32 - 1, 2**32 - 1), "cannot be right: its header gives"),
        (struct.pack(">BBBB3I", 0, 0, 8, 3, 60000, 28, 28) + b"x" * 100, "cannot be right: .* = 47,040,000 bytes, the file has 116"),
        (b"\x1f\x8b\x08 no gzip after all", "is a damaged or cut-off gzip file"),
    ],
)
def test_headers_that_cannot_be(tmp_path, data, said):
    path = tmp_path / "images"
    path.write_bytes(data)
    with pytest.raises(SlafError, match=said) as error:
        read_idx(path, (3, 4))
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("sign", "-.")
@pytest.mark.parametrize("packed", [False, True])
def test_one_pair_is_split_by_the_seed(tmp_path, sign, packed):
    x, y = pixels(20), [3, 7] * 10
    images = read_images(pair(tmp_path, x, y, "t10k", sign, packed))
    assert images.classes == ("3", "7")
    assert images.split is None
    np.testing.assert_array_equal(images.pixels[:, 0].numpy(), x)
    split = images.tensors(seeded(5))
    assert split.train[0].shape == (16, 1, 5, 4)
    assert torch.bincount(split.test[1]).tolist() == [2, 2]
    assert split.notes[0] == "20 images: 16 for training, 4 held out (each class by its share)"
    assert abs(float(split.train[0].mean())) < 1e-6
    assert abs(float(split.train[0].std(correction=0)) - 1) < 1e-6
    assert torch.equal(split.train[0], images.tensors(seeded(5)).train[0])
    assert not torch.equal(split.test[0], images.tensors(seeded(6)).test[0])


def test_two_pairs_are_a_fixed_split(tmp_path):
    x, y, x_test, y_test = pixels(30), [0, 1, 2] * 10, pixels(9, seed=1), [2, 1, 0] * 3
    pair(pair(tmp_path, x, y), x_test, y_test, "t10k", packed=True)
    images = read_images(tmp_path)
    split = images.tensors(seeded(), test_share=0.5)
    assert images.split == len(split.train[1]) == 30
    assert split.test[1].bincount().tolist() == [3, 3, 3]
    # each held-out image is standardised by training's numbers and is still with its label
    mean, std = x.mean(), x.std()
    wanted = {int(label): sorted(((i - mean) / std).sum() for i, v in zip(x_test, y_test, strict=True) if v == label) for label in range(3)}
    for label in range(3):
        found = sorted(split.test[0][split.test[1] == label].sum((1, 2, 3)).tolist())
        np.testing.assert_allclose(found, wanted[label], atol=1e-4)
    assert len(image_files(tmp_path)) == 4
    assert list(image_files(tmp_path)) == sorted(image_files(tmp_path))


def test_channels_sizes_and_a_single_file(tmp_path):
    last, first = pixels(12, 5, 4, 3), pixels(12, 3, 5, 4)
    pair(tmp_path, last, [0, 1] * 6, "a-train")
    np.testing.assert_array_equal(read_images(tmp_path).pixels.numpy(), np.moveaxis(last, -1, 1))
    pair(tmp_path, first, [0, 1] * 6, "b-train")
    with pytest.raises(SlafError, match=r"more than one set of images, a-train-.* and b-train-.*: give the path of one image file"):
        read_images(tmp_path)
    path = tmp_path / "b-train-images-idx3-ubyte"
    np.testing.assert_array_equal(read_images(path).pixels.numpy(), first)
    assert image_files(path) == (path, tmp_path / "b-train-labels-idx1-ubyte")
    assert read_images(path, size=8).pixels.shape == (12, 3, 8, 8)
    pair(tmp_path, pixels(12, 5, 4, 2), [0, 1] * 6, "b-train")
    with pytest.raises(SlafError, match="neither the second nor the last is 1 or 3 channels"):
        read_images(path)


def test_an_unpacked_file_beside_the_packed_one_is_read_once(tmp_path):
    x, y = pixels(12), [0, 1] * 6
    pair(pair(tmp_path, x, y), x, y, packed=True)
    assert len(read_images(tmp_path).labels) == 12
    assert [p.suffix for p in image_files(tmp_path)] == ["", ""]


def test_a_constant_channel_stays_at_zero(tmp_path):
    x = pixels(12, 5, 4, 3)
    x[..., 1] = 201
    split = read_images(pair(tmp_path, x, [0, 1] * 6)).tensors(seeded())
    assert (split.train[0][:, 1] == 0).all()
    assert (split.test[0][:, 1] == 0).all()


def test_pairs_that_do_not_fit(tmp_path):
    pair(tmp_path, pixels(12), [0, 1] * 5)
    with pytest.raises(SlafError, match="holds 12 images and train-labels-idx1-ubyte 10 labels"):
        read_images(tmp_path)
    pair(tmp_path, pixels(12), [4] * 12)
    with pytest.raises(SlafError, match="holds a single class, 4"):
        read_images(tmp_path)
    pair(tmp_path, pixels(6), [0, 1] * 3)
    with pytest.raises(SlafError, match="holds 6 images: at least 10"):
        read_images(tmp_path)
    pair(tmp_path, pixels(12), [0, 1] * 6)
    with pytest.raises(SlafError, match="holds 12 images, more than max_images=11: -o max_images=N"):
        read_images(tmp_path, max_images=11)
    pair(tmp_path, pixels(12, 3, 3), [0, 1] * 6, "t10k")
    with pytest.raises(SlafError, match=r"images differ in size: .*train-images.* 1×5×4 and .*t10k.* 1×3×3"):
        read_images(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(SlafError, match=r"t10k-images-idx3-ubyte has no file of labels beside it: t10k-labels-idx1-ubyte, also .gz"):
        read_images(tmp_path)
    with pytest.raises(SlafError, match="is not named as an IDX image file"):
        read_images(tmp_path / "train-labels-idx1-ubyte")
    (tmp_path / "train-images-idx3-ubyte").rename(tmp_path / "train-images-idx3-ubyte.gz")
    with pytest.raises(SlafError, match=r"ends in .gz but is not a gzip file"):
        read_images(tmp_path / "train-images-idx3-ubyte.gz")


def test_random_damage(tmp_path):
    rng = random.Random(0)
    whole = idx(pixels(12, 3, 3))
    path = pair(tmp_path, pixels(12, 3, 3), [0, 1] * 6) / "train-images-idx3-ubyte"
    refused = 0
    for packed in (False, True):
        for _ in range(150):
            data = bytearray(gzip.compress(whole) if packed else whole)
            for _ in range(rng.randint(1, 3)):
                data[rng.randrange(min(len(data), 40))] = rng.randrange(256)
            path.write_bytes(bytes(data))
            try:
                x, _ = read_images(tmp_path).tensors(seeded()).train
            except SlafError:
                refused += 1
            else:
                assert bool(x.isfinite().all())
    assert 0 < refused < 300

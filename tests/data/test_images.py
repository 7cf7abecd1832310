"""Folders of image files."""

import contextlib
import random

import numpy as np
import pytest
import torch

from slaf.core import SlafError
from slaf.data import image_files, read_images

Image = pytest.importorskip("PIL.Image")


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def picture(path, seed, size=(6, 5), mode="L"):
    path.parent.mkdir(parents=True, exist_ok=True)
    channels = {"L": (), "RGB": (3,), "RGBA": (4,)}[mode]
    values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], *channels), dtype=np.uint8)
    Image.fromarray(values).save(path)
    return values


def folder(root, count=6, classes=("cat", "dog"), **options):
    return {
        (name, i): picture(root / name / f"{i:02d}.png", 100 * k + i, **options) for k, name in enumerate(classes) for i in range(count)
    }


def test_one_subfolder_for_each_class(tmp_path):
    values = folder(tmp_path)
    (tmp_path / "cat" / "notes.txt").write_text("x")
    (tmp_path / "cat" / ".hidden.png").write_text("x")
    images = read_images(tmp_path)
    assert images.classes == ("cat", "dog")
    assert images.pixels.shape == (12, 1, 5, 6)
    np.testing.assert_array_equal(images.pixels[:, 0].numpy(), np.stack(list(values.values())))
    assert images.labels.tolist() == [0] * 6 + [1] * 6
    assert images.notes == ("12 image files, 6×5 pixels, greyscale", "2 classes (cat, dog), 6 to 6 images each", "1 other file left out")
    files = image_files(tmp_path)
    assert len(files) == 12
    assert list(files) == sorted(files)
    split = images.tensors(seeded(), test_share=0.5)
    assert split.test[1].bincount().tolist() == [3, 3]


def test_colour_wins_and_channels_are_standardised_one_by_one(tmp_path):
    folder(tmp_path, classes=("a",))
    values = folder(tmp_path, classes=("b",), mode="RGB")
    picture(tmp_path / "b" / "99.png", 5, mode="RGBA")
    images = read_images(tmp_path)
    assert images.pixels.shape == (13, 3, 5, 6)
    np.testing.assert_array_equal(images.pixels[6].numpy(), np.moveaxis(values["b", 0], -1, 0))
    assert torch.equal(images.pixels[0, 0], images.pixels[0, 2])
    x = images.tensors(seeded()).train[0]
    torch.testing.assert_close(x.mean((0, 2, 3)), torch.zeros(3), atol=1e-6, rtol=0)
    torch.testing.assert_close(x.std((0, 2, 3), correction=0), torch.ones(3))


@pytest.mark.parametrize("test", ["test", "val"])
def test_train_and_test_folders_are_a_fixed_split(tmp_path, test):
    folder(tmp_path / "train")
    folder(tmp_path / test, count=2)
    images = read_images(tmp_path)
    assert images.split == 12
    split = images.tensors(seeded())
    assert (len(split.train[1]), len(split.test[1])) == (12, 4)
    assert f"{test} is held out, as the folders say" in split.notes
    assert "(as the files say)" in split.notes[0]
    picture(tmp_path / test / "cats" / "0.png", 0)
    with pytest.raises(SlafError, match=r"has a class 'cats' that .*train does not have; did you mean 'cat'"):
        read_images(tmp_path)


def test_a_train_folder_alone_and_a_third_part(tmp_path):
    folder(tmp_path / "train")
    images = read_images(tmp_path)
    assert images.split is None
    assert "train is the only folder: held-out images are drawn from it" in images.notes
    folder(tmp_path / "test", classes=("cat", "dog"), count=1)
    folder(tmp_path / "val", count=1)
    assert "folder val is left out" in read_images(tmp_path).notes


def test_sizes(tmp_path):
    folder(tmp_path)
    picture(tmp_path / "dog" / "large.png", 1, size=(9, 9))
    with pytest.raises(SlafError, match=r"images differ in size: .*00.png is 6×5 and .*large.png 9×9; -o size=32 makes them all 32×32"):
        read_images(tmp_path)
    assert read_images(tmp_path, size=4).pixels.shape == (13, 1, 4, 4)
    for size in (-1, 2.5, "4", True, 5000):
        with pytest.raises(SlafError, match="size must be an integer"):
            read_images(tmp_path, size=size)


def test_what_is_refused(tmp_path):
    with pytest.raises(SlafError, match="there is no such folder"):
        read_images(tmp_path / "no")
    with pytest.raises(SlafError, match="holds no subfolders of images and no IDX files: put the images of each class into a subfolder"):
        read_images(tmp_path)
    picture(tmp_path / "loose.png", 0)
    with pytest.raises(SlafError, match="holds 1 images but no subfolders"):
        read_images(tmp_path)
    folder(tmp_path, classes=("cat",))
    with pytest.raises(SlafError, match="holds a single class, 'cat'"):
        read_images(tmp_path)
    (tmp_path / "dog").mkdir()
    with pytest.raises(SlafError, match="dog holds no image"):
        read_images(tmp_path)
    with pytest.raises(SlafError, match="dog holds no image"):
        image_files(tmp_path)
    folder(tmp_path, classes=("dog",), count=3)
    with pytest.raises(SlafError, match="holds 9 images: at least 10"):
        read_images(tmp_path)
    folder(tmp_path)
    with pytest.raises(SlafError, match="12 image files are more than max_images=11: -o max_images=N"):
        read_images(tmp_path, max_images=11)


def test_images_that_cannot_be_read(tmp_path):
    folder(tmp_path)
    bad = tmp_path / "dog" / "03.png"
    whole = bad.read_bytes()
    for data in (b"", b"no image", whole[:40], whole[:-30]):
        bad.write_bytes(data)
        with pytest.raises(SlafError, match=r"03.png cannot be read as an image") as error:
            read_images(tmp_path)
        assert "\n" not in str(error.value)
    Image.fromarray(np.full((5, 6), 40_000, np.uint16)).save(bad)
    with pytest.raises(SlafError, match=r"03.png has more than 8 bits per pixel \(mode I;16\)"):
        read_images(tmp_path)
    rng = random.Random(0)
    for _ in range(60):
        data = bytearray(whole)
        data[rng.randrange(len(data))] = rng.randrange(256)
        bad.write_bytes(bytes(data))
        with contextlib.suppress(SlafError):
            read_images(tmp_path)


def test_a_huge_image_is_refused(tmp_path, monkeypatch):
    folder(tmp_path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(SlafError, match=r"00.png cannot be read as an image: Image size"):
        read_images(tmp_path)


def test_a_missing_library_is_named_with_its_command(tmp_path, monkeypatch):
    folder(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "PIL.Image", None)
    with pytest.raises(SlafError, match=r'reading image files needs Pillow.*pip install "slaf\[data\]"'):
        read_images(tmp_path)

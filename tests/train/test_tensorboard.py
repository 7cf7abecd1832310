"""What TensorBoard is told can be read back from its event files."""

import importlib.util
import struct
import sys
import zlib

import pytest

import slaf
from slaf.train import TensorBoard

needs_tensorboard = pytest.mark.skipif(importlib.util.find_spec("tensorboard") is None, reason="needs tensorboard")


def png(width=3, height=2):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(height * (1 + 3 * width)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def read(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(str(folder)).Reload()


@needs_tensorboard
def test_scalars_results_and_images_are_read_back(tmp_path, capfd):
    run = "digits/slaf(degree=7, init='gelu')/seed 0"
    with TensorBoard(tmp_path / "new" / "runs") as board:
        for epoch in (1, 2, 3):
            board.log_epoch(run, epoch, {"loss": 1 / epoch, "valid_loss": None})
        board.log_epoch("other", 1, {"loss": float("nan")})
        board.log_image(run, "learned", png())
        board.log_result(run, {"lr": 1e-3, "schedule": ((1, 2),), "share": None, "gate": True}, {"accuracy": 0.75, "error": None})
        board.log_epoch(run, 4, {"loss": 0.25})  # a run may go on after its result
    events = read(board.path(run))
    # files of one second are read in the order of their names, in which the tenth is before the ninth
    assert sorted((e.step, e.value) for e in events.Scalars("loss")) == [(1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3)), (4, 0.25)]
    assert "valid_loss" not in events.Tags()["scalars"]
    assert events.Scalars("accuracy")[0].value == 0.75
    (image,) = events.Images("learned")
    assert (image.width, image.height, image.encoded_image_string) == (3, 2, png())
    told = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    assert all(word in told for word in (b"lr", b"((1, 2),)", b"gate"))
    assert sorted(p.name for p in board.folder.iterdir()) == sorted(board.path(r).name for r in (run, "other"))
    assert not any(p.is_dir() for p in board.path(run).iterdir())
    assert capfd.readouterr() == ("", "")


@needs_tensorboard
def test_folders_are_safe_and_distinct(tmp_path):
    board = TensorBoard(tmp_path)
    runs = ["relu", "a/b", "a_b", "../x", "", "..", "x" * 300, "x" * 299, "Größe"]
    paths = [board.path(run) for run in runs]
    assert len(set(paths)) == len(runs)
    assert all(p.parent == tmp_path and len(p.name) < 140 for p in paths)
    assert board.path("slaf(degree=7)").name == "slaf(degree=7)"


@needs_tensorboard
def test_what_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "runs"):
        with pytest.raises(slaf.SlafError, match="cannot be written to: "):
            TensorBoard(folder)
    board = TensorBoard(tmp_path)
    with pytest.raises(slaf.SlafError, match=r"folder .*file cannot be written to: "):
        board.log_epoch("file", 1, {"loss": 1.0})
    with pytest.raises(slaf.SlafError, match="png must be the bytes of a PNG file"):
        board.log_image("run", "tag", b"GIF89a")
    assert not (tmp_path / "run").exists()


def test_without_tensorboard_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(slaf.SlafError, match=r'pip install "slaf\[train\]"'):
        TensorBoard(tmp_path)
    assert list(tmp_path.iterdir()) == []

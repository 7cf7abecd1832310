"""The Lightning callback in real short runs on the CPU, with a TensorBoard logger and without."""

import pickle
import warnings

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import slaf
from slaf.core import SlafError
from slaf.integrations import lightning as ours

pl = pytest.importorskip("pytorch_lightning")


class Small(pl.LightningModule):
    """training_step goes past the module's own forward, as most do; the trunk is checkpointed."""

    def __init__(self, fails: bool = False) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(4, 8), slaf.make("rational(5,4)", share="layer"))
        self.head = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 1))
        self.fails = fails

    def forward(self, x: Tensor) -> Tensor:
        return self.head(checkpoint(self.trunk, x, use_reentrant=False))

    def training_step(self, batch: tuple[Tensor], index: int) -> Tensor:
        if self.fails and index == 1:
            raise RuntimeError("as planned")
        return self.head(checkpoint(self.trunk, batch[0], use_reentrant=False)).square().mean()

    def validation_step(self, batch: tuple[Tensor], _: int) -> None:
        self(batch[0])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.01)


def fit(module: Small, callback: object, logger: object, path: object, steps: int = 3) -> "pl.Trainer":
    torch.manual_seed(0)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.randn(12, 4)), batch_size=2)
    trainer = pl.Trainer(
        max_steps=steps,
        accelerator="cpu",
        devices=1,
        logger=logger,
        callbacks=[callback],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
        val_check_interval=1,
        limit_val_batches=1,
        default_root_dir=path,
    )
    with warnings.catch_warnings():
        for category in (UserWarning, FutureWarning):  # Lightning's advice on speed, and its own use of what torch deprecates
            warnings.filterwarnings("ignore", category=category)
        trainer.fit(module, loader, loader)
    return trainer


def test_numbers_and_histograms_arrive_in_tensorboard(tmp_path) -> None:
    module, callback = Small(), ours.ProbeCallback(every=2, figures=True)
    trainer = fit(module, callback, pl.loggers.TensorBoardLogger(tmp_path, name="", version=""), tmp_path)
    assert "activations/head.1/dead" in trainer.logged_metrics
    assert 0 <= float(trainer.logged_metrics["activations/trunk.1/out_of_range"]) <= 1
    found = callback.probing.probe.report()
    assert [w.name for w in found] == ["trunk.1", "head.1"]
    assert [w.looks for w in found] == [1, 1], "neither validation nor what checkpointing computes again"
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in module.modules())
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(tmp_path), {"histograms": 0, "scalars": 0, "images": 0}).Reload()
    assert [h.step for h in read.Histograms("activations/head.1/inputs")] == [1, 3]
    assert read.Histograms("activations/head.1/inputs")[0].histogram_value.num == 12
    assert len(read.Scalars("activations/head.1/saturated")) >= 2
    assert read.Tags()["images"] == ["activations/trunk.1/curve"]
    assert not list(tmp_path.rglob("*.ckpt"))


def test_without_a_logger_and_by_pattern(tmp_path) -> None:
    callback = ours.ProbeCallback(every=1, names="head.*", prefix="act")
    trainer = fit(Small(), callback, False, tmp_path, steps=2)
    assert "act/head.1/dead" in trainer.callback_metrics
    assert [w.name for w in callback.probing.probe.report()] == ["head.0", "head.1", "head.2"]


def test_hooks_are_gone_after_an_error(tmp_path) -> None:
    module = Small(fails=True)
    with pytest.raises(RuntimeError, match="as planned"):
        fit(module, ours.ProbeCallback(), False, tmp_path)
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in module.modules())


def test_it_pickles_and_checks_its_arguments() -> None:
    callback = ours.ProbeCallback(every=7, prefix="act")
    twin = pickle.loads(pickle.dumps(callback))
    assert isinstance(twin, pl.Callback)
    assert (twin.probing.every, twin.probing.prefix) == (7, "act")
    with pytest.raises(SlafError, match="every must be a positive integer; got 0"):
        ours.ProbeCallback(every=0)


def test_a_missing_library_is_named(monkeypatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(ours.importlib, "import_module", missing)
    with pytest.raises(SlafError, match="pip install lightning"):
        ours.ProbeCallback()

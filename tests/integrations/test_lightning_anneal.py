"""The annealing callback of Lightning in real short fits on the CPU."""

import warnings

import pytest
import torch
from torch import Tensor, nn

import slaf
from slaf.core import SlafError
from slaf.integrations.lightning import AnnealCallback

pl = pytest.importorskip("pytorch_lightning")
X = torch.randn(24, 4, generator=torch.Generator().manual_seed(0))


class Small(pl.LightningModule):
    """training_step goes past the module's own forward, as most do."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(4, 8), nn.SiLU(), nn.Linear(8, 6), nn.SiLU(), nn.Linear(6, 1))
        self.seen: list[float] = []

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def training_step(self, batch: tuple[Tensor], _: int) -> Tensor:
        self.seen.append(float(self.net[1].alpha))
        return (self.net(batch[0]) - 1).square().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), 0.01)


def annealed(**options: object) -> tuple[Small, "slaf.surgery.Annealing"]:
    module = Small()
    return module, slaf.anneal(module, {"silu": "hardswish"}, example=X, inplace=True, **options)


def fit(
    module: Small, callbacks: list[object], path: object, steps: int = 3, size: int = 2, resume: object = None, **options: object
) -> "pl.Trainer":
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X), batch_size=size)
    with warnings.catch_warnings():
        for category in (UserWarning, FutureWarning):  # Lightning's advice on speed, and its own use of what torch deprecates
            warnings.filterwarnings("ignore", category=category)
        trainer = pl.Trainer(
            max_steps=steps,
            accelerator="cpu",
            devices=1,
            logger=False,
            callbacks=callbacks,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=path,
            **options,
        )
        trainer.fit(module, loader, ckpt_path=resume)
    return trainer


def test_progress_follows_the_steps_and_ends(tmp_path) -> None:
    module, annealing = annealed()
    fit(module, [AnnealCallback(annealing)], tmp_path, enable_checkpointing=False)
    assert module.seen == pytest.approx([0, 1 / 3, 2 / 3])
    assert annealing.finished
    assert [str(m.spec()) for m in module.modules() if isinstance(m, slaf.Activation)] == ["hardswish"] * 2


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_penalty_joins_the_loss(tmp_path, accumulate) -> None:
    """Against a loop by hand."""
    options = {"range_penalty": 0.5, "interval": (-0.3, 0.3)}
    module, annealing = annealed(**options)
    fit(module, [AnnealCallback(annealing)], tmp_path, enable_checkpointing=False, accumulate_grad_batches=accumulate)
    twin, by_hand = annealed(**options)
    optimizer = twin.configure_optimizers()
    for step in range(3):
        by_hand.progress = step / 3
        optimizer.zero_grad()
        for part in X[2 * accumulate * step : 2 * accumulate * (step + 1)].split(2):
            ((twin(part) - 1).square().mean() / accumulate + by_hand.penalty() / accumulate).backward()
        optimizer.step()
    by_hand.progress = 1
    by_hand.finish()
    assert all(torch.allclose(t, twin.state_dict()[n], atol=1e-6) for n, t in module.state_dict().items())
    without, plain = annealed()
    fit(without, [AnnealCallback(plain)], tmp_path, enable_checkpointing=False, accumulate_grad_batches=accumulate)
    assert not torch.allclose(without.net[0].weight, module.net[0].weight, atol=1e-4)


def test_a_checkpoint_resumes_it(tmp_path) -> None:
    whole, annealing = annealed(order="front_to_back")
    saver = pl.callbacks.ModelCheckpoint(tmp_path, every_n_train_steps=2, save_top_k=-1, filename="{step}")
    fit(whole, [AnnealCallback(annealing), saver], tmp_path, steps=6, size=24)
    again, other = annealed(order="front_to_back")
    fit(again, [AnnealCallback(other)], tmp_path, steps=6, size=24, resume=str(tmp_path / "step=2.ckpt"), enable_checkpointing=False)
    assert again.seen == pytest.approx(whole.seen[2:])
    assert other.finished
    assert all(torch.equal(t, whole.state_dict()[n]) for n, t in again.state_dict().items())


def test_what_does_not_fit_is_refused(tmp_path) -> None:
    with pytest.raises(SlafError, match=r"annealing must be what slaf\.anneal returns; got ReLU"):
        AnnealCallback(nn.ReLU())
    module, annealing = annealed()
    with pytest.raises(SlafError, match=r"the trained model must be annealing\.model, or hold it"):
        fit(annealed()[0], [AnnealCallback(annealing)], tmp_path, enable_checkpointing=False)
    with pytest.raises(SlafError, match="needs the number of training steps beforehand"):
        fit(module, [AnnealCallback(annealing)], tmp_path, steps=-1, max_epochs=-1, enable_checkpointing=False)

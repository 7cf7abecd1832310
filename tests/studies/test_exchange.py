"""The exchanges as data, and the study of what they cost, with trainings cut short."""

import pytest
import torch

import slaf
from slaf.core import SlafError
from slaf.studies.exchange import ARMS, digits, exchanged, network, table, trained
from slaf.surgery import EXCHANGES, exchange
from slaf.train import Recipe


@pytest.mark.parametrize("name", EXCHANGES)
def test_every_exchange_takes_place(name) -> None:
    mine, x = exchange(name), torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    annealing = mine.anneal(network("mlp", mine.old[0]), x)
    assert len(annealing.blends) == 2
    new = {m.spec().name for m in annealing.finish().modules() if isinstance(m, slaf.Activation)}
    assert mine.old[0] not in new
    assert new <= {slaf.core.parse(mine.new).name, "extended"}


def test_names_and_models_that_do_not_fit() -> None:
    with pytest.raises(SlafError, match="did you mean 'relufication'"):
        exchange("relufiction")
    with pytest.raises(SlafError, match=r"exchange mish_to_hard_mish \(mish\) fits no"):
        exchange("mish_to_hard_mish").anneal(network("mlp", "relu"), torch.randn(8, 64))


def test_the_study_measures_all_arms() -> None:
    pytest.importorskip("sklearn")
    data = digits(0)
    old = trained("vit", "silu", 0, data, Recipe(epochs=2, batch_size=64, lr=3e-3))
    before = {n: t.clone() for n, t in old.state_dict().items()}
    row = exchanged(old, exchange("silu_to_hardswish"), data, 0, Recipe(epochs=1, batch_size=128))
    assert all(torch.equal(t, before[n]) for n, t in old.state_dict().items())
    x, y = data.test
    assert row["before"] == (old(x).argmax(1) == y).double().mean().item() > 0.3
    swapped = slaf.swap(old, {"silu": "hardswish"}, x)
    assert row["swapped"] == (swapped(x).argmax(1) == y).double().mean().item()
    assert row["loss_annealed"] < row["loss_before"], "it trained on"
    assert len({row[f"loss_{arm}"] for arm in ARMS}) == len(ARMS), "no two arms are the same network"
    assert all(0 <= row[arm] <= 1 for arm in ARMS)


def test_the_table_pairs_by_seed() -> None:
    same = dict.fromkeys(("before", "kept", "tuned"), 0.9)
    rows: list[dict] = [
        {"exchange": "e", "network": "vit", "seed": s} | same | {"swapped": 0.8 + s / 100, "annealed": 0.9 + s / 100} for s in range(3)
    ]
    line = table(rows).splitlines()[-1]
    assert "| 3 | 90.00 | 81.00 | 90.00 | 90.00 | 91.00 | +10.00 ± 0.00 | +1.00 ± 2.48 |" in line
    losses = [r | {f"loss_{arm}": 1 - r[arm] for arm in ARMS} for r in rows]
    assert "| 10.00 | 19.00 | 10.00 | 10.00 | 9.00 | -10.00 ± 0.00 | -1.00 ± 2.48 |" in table(losses, "loss").splitlines()[-1]
    with pytest.raises(SlafError, match="rows is empty"):
        table([])
    with pytest.raises(SlafError, match="of"):
        table(rows, "losses")

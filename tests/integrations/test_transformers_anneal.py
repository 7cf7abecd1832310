"""The annealing callback in real Trainers of three steps."""

from typing import Any

import pytest
import torch
from torch import nn

import slaf
from slaf.integrations.transformers import AnnealCallback

transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate")
SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24, "vocab_size": 30}
DATA = [{"input_ids": torch.arange(6) + i, "labels": i % 2} for i in range(12)]


def annealed(**options: Any) -> "slaf.surgery.Annealing":
    torch.manual_seed(0)
    off = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    model = transformers.BertForSequenceClassification(transformers.BertConfig(num_labels=2, **SIZES, **off))
    batch = {"input_ids": torch.stack([row["input_ids"] for row in DATA])}
    return slaf.anneal(model, {"gelu": "relu"}, example=batch, **options)


def trained(annealing: "slaf.surgery.Annealing", path: Any, resume: Any = None, accumulate: int = 1) -> list[float]:
    seen: list[float] = []
    annealing.model.register_forward_hook(lambda model, *_: seen.append(annealing.progress) if model.training else None)
    args = transformers.TrainingArguments(
        output_dir=str(path),
        max_steps=3,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=accumulate,
        report_to=[],
        save_strategy="steps",
        save_steps=1,
        use_cpu=True,
        disable_tqdm=True,
        learning_rate=1e-3,
        lr_scheduler_type="constant",
        max_grad_norm=0.0,
    )
    trainer = transformers.Trainer(annealing.model, args, train_dataset=DATA, callbacks=[AnnealCallback(annealing)])
    trainer.get_train_dataloader = lambda: torch.utils.data.DataLoader(DATA, batch_size=2, collate_fn=transformers.default_data_collator)
    trainer.train(resume_from_checkpoint=resume)
    return seen


def test_progress_follows_the_steps_ends_and_resumes(tmp_path) -> None:
    whole = annealed(distill=1.0, range_penalty=1.0)
    assert trained(whole, tmp_path / "whole") == pytest.approx([0, 1 / 3, 2 / 3])
    assert whole.finished
    again = annealed(distill=1.0, range_penalty=1.0)
    assert trained(again, tmp_path / "again", str(tmp_path / "whole" / "checkpoint-2")) == pytest.approx([2 / 3])
    assert again.finished
    assert all(torch.equal(t, again.model.state_dict()[n]) for n, t in whole.model.state_dict().items())
    assert {str(m.spec()) for m in whole.model.modules() if isinstance(m, slaf.Activation)} == {"relu"}


@pytest.mark.parametrize("accumulate", [1, 2])
def test_penalty_and_distillation_join_the_loss(tmp_path, accumulate) -> None:
    """Against a loop by hand."""
    options = {"distill": 2.0, "range_penalty": 0.5, "interval": (-0.1, 0.1)}
    annealing = annealed(**options)
    trained(annealing, tmp_path, accumulate=accumulate)
    by_hand = annealed(**options)
    model = by_hand.model.train()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=0.0)
    batches = [transformers.default_data_collator(DATA[i : i + 2]) for i in range(0, 12, 2)]
    for step in range(3):
        by_hand.progress = step / 3
        optimizer.zero_grad()
        for batch in batches[accumulate * step : accumulate * (step + 1)]:
            output = model(**batch)
            loss = nn.functional.cross_entropy(output.logits, batch["labels"])
            # this model takes the number of items, so the Trainer leaves its loss undivided
            (loss + (by_hand.penalty() + by_hand.distillation(batch, output)) / accumulate).backward()
        optimizer.step()
    by_hand.progress = 1
    state = by_hand.finish().state_dict()
    assert all(torch.allclose(t, state[n], atol=1e-5) for n, t in annealing.model.state_dict().items())

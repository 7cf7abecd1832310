"""slaf in transformers: ``hidden_act`` of small models built from a config, saved and loaded; the callback in a Trainer and by hand."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import slaf
from slaf.core import SlafError
from slaf.integrations.transformers import ProbeCallback, register

transformers = pytest.importorskip("transformers")
SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24, "vocab_size": 30}


@pytest.fixture(autouse=True)
def act2fn():
    known = transformers.activations.ACT2FN
    before = dict(dict.items(known))
    yield known
    for name in set(known) - set(before):
        del known[name]
    assert dict(dict.items(known)) == before


def bert(hidden_act: str) -> nn.Module:
    torch.manual_seed(0)
    return transformers.BertModel(transformers.BertConfig(hidden_act=hidden_act, **SIZES)).eval()


def activations_of(model: nn.Module) -> list[slaf.Activation]:
    return [m for m in model.modules() if isinstance(m, slaf.Activation)]


def test_a_string_works_in_a_config() -> None:
    assert register("rational(5,4)") == register("rational(5,4)") == ["rational(5,4)"]
    model = bert("rational(5,4)")
    found = activations_of(model)
    assert [str(a.spec()) for a in found] == [str(slaf.make("rational(5,4)", share="layer").spec())] * 2
    ids = torch.arange(12).reshape(2, 6)
    hidden = model(ids).last_hidden_state
    hidden.square().sum().backward()
    assert all(bool(p.grad.abs().sum() > 0) for a in found for p in a.parameters())


def test_the_same_function_gives_the_same_model() -> None:
    register("gelu()")
    ids = torch.arange(12).reshape(2, 6)
    assert torch.allclose(bert("gelu()")(ids).last_hidden_state, bert("gelu")(ids).last_hidden_state, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_saved_and_loaded(tmp_path, dtype) -> None:
    register("rational(5,4)", "spline")
    model = bert("rational(5,4)").to(dtype)
    with torch.no_grad():
        for i, act in enumerate(activations_of(model)):
            act.numerator.add_(i + 0.5)
    model.save_pretrained(tmp_path)
    again = transformers.BertModel.from_pretrained(tmp_path, dtype=dtype)
    state = again.state_dict()
    assert all(torch.equal(t, state[n]) for n, t in model.state_dict().items())
    assert again.config.hidden_act == "rational(5,4)"


@pytest.mark.parametrize("spec", ["rational(5,4)", "spline", "prelu()", "polyrelu"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_parameters_that_a_checkpoint_lacks_start_at_their_initial_values(tmp_path, spec, dtype) -> None:
    register(spec)
    bert("gelu").save_pretrained(tmp_path)
    model = transformers.BertModel.from_pretrained(tmp_path, hidden_act=spec, dtype=dtype)
    expected = slaf.make(spec, share="layer").to(dtype)
    for act in activations_of(model):
        for (name, tensor), (other, wanted) in zip(act.state_dict().items(), expected.state_dict().items(), strict=True):
            assert name == other
            assert tensor.dtype == dtype
            assert torch.equal(tensor, wanted)
    x = torch.linspace(-3, 3, 21).to(dtype)
    assert all(torch.equal(act(x), expected(x)) for act in activations_of(model))
    assert torch.isfinite(model(torch.arange(6).reshape(1, 6)).last_hidden_state).all()


def test_all_names_but_transformers_own(act2fn) -> None:
    own = dict(dict.items(act2fn))
    added = register()
    assert not set(added) & set(own)
    assert {"rational", "spline", "snake"} <= set(added)
    assert set(added) | set(own) >= set(slaf.list())
    assert {name: dict.__getitem__(act2fn, name) for name in own} == own
    assert isinstance(act2fn["spline"], slaf.Activation)
    assert register() == []
    with pytest.raises(SlafError, match=r"needs num_channels.*hidden_act does not tell sizes.*share=layer.*slaf\.swap"):
        act2fn["batch_norm"]


def test_wrong_strings_are_refused_at_once(act2fn) -> None:
    with pytest.raises(SlafError, match=r"'relu' is transformers' own; to have slaf's write 'relu\(\)'"):
        register("relu")
    with pytest.raises(SlafError, match="did you mean 'rational'"):
        register("spline", "rationale")
    assert "spline" not in act2fn, "all or nothing"
    with pytest.raises(SlafError, match=r"does not tell sizes.*slaf\.swap"):
        register("prelu(share=channel)")


def test_the_callback_by_hand(tmp_path) -> None:
    model = bert("gelu")
    callback = ProbeCallback(every=2, prefix="act")
    assert isinstance(callback, transformers.TrainerCallback)
    args = SimpleNamespace(report_to=["tensorboard"], output_dir=str(tmp_path))
    state = SimpleNamespace(is_world_process_zero=True, global_step=0, log_history=[])
    told = []
    callback.on_train_begin(args, state, None, model=model)
    for _ in range(5):
        callback.on_step_begin(args, state, None, model=model)
        model(torch.arange(6).reshape(1, 6))
        state.global_step += 1
        callback.on_step_end(args, state, None, model=model)
        model(torch.arange(6).reshape(1, 6))  # evaluation, which is not looked at
        logs = {"loss": 1.0}
        state.log_history.append({**logs, "step": state.global_step})
        callback.on_log(args, state, None, logs=logs)
        told.append(logs)
    assert callback.probing.probe.report()[0].looks == 1
    callback.on_train_end(args, state, None)
    key = "act/encoder.layer.0.intermediate.intermediate_act_fn/dead"
    assert [key in logs for logs in told] == [True, False, True, False, True]
    assert [key in logs for logs in state.log_history] == [True, False, True, False, True]
    assert told[0][key] == 0.0
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in model.modules())
    assert list((tmp_path / "runs" / "activations").iterdir()), "an event file"
    with pytest.raises(SlafError, match="every must be a positive integer"):
        ProbeCallback(every=0)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_callback_in_a_trainer(tmp_path, checkpointing) -> None:
    pytest.importorskip("accelerate")
    register("rational(5,4)")
    torch.manual_seed(0)
    config = transformers.BertConfig(hidden_act="rational(5,4)", num_labels=2, **SIZES)
    model = transformers.BertForSequenceClassification(config)
    if checkpointing:
        getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)()  # its newer name
    data = [{"input_ids": torch.arange(6) + i, "labels": i % 2} for i in range(12)]
    args = transformers.TrainingArguments(
        output_dir=str(tmp_path),
        max_steps=3,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=2,
        logging_steps=1,
        report_to=["tensorboard"],
        save_strategy="no",
        use_cpu=True,
        disable_tqdm=True,
    )
    trainer = transformers.Trainer(model, args, train_dataset=data, callbacks=[ProbeCallback(every=2)])
    trainer.train()
    key = "activations/bert.encoder.layer.1.intermediate.intermediate_act_fn/saturated"
    logged = [entry.get(key) for entry in trainer.state.log_history if "loss" in entry]
    assert [value is None for value in logged] == [False, True, False]
    assert all(0 <= value <= 1 and math.isfinite(value) for value in logged if value is not None)
    watched = trainer.callback_handler.callbacks
    probe = next(c.probing.probe for c in watched if hasattr(c, "probing"))
    assert [w.looks for w in probe.report()] == [2, 2, 2], "one look for each of two accumulated batches"
    assert not any(m._forward_pre_hooks for m in model.modules())

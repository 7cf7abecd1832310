"""``Probe`` on small models: what it counts against dense computations, and that it changes nothing."""

import copy
import io
import json
import math
import pickle

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import slaf
from slaf.core import SlafError
from slaf.surgery.probe import LOOKED_AT, Probe


def mlp(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(inplace=True), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 2))


class Twice(nn.Module):
    """One module called twice in a forward, and a method that goes past forward."""

    def __init__(self) -> None:
        super().__init__()
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.act(x) - 1.0)


class Recorder:
    def __init__(self) -> None:
        self.scalars: dict[str, float] = {}
        self.histograms: dict[str, dict] = {}
        self.figures: dict[str, object] = {}

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        assert step == 7
        self.scalars[tag] = value

    def add_histogram_raw(self, tag: str, **values: object) -> None:
        assert values["global_step"] == 7
        self.histograms[tag] = values

    def add_figure(self, tag: str, figure: object, step: int) -> None:
        assert step == 7
        self.figures[tag] = figure


def test_inputs_dead_and_saturated_are_those_of_a_dense_computation() -> None:
    model = mlp()
    with torch.no_grad():
        model[0].bias[2] = -100.0  # a dead unit
        model[2].weight[1] = 50.0  # a saturated one
    x = torch.randn(64, 4)
    with Probe(model) as probe:
        for batch in x.split(16):
            model(batch)
    first = model[0](x).detach().double()
    second = model[2](first.float().relu()).detach().double()
    report = probe.report()
    assert [w.name for w in report] == ["1", "3"]
    assert report["1"].looks == 4
    for watched, seen in ((report["1"], first), (report["3"], second)):
        assert watched.inputs.count == seen.numel()
        assert torch.allclose(watched.inputs.channel_mean, seen.mean(0), rtol=1e-5)
        assert torch.allclose(watched.inputs.channel_var, seen.var(0, correction=0), rtol=1e-4)
        assert watched.inputs.quantile(0.3) == pytest.approx(float(np.quantile(seen, 0.3)), rel=1e-5)
    assert report["1"].dead == pytest.approx(float((first <= 0).all(0).double().mean()))
    assert report["1"].dead >= 1 / 6
    assert report["1"].saturated == pytest.approx(float((first <= 0).double().mean()))
    slopes = 1 - second.tanh() ** 2
    assert report["3"].saturated == pytest.approx(float((slopes < 1e-3).double().mean()), abs=0.01)
    assert "out_of_range" not in report["1"].numbers()


@pytest.mark.parametrize("mode", ["training", "evaluation", "no_grad", "inference", "bfloat16"])
def test_nothing_that_the_model_computes_changes(mode: str) -> None:
    def run(probed: bool) -> list[Tensor]:
        model = mlp()
        model[3] = slaf.make("slaf(degree=3)", num_channels=5)
        model.train(mode != "evaluation")
        x = torch.randn(8, 4, generator=torch.Generator().manual_seed(1))
        if mode == "bfloat16":
            model, x = model.bfloat16(), x.bfloat16()
        probe = Probe(model)
        if probed:
            probe.attach()
        if mode in ("no_grad", "inference"):
            with torch.no_grad() if mode == "no_grad" else torch.inference_mode():
                out = [model(x)]
        else:
            y = model(x)
            y.square().sum().backward()
            out = [y.detach(), *(p.grad for p in model.parameters())]
        assert all(m.training == model.training for m in model.modules())
        if probed:
            assert probe.report()["3"].looks == 1
            assert probe.report()["3"].dead == 0.0
            probe.detach()
        return [*out, *model.state_dict().values()]

    torch.manual_seed(5)
    with_probe = run(True)
    state = torch.get_rng_state()
    torch.manual_seed(5)
    without = run(False)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(with_probe, without, strict=True))


def test_every_pause_reset_and_detach() -> None:
    model = mlp()
    probe = Probe(model, every=3).attach().attach()
    for _ in range(7):
        model(torch.randn(2, 4))
    assert probe.report()["1"].looks == 3
    probe.reset()
    assert probe.report()["1"].looks == 0
    probe.pause()
    model(torch.randn(2, 4))
    model[1](torch.randn(2, 6))
    assert probe.report()["1"].looks == 0
    probe.resume()
    model[1](torch.randn(2, 6))  # without the model's forward
    assert probe.report()["1"].looks == 1
    probe.detach()
    model(torch.randn(2, 4))
    assert probe.report()["1"].looks == 1
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in model.modules())


def test_calls_of_one_module_are_told_apart() -> None:
    model = Twice()
    with Probe(model) as probe:
        for _ in range(3):
            model(torch.linspace(-2, 2, 50).reshape(10, 5))
    report = probe.report()
    assert [w.name for w in report] == ["act", "act#2"]
    assert [w.looks for w in report] == [3, 3]
    assert (report["act"].inputs.min, report["act#2"].inputs.min) == (-2.0, -1.0)


def test_what_is_watched() -> None:
    model = nn.ModuleDict({"mix": nn.Sequential(nn.Linear(3, 3), nn.GELU()), "deep": slaf.make("prelu"), "norm": nn.LayerNorm(3)})
    assert list(Probe(model).watched) == ["mix.1", "deep"]
    assert list(Probe(model, ["mix.*", "norm"]).watched) == ["mix.0", "mix.1", "norm"]
    assert list(Probe(nn.ReLU()).watched) == [""]
    wrapped = slaf.wrap(nn.ReLU())
    assert list(Probe(nn.Sequential(wrapped)).watched) == ["0"], "an activation made of another is one"
    with pytest.raises(SlafError, match=r"no module of the model is called 'mix\.2'"):
        Probe(model, "mix.2")
    with pytest.raises(SlafError, match="every must be a positive integer; got 0"):
        Probe(model, every=0)


def test_modules_that_mix_elements_have_no_slope() -> None:
    model = nn.Sequential(nn.LayerNorm(4), nn.Softmax(-1), nn.GLU(), nn.BatchNorm1d(2), slaf.make("relu"))
    with Probe(model, "?") as probe:
        model(torch.randn(32, 4))
    report = probe.report()
    assert [w.dead for w in report] == [None, None, None, 0.0, 0.0], "batch norm is elementwise in evaluation mode"
    assert all(w.inputs.count for w in report)


@pytest.mark.parametrize(
    ("shape", "made", "channels"),
    [
        ((6, 5, 4, 3), "relu", 5),
        ((6, 4, 5), "relu", 5),
        ((5,), "relu", 5),
        ((), "relu", 1),
        ((6, 5, 4), "prelu(num_channels=5, share=channel)", 5),
        ((0, 5), "relu", None),
    ],
)
def test_channels(shape: tuple[int, ...], made: str, channels: int | None) -> None:
    model = nn.Sequential(slaf.make(made))
    with Probe(model) as probe:
        model(torch.randn(shape))
    watched = probe.report()["0"]
    assert (None if watched.inputs.channel_mean is None else len(watched.inputs.channel_mean)) == channels
    assert (watched.dead is None) == (channels is None)
    if shape == (6, 5, 4, 3):
        with Probe(model, channel_dim=-1) as probe:
            model(torch.randn(shape))
        assert len(probe.report()["0"].inputs.channel_mean) == 3


def test_a_changing_number_of_channels_is_pooled() -> None:
    model = nn.Sequential(nn.ReLU())
    x, y = torch.randn(3, 4), torch.randn(3, 6)
    with Probe(model) as probe:
        model(x)
        model(y)
        model(x)
    watched = probe.report()["0"]
    seen = torch.cat([x.reshape(-1), y.reshape(-1), x.reshape(-1)]).double().numpy()
    assert (watched.inputs.count, watched.dead) == (42, 0.0)
    np.testing.assert_allclose([watched.inputs.mean, watched.inputs.std], [seen.mean(), seen.std()])


def test_large_inputs_are_thinned_but_not_their_channels() -> None:
    model = nn.Sequential(nn.ReLU())
    x = torch.randn(64, 8, 64, 64) - torch.arange(8.0).view(1, 8, 1, 1)
    with Probe(model) as probe:
        model(x)
    watched = probe.report()["0"]
    assert LOOKED_AT / 2 < watched.inputs.count <= LOOKED_AT
    assert torch.allclose(watched.inputs.channel_mean, x.double().mean((0, 2, 3)), atol=0.05)


def test_out_of_range_and_non_finite_inputs() -> None:
    act = slaf.make("spline(num_channels=2, share=channel)")
    low, high = act.domain
    model = nn.Sequential(act).eval()
    x = torch.linspace(-10, 10, 200).reshape(100, 2)
    x[0] = torch.tensor([math.nan, math.inf])
    with Probe(model) as probe:
        model(x)
    watched = probe.report()["0"]
    assert (watched.inputs.count, watched.inputs.nonfinite) == (198, 2)
    kept = x[1:]
    assert watched.out_of_range == pytest.approx(float(((kept < low) | (kept > high)).double().mean()))
    assert probe.report().scalars()["0/out_of_range"] > 0


def test_report_as_text_and_json() -> None:
    model = mlp()
    probe = Probe(model)
    assert "not called" in str(probe.report())
    with probe:
        model(torch.randn(8, 4))
    text = str(probe.report())
    assert text.splitlines()[0].split()[:2] == ["layer", "activation"]
    assert "Tanh()" in text
    told = json.loads(json.dumps(probe.report().to_dict(), allow_nan=False))["activations"]
    assert [a["name"] for a in told] == ["1", "3"]
    assert told[1]["inputs"]["count"] == 40
    with pytest.raises(SlafError, match="watches no '4'"):
        probe.report()["4"]
    assert str(Probe(nn.Linear(2, 2)).report()) == "no activation module in this model"


def test_write_to_a_writer() -> None:
    model = mlp()
    model[3] = slaf.make("slaf(degree=3)", num_channels=5)
    x = torch.randn(100, 4)
    with Probe(model) as probe:
        model(x)
    writer = Recorder()
    probe.write(writer, 7, figures=True)
    assert set(writer.histograms) == {"activations/1/inputs", "activations/3/inputs"}
    told, seen = writer.histograms["activations/1/inputs"], model[0](x).detach().double()
    assert (told["num"], told["min"], told["max"]) == (600, float(seen.min()), float(seen.max()))
    assert [told["sum"], told["sum_squares"]] == pytest.approx([float(seen.sum()), float(seen.square().sum())])
    expected = np.histogram(seen, bins=[told["min"], *told["bucket_limits"]])[0]
    assert told["bucket_counts"] == pytest.approx(expected.tolist())
    assert {"activations/1/dead", "activations/1/saturated", "activations/3/dead"} <= set(writer.scalars)
    assert list(writer.figures) == ["activations/3/curve"]


def test_a_real_writer_takes_it(tmp_path) -> None:
    tensorboard = pytest.importorskip("torch.utils.tensorboard")
    model = mlp()
    with Probe(model) as probe:
        model(torch.randn(100, 4))
    with tensorboard.SummaryWriter(str(tmp_path)) as writer:
        probe.write(writer, 1)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(tmp_path)).Reload()
    assert read.Histograms("activations/1/inputs")[0].histogram_value.num == 600
    assert 0 <= read.Scalars("activations/1/dead")[0].value <= 1


def test_copies_and_pickles_do_not_feed_the_probe() -> None:
    model = mlp()
    with Probe(model) as probe:
        for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            twin(torch.randn(3, 4))
        buffer = io.BytesIO()
        torch.save(model, buffer)
        assert probe.report()["1"].looks == 0
        model(torch.randn(3, 4))
        assert probe.report()["1"].looks == 1


def test_checkpointing_is_not_counted_twice() -> None:
    from torch.utils.checkpoint import checkpoint

    class Checkpointed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = mlp()

        def forward(self, x: Tensor) -> Tensor:
            return checkpoint(self.body, x, use_reentrant=False)

    model = Checkpointed()
    with Probe(model) as probe:
        model(torch.randn(3, 4)).sum().backward()
    assert [w.looks for w in probe.report()] == [1, 1]


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # torch, at any graph break
def test_under_torch_compile_if_attached_before() -> None:
    model = mlp()
    x = torch.randn(8, 4)
    expected = model(x)
    with Probe(model) as probe:
        compiled = torch.compile(model, backend="eager")
        for _ in range(3):
            assert torch.allclose(compiled(x), expected)
    report = probe.report()
    assert [w.looks for w in report] == [3, 3]
    assert report["1"].inputs.mean == pytest.approx(float(model[0](x).detach().mean()), rel=1e-5)

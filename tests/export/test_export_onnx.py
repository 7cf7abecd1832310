"""ONNX: every learned family in ONNX Runtime, standard operators, free batch size, names, opset."""

import warnings

import pytest
import torch
from torch import nn

import slaf
from slaf.bases import PiecewiseBasis, PolynomialBasis
from slaf.bases.base import bases
from slaf.core import SlafError

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
runtime = pytest.importorskip("onnxruntime")

PIECEWISE = [f"slaf(basis={name})" for name in bases.names() if issubclass(bases[name], PiecewiseBasis)]
FAMILIES = [
    "rational(5,4)",
    "rational(preset=kat_swish)",
    "rational(4, 3, denominator=joint)",
    "slaf(degree=5)",
    "slaf(preset=paper_b)",
    "slaf(squash=tanh)",
    *(
        f"slaf(basis={name}, {'degree=3' if issubclass(bases[name], PolynomialBasis) else 'terms=4'})"  # a graph's size is its time
        for name in bases.names()
        if not issubclass(bases[name], PiecewiseBasis)
    ),
    "spline",
    "piecewise_linear",
    "gp",
    "apl",
    "mixture",
    "polyrelu",
    "polynorm",
    "formula('a*x + sin(b*x)', a=0.5, b=1.0)",
    "prelu",
    "snake",
    "swish",
    "batch_norm",
]
GROUPS = {"all": FAMILIES, "piecewise": PIECEWISE}
"""Apart: torch's optimiser breaks the graph of a basis of pieces, and then a plainer one is written."""


def module_for(spec, channels):
    try:
        return slaf.make(spec, num_channels=channels)
    except SlafError:
        return slaf.make(spec)


class Cells(nn.Module):
    """A convolution shared by many activations side by side: one export serves all."""

    def __init__(self, activations):
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3)
        self.activations = nn.ModuleList(activations)

    def forward(self, images):
        y = self.convolution(images)
        return {f"y{i}": activation(y) for i, activation in enumerate(self.activations)}


def trained(modules):
    """With statistics that are not the initial ones."""
    torch.manual_seed(0)
    for module in modules:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module.train()(2 * torch.randn(16, 4, 3, 3) + 0.3)
    return modules


@pytest.mark.parametrize("group", GROUPS)
def test_every_learned_family_agrees_in_onnx_runtime(tmp_path, group):
    specs = GROUPS[group]
    assert specs
    model = Cells(trained([module_for(spec, 4) for spec in specs]))
    images = torch.randn(2, 3, 6, 6)
    state = {k: v.clone() for k, v in model.state_dict().items()}
    written = slaf.export(model, tmp_path / "all.onnx", example=images)
    assert written.max_rel <= 1e-5, written
    assert written.max_rel > 0
    assert written.standard_only
    assert model.training
    assert all(m.training for m in model.modules())
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    # the measure is over all outputs; here each by itself, in a batch of one
    session = runtime.InferenceSession(tmp_path / "all.onnx", providers=["CPUExecutionProvider"])
    images = torch.randn(1, 3, 6, 6)
    wanted = model.eval()(images)
    for spec, name, got in zip(specs, written.outputs, session.run(None, {"images": images.numpy()}), strict=True):
        y = wanted[name].detach()
        assert got.shape == y.shape
        assert float((torch.from_numpy(got) - y).abs().max()) <= 1e-5 * float(y.abs().max()), spec


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.convolution, self.act = nn.Conv2d(3, 4, 3), slaf.make("slaf(degree=5)", num_channels=4)
        self.norm, self.out, self.last = nn.BatchNorm2d(4), nn.Linear(4, 2), slaf.make("rational(5,4)")

    def forward(self, image, scale=None, *, flip: bool = False):
        y = self.norm(self.act(self.convolution(image.flip(-1) if flip else image))).mean((2, 3))
        y = self.last(self.out(y))
        return (y if scale is None else y * scale), y.argmax(1)


def test_a_small_network_holds_standard_operators_and_a_free_batch_size(tmp_path):
    example = {"scale": torch.rand(1, 2), "image": torch.randn(1, 3, 6, 6), "flip": True}
    written = slaf.export(Network(), tmp_path / "net.onnx", example=example, opset=20, output_names=["score", "label"])
    proto = onnx.load(tmp_path / "net.onnx")
    onnx.checker.check_model(proto)
    assert {node.domain for node in proto.graph.node} <= {"", "ai.onnx"}
    assert not proto.functions
    assert written.standard_only
    assert written.operators == {k: sum(n.op_type == k for n in proto.graph.node) for k in written.operators}
    assert sum(written.operators.values()) == len(proto.graph.node)
    assert written.opset == next(o.version for o in proto.opset_import if o.domain == "") == 20
    assert (written.inputs, written.outputs) == (("image", "scale"), ("score", "label"))
    assert written.size == (tmp_path / "net.onnx").stat().st_size
    for value in (*proto.graph.input, *proto.graph.output):
        assert value.type.tensor_type.shape.dim[0].dim_param == "batch"
    assert written.dynamic
    assert written.max_abs < 1e-5
    for said in ("opset 20", "standard operators only", "image, scale", "batch size free", "max absolute difference"):
        assert said in str(written)
    assert written.to_dict()["path"] == str(tmp_path / "net.onnx")


def test_a_fixed_batch_size_and_no_check(tmp_path):
    written = slaf.export(nn.ReLU(), tmp_path / "relu.model", example=torch.randn(3, 2), to="onnx", check=False, dynamic=None)
    shape = onnx.load(tmp_path / "relu.model").graph.input[0].type.tensor_type.shape
    assert [d.dim_value for d in shape.dim] == [3, 2]
    assert (written.max_abs, written.max_rel, written.dynamic) == (None, None, False)
    assert "difference" not in str(written)


class Broken(nn.Module):
    def forward(self, _x):
        raise RuntimeError("boom")


class Clash(nn.Module):
    def forward(self, x):
        return {"x": x + 1}


class Batch(nn.Module):
    def forward(self, x):
        return x[: x.shape[0] // 2] if x.shape[0] > 3 else x


@pytest.mark.parametrize(
    ("model", "example", "options", "words"),
    [
        (nn.ReLU(), None, {}, "example is needed"),
        (nn.ReLU(), "pictures", {}, "example must be a tensor"),
        (nn.ReLU(), {"flag": True}, {}, "holds no tensor"),
        (nn.ReLU(), (torch.ones(1), torch.ones(1)), {}, "does not fit the model's forward"),
        (Broken(), torch.ones(2, 2), {}, "model fails on the example: RuntimeError: boom"),
        (nn.Linear(3, 3), torch.ones(2, 2), {}, "model fails on the example"),
        (nn.ReLU(), torch.ones(2, 2), {"opset": 7}, "opset must be an integer from 18"),
        (nn.ReLU(), torch.ones(2, 2), {"dynamic": "all"}, "dynamic must be one of batch"),
        (nn.ReLU(), torch.ones(2, 2), {"input_names": ["a", "b"]}, "input_names must be 1 different names"),
        (nn.ReLU(), torch.ones(2, 2), {"input_names": ["a"], "output_names": ["a"]}, "both be called 'a'"),
        (nn.ReLU(), torch.ones(2, 2), {"opsett": 20}, "did you mean 'opset'"),
        (Batch(), torch.ones(4, 2), {}, "dynamic=None fixes it"),
    ],
)
def test_errors_are_one_sentence_and_write_nothing(tmp_path, model, example, options, words):
    model.train()
    with pytest.raises(SlafError, match=words):
        slaf.export(model, tmp_path / "x.onnx", example=example, **options)
    assert not list(tmp_path.iterdir())
    assert model.training


def test_an_output_that_has_an_inputs_name_gets_another(tmp_path):
    written = slaf.export(Clash(), tmp_path / "x.onnx", example=[torch.ones(2, 2), torch.zeros(3, 2)])
    assert (written.inputs, written.outputs) == (("x",), ("x_out",))


def test_what_differs_is_measured(tmp_path, monkeypatch):
    """A runtime whose results are off by one in a thousand is found out."""
    import slaf.export.onnx as writer

    real = writer.session

    class Off:
        def __init__(self, inner):
            self.inner = inner

        def get_inputs(self):
            return self.inner.get_inputs()

        def run(self, names, feeds):
            return [y * y.dtype.type(1.001) for y in self.inner.run(names, feeds)]

    monkeypatch.setattr(writer, "session", lambda *given: Off(real(*given)))
    written = slaf.export(nn.ReLU(), tmp_path / "x.onnx", example=torch.randn(4, 3))
    assert 0.9e-3 < written.max_rel < 1.1e-3


def test_a_missing_package_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    with pytest.raises(SlafError, match=r'onnxscript; install it with: pip install "slaf\[export\]"'):
        slaf.export("gelu", tmp_path / "x.onnx")
    assert not list(tmp_path.iterdir())

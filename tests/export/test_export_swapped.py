"""Swapped models leave as ONNX, torch.export programs, weights and C headers, and compute there what they compute here."""

import shutil
import subprocess

import pytest
import torch
from calibrated import calibrated, fresh

import slaf
from slaf.surgery import drift, folded_sites, unfolded_batch_norms
from slaf.surgery.drift import tensors_of
from slaf.surgery.watching.observe import call

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
runtime = pytest.importorskip("onnxruntime")

RATIONAL, LINES, POLYNOMIAL = "rational(5,4)", "piecewise_linear(knots=32)", "slaf(degree=9)"
OPERATORS = ("", "ai.onnx")
transformers = pytest.mark.xdist_group("transformers")


def swapped(name, rules, **options):
    """A calibrated model with other activations, in evaluation mode, and held-out inputs of four samples."""
    model, given, held_out = calibrated(name, **options)
    return slaf.swap(model, rules, given, held_out=held_out).eval(), fresh(held_out, 4, seed=5)


def check_graph(path):
    """Standard operators alone, by the file itself: domains of imports, nodes (those of subgraphs too) and functions."""
    proto = onnx.load(path)
    onnx.checker.check_model(proto, full_check=True)
    assert not proto.functions
    assert {o.domain for o in proto.opset_import} <= {*OPERATORS}
    graphs = [proto.graph]
    for graph in graphs:
        for node in graph.node:
            assert node.domain in OPERATORS, node.op_type
            assert onnx.defs.has(node.op_type)
            graphs += [g for a in node.attribute for g in (*a.graphs, *([a.g] if a.HasField("g") else []))]
    return proto


def parity(model, path, example):
    """Largest |difference| of ONNX Runtime and torch relative to the largest |output|, for every output by itself."""
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    feeds = list(example.values()) if isinstance(example, dict) else [example]
    named = zip(session.get_inputs(), (v for v in feeds if isinstance(v, torch.Tensor)), strict=True)
    got = session.run(None, {put.name: value.numpy() for put, value in named})
    with torch.no_grad():
        wanted = tensors_of(call(model, example))
    assert all(y.dtype == torch.float32 for y in wanted.values())
    return {k: float((torch.from_numpy(g) - y).abs().max() / y.abs().max()) for (k, y), g in zip(wanted.items(), got, strict=True)}


def exported(model, path, example):
    """The file's path, parity proven twice: by the exporter, and here in another batch size."""
    written = slaf.export(model, path, example=example)
    assert written.standard_only
    assert written.dynamic
    assert written.max_rel <= 1e-5, written
    other = parity(model, path, fresh(example, 7, seed=6))
    assert max(other.values()) <= 1e-5, other
    return check_graph(path)


@pytest.mark.parametrize("name", ["mlp", *(pytest.param(n, marks=transformers) for n in ("bert", "vit", "gpt2", "llama"))])
def test_models_with_rationals_agree_in_onnx_runtime(tmp_path, request, name):
    if name in ("gpt2", "vit") and not request.config.getoption("--slow"):
        pytest.skip("--slow exports GPT-2 and the vision transformer too")
    model, example = swapped(name, RATIONAL)
    proto = exported(model, tmp_path / "model.onnx", example)
    kinds = {n.op_type for n in proto.graph.node}
    assert "Div" in kinds  # the rational as it is, the old function nowhere
    assert not kinds & {"Relu", "Gelu", "Erf", "Sigmoid"}
    assert name != "mlp" or "Tanh" not in kinds


def test_a_resnet_with_rationals_lines_and_polynomials_agrees_in_onnx_runtime(tmp_path, request):
    """One export for three families, of a network of half the depth with every kind of block; a second of tracing for each activation."""
    blocks = 2 if request.config.getoption("--slow") else 1
    model, example = swapped("resnet18", {"layer1.*": LINES, "layer4.*": POLYNOMIAL, "relu": RATIONAL}, blocks=blocks)
    assert len(model.slaf_report.sites) == 1 + 8 * blocks
    proto = exported(model, tmp_path / "model.onnx", example)
    assert "Relu" not in {n.op_type for n in proto.graph.node}


@pytest.mark.parametrize("spec", [RATIONAL, LINES, POLYNOMIAL])
def test_a_resnet_of_one_family_agrees_in_onnx_runtime(tmp_path, request, spec):
    if not request.config.getoption("--slow"):
        pytest.skip("--slow exports every family by itself")
    model, example = swapped("resnet18", {"relu": spec})
    exported(model, tmp_path / "model.onnx", example)


def test_swapped_frozen_and_folded_to_onnx_and_c(tmp_path):
    model, example = swapped("resnet18", {"relu": RATIONAL}, blocks=1)
    frozen = slaf.freeze(model, example=example)
    assert not unfolded_batch_norms(frozen)
    assert drift(model, frozen, example).relative <= 1e-5
    cheap = slaf.fold(frozen, to="piecewise_linear", example=example, pieces=12)
    assert len(folded_sites(cheap)) == 9
    proto = exported(cheap, tmp_path / "model.onnx", example)
    assert not {n.op_type for n in proto.graph.node} & {"BatchNormalization", "Relu", "Div"}
    header = slaf.export(cheap, tmp_path / "activations.h")
    for site in folded_sites(cheap):  # the shared modules of which no call is left are there too
        assert header.functions[f"slaf_{site.name.replace('.', '_')}"] == pytest.approx(site.error_bound)
    compiles(tmp_path / "activations.h", header.functions)


def compiles(header, functions):
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("there is no C compiler here")
    calls = "".join(f"    y += {name}(x);\n" for name in functions)
    body = f"{{\n    float y = 0;\n{calls}    return y;\n}}\n"
    (header.parent / "all.c").write_text(f'#include "{header.name}"\nfloat all(float x);\nfloat all(float x)\n{body}')
    flags = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only"]
    done = subprocess.run([compiler, *flags, "all.c"], cwd=header.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@transformers
def test_a_swapped_bert_as_a_program_and_as_weights(tmp_path):
    model, example = swapped("bert", RATIONAL)
    written = slaf.export(model, tmp_path / "bert.pt2", example=example)
    assert written.max_rel <= 1e-6
    program = torch.export.load(tmp_path / "bert.pt2").module()
    other = fresh(example, 3, seed=8)
    with torch.no_grad():
        torch.testing.assert_close(program(**other)["logits"], model(**other).logits, rtol=1e-6, atol=1e-6)
    torch.save(model.state_dict(), tmp_path / "bert.pt")
    again, _ = swapped("bert", RATIONAL)
    with torch.no_grad():
        for parameter in again.parameters():
            parameter.zero_()
    again.load_state_dict(torch.load(tmp_path / "bert.pt", weights_only=True))
    with torch.no_grad():
        assert torch.equal(again(**other).logits, model(**other).logits)

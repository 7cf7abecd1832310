"""C headers: compiled with every warning an error, and compared with the torch module on 100,000 points."""

import ctypes
import shutil
import subprocess

import numpy as np
import pytest
import torch
from torch import nn

import slaf
from slaf.core import SlafError
from slaf.export.c import export_c
from slaf.export.c_text import number, unique_name

COMPILER = shutil.which("cc") or shutil.which("gcc")
compiled = pytest.mark.skipif(COMPILER is None, reason="there is no C compiler here")

WRAPPER = """
#include "{header}"
void run_{name}(const float *x, float *y, int n, int channel)
{{
    for (int i = 0; i < n; i++)
        y[i] = {name}(x[i]{channel});
    (void)channel;
}}
"""


def build(folder, header, functions):
    """The functions of a header as {name: f(x, channel)}; ``functions`` says whether each has channels."""
    source = folder / "all.c"
    text = "".join(WRAPPER.format(header=header.name, name=n, channel=", channel" if c else "") for n, c in functions.items())
    source.write_text(text)
    library = folder / f"{header.stem}.so"
    flags = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-O1", "-shared", "-fPIC"]
    done = subprocess.run([COMPILER, *flags, str(source), "-o", str(library)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    loaded = ctypes.CDLL(str(library))
    pointer = ctypes.POINTER(ctypes.c_float)

    def caller(name):
        def call(x, channel=0):
            x = np.ascontiguousarray(x, dtype=np.float32)
            y = np.empty_like(x)
            getattr(loaded, f"run_{name}")(x.ctypes.data_as(pointer), y.ctypes.data_as(pointer), x.size, channel)
            return torch.from_numpy(y)

        return call

    return {name: caller(name) for name in functions}


def points(low, high, n=100_000):
    """In and around the interval, its ends and their neighbours."""
    generator = torch.Generator().manual_seed(1)
    x = low - (high - low) + 3 * (high - low) * torch.rand(n, generator=generator)
    ends = np.float32([low, high, 0, -0.0])
    near = np.concatenate([np.nextafter(ends, np.float32(-np.inf)), ends, np.nextafter(ends, np.float32(np.inf))])
    return torch.cat([x, torch.from_numpy(near)])


def compare(c, module, low, high, column=0, bound=None):
    """C against torch in float32 everywhere, against float64 on the interval within ``bound``, and at NaN and infinities."""
    x = points(low, high)
    with torch.no_grad():
        wanted, exact = module.curves(x)[:, column], None
        module.double()
        exact = module.curves(x.double())[:, column]
        module.float()
        odd = torch.tensor([torch.nan, torch.inf, -torch.inf])
        at_odd = module.curves(odd)[:, column]
    got = c(x.numpy(), column)
    torch.testing.assert_close(got, wanted, rtol=2e-5, atol=2e-6 * float(wanted.abs().max().clamp(min=1)))
    inside = (x >= low) & (x <= high)
    if bound is not None:
        assert float((got.double() - exact)[inside].abs().max()) <= bound
    torch.testing.assert_close(c(odd.numpy(), column), at_odd, equal_nan=True)


FOLDS = {
    "piecewise_linear": {},
    "uniform": {"to_form": "piecewise_linear", "breakpoints": "uniform", "pieces": 24},
    "one_piece": {"to_form": "piecewise_linear", "pieces": 1, "outside": "clamp"},
    "piecewise_polynomial": {"to_form": "piecewise_polynomial", "outside": "linear"},
    "polynomial": {"to_form": "polynomial", "degree": 9, "outside": "clamp"},
    "extrapolated": {"to_form": "polynomial", "degree": 6, "outside": "extrapolate", "interval": (-2.0, 5.0)},
    "pieces_extrapolated": {"to_form": "piecewise_linear", "outside": "extrapolate"},
}


@compiled
@pytest.mark.parametrize("case", FOLDS)
def test_folded_forms_compute_what_the_module_does(tmp_path, case):
    options = {"to_form": "piecewise_linear", "interval": (-4.0, 4.0)} | FOLDS[case]
    written = slaf.export("gelu", tmp_path / "gelu.h", name="gelu_c", **options)
    to = options.pop("to_form")
    module = slaf.fit.fold("gelu", to, **options)
    assert written.functions == {"gelu_c": module.error_bound}
    text = (tmp_path / "gelu.h").read_text()
    for said in ("Interval", "proven", "x*(1", "#ifndef GELU_H_INCLUDED"):
        assert said in text
    functions = build(tmp_path, tmp_path / "gelu.h", {"gelu_c": False})
    compare(functions["gelu_c"], module, *module.interval)
    x = points(*module.interval)
    x = x[(x >= module.interval[0]) & (x <= module.interval[1])]
    off = functions["gelu_c"](x.numpy()).double() - nn.functional.gelu(x.double())
    assert float(off.abs().max()) <= module.error_bound


@compiled
def test_the_int8_table_for_all_inputs(tmp_path):
    options = {"interval": (-6.0, 3.0), "input_scale": 0.05, "input_zero": 7}
    slaf.export("silu", tmp_path / "silu.h", to_form="int8", **options)
    module = slaf.fit.fold("silu", "int8", **options)
    functions = build(tmp_path, tmp_path / "silu.h", {"slaf_silu": False})
    # halves between codes round to the even one
    halves = (torch.arange(-600, 600).float() + 0.5) * module.input_scale
    x = torch.cat([points(*module.interval), halves, torch.tensor([torch.nan, torch.inf, -torch.inf, 3e38, -3e38])])
    assert torch.equal(functions["slaf_silu"](x.numpy()).nan_to_num(nan=9), module(x).nan_to_num(nan=9))
    source = tmp_path / "codes.c"
    lines = (
        '#include "silu.h"',
        "int code_of(int q) { return slaf_silu_int8((signed char)q); }",
        "int code(float x) { return slaf_silu_code(x); }",
    )
    source.write_text("\n".join(lines) + "\n")
    subprocess.run([COMPILER, "-std=c99", "-shared", "-fPIC", str(source), "-o", str(tmp_path / "codes.so")], check=True)
    codes = ctypes.CDLL(str(tmp_path / "codes.so"))
    assert [codes.code_of(q) for q in range(-128, 128)] == module.table.tolist()
    codes.code.argtypes = [ctypes.c_float]
    assert [codes.code(float(v)) for v in halves[::7]] == module.codes(halves[::7]).tolist()


LEARNED = {
    "rational": ("rational(5,4)", (-6.0, 6.0)),
    "per_term": ("rational(preset=kat_swish)", (-3.0, 3.0)),
    "joint": ("rational(4, 3, denominator=joint)", (-6.0, 6.0)),
    "square": ("rational(5, 4, denominator=square)", (-6.0, 6.0)),
    "no_poles": ("rational(3, 0)", (-6.0, 6.0)),
    "steep": ("rational(2, 6)", (-6.0, 6.0)),
    "slaf": ("slaf(degree=5)", (-2.9, 2.9)),
    "powers": ("slaf(degree=7, basis=power)", (-2.9, 2.9)),
    "hermite": ("slaf(degree=6, basis=hermite)", (-2.9, 2.9)),
    "legendre": ("slaf(degree=6, basis=legendre)", (-2.9, 2.9)),
    "paper": ("slaf(preset=paper_b)", (-0.9, 0.9)),
    "interval": ("slaf(degree=6, interval=(-2, 5))", (-2.0, 5.0)),
    "spline": ("spline(knots=11)", (-4.0, 4.0)),
    "piecewise_linear": ("piecewise_linear(knots=7, low=-3, high=2)", (-3.0, 2.0)),
}


@compiled
def test_learned_families_per_channel_and_shared(tmp_path):
    """All in one model, so that they are compiled at once; every channel with coefficients of its own."""
    torch.manual_seed(3)
    model = nn.Module()
    for name, (spec, _) in LEARNED.items():
        module = slaf.make(spec, num_channels=3)
        model.add_module(name, module)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.mul_(1 + 0.1 * torch.randn_like(parameter))
    model.shared = slaf.make("rational(5,4)")
    written = slaf.export(model, tmp_path / "all.h")
    assert set(written.functions) == {f"slaf_{name}" for name in [*LEARNED, "shared"]}
    functions = build(tmp_path, tmp_path / "all.h", {name: name != "slaf_shared" for name in written.functions})
    assert model.training
    model.eval()
    for name, (_, interval) in LEARNED.items():
        for channel in (0, 2):
            compare(functions[f"slaf_{name}"], getattr(model, name), *interval, channel, written.functions[f"slaf_{name}"])
    compare(functions["slaf_shared"], model.shared, -6.0, 6.0, bound=written.functions["slaf_shared"])
    assert max(written.functions.values()) < 1e-3  # the bounds say something


@compiled
def test_large_inputs_do_not_overflow(tmp_path):
    model = slaf.make("rational(5,4)")
    slaf.export(model, tmp_path / "r.h")
    functions = build(tmp_path, tmp_path / "r.h", {"slaf_rational": False})
    x = torch.logspace(0, 38, 200)
    torch.testing.assert_close(functions["slaf_rational"](x.numpy()), model(x).detach(), rtol=1e-5, atol=0)


@compiled
def test_a_model_has_a_function_for_every_site(tmp_path):
    """Torch's own modules, one that is used twice, names that C does not have, and channels that differ."""
    act = slaf.make("prelu", num_channels=3)
    with torch.no_grad():
        act.weight.copy_(torch.tensor([0.1, -0.5, 0.1]))
    model = nn.ModuleDict(
        {"2 go": nn.ReLU(), "again": nn.ReLU(), "act-fn": act, "leaky": nn.LeakyReLU(0.3), "own": nn.PReLU(), "gate": nn.GELU("tanh")}
    )
    model["act_fn"] = nn.Hardtanh(-2.0, 1.0)
    model["shortcut"] = nn.Identity()  # no function for it
    written = slaf.export(model, tmp_path / "net.h", name="net", interval=(-5, 5))
    names = ["net_2_go", "net_again", "net_act_fn", "net_leaky", "net_own", "net_gate", "net_act_fn_2"]
    assert sorted(written.functions) == sorted(names)
    assert "The same as net_2_go" in (tmp_path / "net.h").read_text()
    functions = build(tmp_path, tmp_path / "net.h", {n: n == "net_act_fn" for n in written.functions})
    x = points(-5, 5, 10_000)
    inside = (x >= -5) & (x <= 5)
    for module, name in zip(model.values(), names, strict=False):
        for channel in range(3 if module is act else 1):
            got, wanted = functions[name](x.numpy(), channel), (module.curves(x)[:, channel] if module is act else module(x)).detach()
            assert float((got - wanted)[inside].abs().max()) <= written.functions[name]
            assert float((got - wanted).abs().max()) < 0.05  # straight lines beyond


def test_hard_functions_are_exact_with_few_pieces(tmp_path):
    assert slaf.export("relu", tmp_path / "relu.h").functions["slaf_relu"] < 4e-6
    assert "2 straight pieces" in (tmp_path / "relu.h").read_text()
    assert "float y = d * c[piece][1] + c[piece][0];" in (tmp_path / "relu.h").read_text()


def test_constants_read_back_exactly():
    bits = torch.randint(0, 2**31, (20_000,), generator=torch.Generator().manual_seed(0)).to(torch.int32)
    values = bits.view(torch.float32)
    values = torch.cat([values[values.isfinite()], torch.tensor([1e-45, 3.4028235e38, -0.0, 16777216.0])])
    for value in values.tolist():
        text = number(value)
        assert text.endswith("f")
        assert "." in text or "e" in text
        assert np.float32(text[:-1]) == np.float32(value)
    with pytest.raises(SlafError, match="cannot be written in C"):
        number(1e39)


def test_names_are_c_identifiers():
    assert unique_name("layer1.0.act", ()) == "layer1_0_act"
    assert unique_name("0.act", ()) == "f_0_act"
    assert unique_name("int", ()) == "int_"
    assert unique_name("tanh", ()) == "tanh_"
    assert unique_name("é", ()) == "activation"
    assert unique_name("a.b", ("a_b", "a_b_2")) == "a_b_3"


@pytest.mark.parametrize(
    ("model", "options", "words"),
    [
        ("gelu", {"name": "2fast"}, "name must be letters"),
        ("gelu", {"name": "tanhf"}, "no name of C's own"),
        ("gelu", {"name": "while"}, "no name of C's own"),
        ("gelu", {"to_form": "peicewise_linear"}, "did you mean 'piecewise_linear'"),
        ("gelu", {"interval": (3, 2)}, "interval must be"),
        ("gelu", {"tolerance": -1.0}, "tolerance must be"),
        ("gelu", {"opset": 18}, "opset is no option for to=c"),
        ("gelu", {"toleranc": 1e-3}, "did you mean 'tolerance'"),
        ("polynorm", {}, "mixes elements"),
        (nn.Linear(2, 2), {}, "no activation module"),
        (nn.Sequential(slaf.make("batch_norm", num_channels=2)), {}, "0: batch_norm mixes elements"),
    ],
)
def test_errors_are_one_sentence_and_write_nothing(tmp_path, model, options, words):
    with pytest.raises(SlafError, match=words):
        slaf.export(model, tmp_path / "x.h", **options)
    assert not list(tmp_path.iterdir())


def test_modules_that_mix_are_named_in_the_header(tmp_path):
    model = nn.ModuleDict({"act": nn.ReLU(), "norm": slaf.make("batch_norm", num_channels=2)})
    export_c(model, tmp_path / "x.h")
    assert "Left out: norm: batch_norm mixes elements." in (tmp_path / "x.h").read_text()

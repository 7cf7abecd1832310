"""The benchmarks of layers run and judge formulas rightly; no time is asserted."""

import importlib.util
import json
import sys
import warnings
from pathlib import Path

import pytest
import sympy
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def _load(name: str):
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", BENCHMARKS / f"{name}.py")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def script():
    return _load("kan_symbolic")


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs a script's ``main`` here, quickly, and gives what it prints."""
    threads = torch.get_num_threads()

    def main(module, *words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["script", "--quick", *words])
        with warnings.catch_warnings():
            module.main()
        return capsys.readouterr().out

    yield main
    torch.set_num_threads(threads)


def test_the_cost_of_layers_is_measured_without_other_libraries(run) -> None:
    told = run(_load("kan"))
    for row in ("product", "slaf B-spline, grid 5", "slaf B-spline, grid 64", "slaf Chebyshev, degree 4", "nn.Linear + SiLU"):
        assert row in told
    assert "64 intervals cost" in told


def test_what_evonorm_costs_is_measured_beside_its_formula(run) -> None:
    told = run(_load("evonorm"))
    for row in ("evonorm_s0", "evonorm_b0", "S0 in eager torch", "B0 in eager torch"):
        assert row in told


def test_what_folded_forms_cost_is_measured_beside_their_definitions(run) -> None:
    told = run(_load("folded"))
    for row in ("piecewise_linear, 1000", "polynomial, degree 15", "int8", "by channel", "definition, and backward"):
        assert row in told


def test_a_neural_field_is_fitted_by_both_decoders(run) -> None:
    told = run(_load("neural_field"))
    for row in ("32 Gaussian units", "611", "ReLU 32-32-32", "2,499"):
        assert row in told


def test_a_formula_is_found_and_written_down(run, script, tmp_path: Path) -> None:
    assert "exponential" in run(script, "--json", str(tmp_path / "found.json"))
    (found,) = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))["tasks"]["exponential"]["slaf"]
    assert found["verdict"] == "symbolic"
    assert found["formula"] == "exp(x2**2 + sin(pi*x1))"


def test_an_unknown_task_is_one_sentence(run, script, capsys) -> None:
    with pytest.raises(SystemExit, match="2"):
        run(script, "--only", "sum")
    assert "unknown task 'sum'; there are exponential, product" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("formula", "verdict"),
    [
        ("exp(sin(pi*x1))*exp(x2**2)", "symbolic"),
        ("1.0001*exp(sin(3.1416*x1) + x2**2)", "numeric"),
        ("1.01*exp(sin(pi*x1) + x2**2)", "close"),
        ("1.03*exp(sin(pi*x1) + x2**2)", "wrong"),
        ("exp(sin(pi*x1) + x2**2) + Max(0, x1 - 1)", "wrong"),  # right where the samples are
        ("exp(sin(pi*x1) + x2**2) + 0*log(x1)", "symbolic"),
        ("x1 + log(x2)", "wrong"),  # not a number on half of the region
    ],
)
def test_formulas_are_judged_beyond_their_data(script, formula: str, verdict: str) -> None:
    symbols = {f"x{k}": sympy.Symbol(f"x{k}", real=True) for k in (1, 2)}
    assert script.judged(sympy.sympify(formula, locals=symbols), script.TASKS["exponential"]) == verdict


def test_every_target_is_right_by_its_own_judge(script) -> None:
    for task in script.TASKS.values():
        assert script.judged(task.expression(), task) == "symbolic"
    velocities = script.TASKS["velocities"]
    a, b = velocities.symbols()
    assert script.judged(sympy.tanh(sympy.atanh(a) + sympy.atanh(b)), velocities) in ("symbolic", "numeric")

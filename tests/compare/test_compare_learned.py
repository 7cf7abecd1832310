"""What a trial keeps of its learned activations: for each channel shown, its curve, its inputs and the formula of that curve."""

import re

import numpy as np
import pytest
import sympy

from slaf.compare import make_plan, run_trial


@pytest.mark.parametrize(
    ("activation", "width", "shown"),
    [
        ("slaf(degree=3)", 4, [0, 1, 2, 3]),
        ("slaf", 32, [0, 4, 8, 12, 16, 20, 24, 28]),  # at most 8 groups: each is there
        ("slaf(degree=3, share=unit)", 20, [0, 2, 5, 7, 10, 12, 15, 17]),
        ("prelu", 8, list(range(8))),
    ],
)
def test_each_channel_has_its_own_curve_inputs_and_formula(activation, width, shown):
    plan = make_plan("toy", [activation], 1, "smoke", {"widths": (width,)}, identity=False)
    record = run_trial(next(iter(plan.trials())))
    (site,) = record["learned"]
    assert site["channels"] == width
    assert site["shown"] == shown
    assert [len(site[k]) for k in ("before", "after", "ranges", "formulas")] == [len(shown)] * 4
    assert site["formulas"][0] == site["formula"]
    counts = np.asarray(site["histogram"]["by_channel"])
    assert counts.shape == (len(shown), len(site["histogram"]["counts"]))
    assert (counts.sum(axis=0) <= site["histogram"]["counts"]).all()
    assert counts.sum(axis=1) == pytest.approx(32, abs=2)  # the test points, but for those far out
    x, symbol = np.asarray(site["x"]), sympy.Symbol("x")
    for text, after in zip(site["formulas"], site["after"], strict=True):
        if " if " in text:
            first, other = re.split(r" if x >=? 0, else ", text)
            values = np.where(x >= 0, *(sympy.lambdify(symbol, sympy.sympify(part))(x) for part in (first, other)))
        else:
            values = sympy.lambdify(symbol, sympy.sympify(text))(x)
        assert np.abs(values - after).max() < 0.02 * max(1.0, np.abs(after).max())
    assert len(set(site["formulas"])) > 1

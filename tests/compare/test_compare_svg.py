"""Charts as SVG: ticks that a reader expects, paths that keep the line."""

import math
import re
from itertools import pairwise

import pytest

from slaf.compare.report.markup import data
from slaf.compare.report.svg import Plot, Scale, area, fit, number, path, steps


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 1, ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (-1.3, 2.2, ["−1", "0", "1", "2"]),
        (0.93, 0.99, ["0.93", "0.94", "0.95", "0.96", "0.97", "0.98", "0.99"]),
        (0, 45_000, ["0", "10,000", "20,000", "30,000", "40,000"]),
        (0, 3e-5, ["0", "5·10⁻⁶", "10⁻⁵", "1.5·10⁻⁵", "2·10⁻⁵", "2.5·10⁻⁵", "3·10⁻⁵"]),
    ],
)
def test_linear_ticks(low, high, ticks):
    found = Scale(low, high, 0, 100).ticks(6)
    step = found[1] - found[0]
    assert [number(t, step) for t in found] == ticks


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.02, 2.1, ["0.03", "0.1", "0.3", "1"]),
        (0.9, 30, ["1", "2", "5", "10", "20"]),
        (1e-7, 10, ["10⁻⁶", "10⁻⁴", "0.01", "1"]),
        (3e-4, 5e8, ["0.01", "1", "100", "10000", "10⁶", "10⁸"]),
    ],
)
def test_logarithmic_ticks(low, high, ticks):
    assert [number(t) for t in Scale(low, high, 0, 100, log=True).ticks(6)] == ticks


def test_whole_ticks():
    assert Scale(1, 3, 0, 100).ticks(6, whole=True) == [1, 2, 3]
    assert Scale(1, 30, 0, 100).ticks(6, whole=True) == [5, 10, 15, 20, 25, 30]


def test_an_axis_is_logarithmic_where_positive_values_span_a_factor_of_twenty():
    assert fit([0.1, 2.1], 0, 1).log
    assert not fit([0.1, 1.9], 0, 1).log
    assert not fit([-0.1, 100], 0, 1).log
    assert not fit([0.01, 1], 0, 1, linear=True).log
    assert not fit([], 0, 1).log
    one = fit([5.0], 0, 1)
    assert one.low < 5 < one.high


@pytest.mark.parametrize("scale", [Scale(-2, 5, 30, 430), Scale(0.01, 100, 250, 20, log=True)])
def test_a_scale_goes_from_start_to_end(scale):
    assert scale(scale.low) == pytest.approx(scale.start)
    assert scale(scale.high) == pytest.approx(scale.end)
    assert math.isnan(scale(math.nan))
    assert math.isnan(Scale(0.01, 100, 0, 1, log=True)(-1.0))


def points(d):
    """The places of a path's corners."""
    out = []
    for letter, u, v in re.findall(r"([Ml])(-?[\d.]+) (-?[\d.]+)", d):
        u, v = float(u), float(v)
        out.append((u, v) if letter == "M" else (out[-1][0] + u, out[-1][1] + v))
    return out


def test_a_path_keeps_the_line():
    curve = [(2.4 * i, 100 + 80 * math.sin(i / 15)) for i in range(161)]
    corners = points(path(curve))
    assert len(corners) < 120
    for x, y in curve:
        (a, b), (c, d) = next((p, q) for p, q in pairwise(corners) if p[0] <= x + 0.06 and x <= q[0] + 0.06)
        assert abs(b + (d - b) * (x - a) / (c - a) - y) < 0.3


def test_a_straight_line_has_two_ends():
    assert path([(i, 2 * i) for i in range(100)]) == "M0 0l99 198"


def test_a_path_is_interrupted_where_there_is_no_value():
    assert path([(0, 0), (1, 1), (2, math.nan), (3, 3), (4, 3)]) == "M0 0l1 1M3 3l1 0"
    assert path([(0, math.nan), (1, 5)]) == "M1 5h0"
    assert path([]) == ""


def test_areas_and_histograms_are_closed():
    assert area([(0, 1), (1, 1)], [(0, 2), (1, 3)]) == "M0 1l1 0l0 2l-1 -1z"
    assert area([(0, math.nan)], [(0, 1)]) == ""
    assert steps([0, 1, 2, 3], [5, 5, 2], 9) == "M0.0 9.0V5.0H1.0H2.0V2.0H3.0V9.0z"


def test_labels_are_escaped():
    plot = Plot(Scale(0, 1, 0, 10), Scale(0, 1, 10, 0), 10, 10)
    drawn = plot.chart(plot.axes("<b>", '"&'), '"><script>')
    assert "<b>" not in drawn
    assert "<script" not in drawn
    assert "&lt;b&gt;" in drawn


def test_no_string_closes_the_script_that_holds_it():
    held = data(["</script><!-- & \u2028"])
    assert held.count("<") == 2
    assert "\u2028" not in held
    assert "\\u003c/script\\u003e\\u003c!-- \\u0026 \\u2028" in held

"""Figures of activations: the lines hold the function's values, jumps and kinks are gaps, and what has no curve says so."""

import itertools
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import slaf
from slaf.plot import curve, tagged, tags, text, write
from slaf.plot.curve import COLORS, figure_bytes, spread


def lines(figure, panel=0):
    """(x, y) of the drawn lines that span the interval, axes' own left out."""
    return [line.get_data() for line in figure.axes[panel].lines if len(line.get_xdata()) > 2]


def test_the_line_is_the_function():
    ((x, y),) = lines(curve("gelu", -3, 3))
    wanted = torch.nn.functional.gelu(torch.from_numpy(np.asarray(x)))
    np.testing.assert_allclose(y, wanted, atol=1e-12)
    assert (x[0], x[-1]) == (-3, 3)


def test_derivatives_are_lines_in_one_panel_or_a_panel_each():
    (_, _), (x, first), (_, second) = lines(curve("tanh", derivatives=2))
    t = np.tanh(x)
    np.testing.assert_allclose(first, 1 - t**2, atol=1e-12)
    np.testing.assert_allclose(second, -2 * t * (1 - t**2), atol=1e-12)
    figure = curve("tanh,silu,gelu", derivatives=2)
    assert [a.get_title(loc="left") for a in figure.axes] == ["f", "f′", "f″"]
    assert all(len(lines(figure, n)) == 3 for n in range(3))
    assert {t.get_text() for t in figure.axes[1].texts} == {"tanh", "silu", "gelu"}


def test_a_derivative_is_broken_at_its_jumps_alone():
    (x, f), (_, slope) = lines(curve("hardtanh", derivatives=1))
    assert np.isfinite(f).all()
    assert np.round(x[np.isnan(slope)], 3).tolist() == [-1.0, 1.0]
    ((x, f),) = lines(curve("hardshrink"))
    assert np.round(x[np.isnan(f)], 3).tolist() == [-0.5, 0.5]


def test_learned_functions_are_light_lines_and_a_strong_mean():
    module = slaf.make("prelu", num_channels=100)
    with torch.no_grad():
        module.weight.copy_(torch.linspace(-1, 1, 100))
    drawn = lines(curve(module))
    assert 2 < len(drawn) <= 33
    x, mean = drawn[-1]
    np.testing.assert_allclose(mean, np.where(x > 0, x, 0.0), atol=1e-7)
    assert curve(module, derivatives=1).axes[0].get_title(loc="left") == "prelu(num_channels=100)"


def test_the_module_is_left_as_it_was():
    module = slaf.make("slaf(share=channel)", num_channels=4)
    before = {k: v.clone() for k, v in module.state_dict().items()}
    module.plot(derivatives=2)
    assert module.training
    for key, value in module.state_dict().items():
        assert value.dtype == before[key].dtype
        assert torch.equal(value, before[key])


def test_beyond_the_domain_the_ground_is_grey():
    plain = len(curve(slaf.make("slaf(share=layer, input=identity)")).axes[0].patches)
    module = slaf.make("slaf(share=layer, interval=(-2.0, 9.0))")
    assert len(curve(module).axes[0].patches) == plain + 1


def test_plain_modules_and_functions():
    figure = curve([nn.ReLU(), torch.sin, "relu"])
    assert {t.get_text() for t in figure.axes[0].texts} == {"ReLU", "sin", "relu"}


def test_given_axes_are_drawn_into():
    from matplotlib.figure import Figure

    figure = Figure()
    axes = figure.subplots(1, 2)
    assert curve("gelu", ax=axes[0]) is figure
    assert curve("gelu,relu", derivatives=1, ax=axes) is figure
    with pytest.raises(slaf.SlafError, match="sequence of 3 Axes"):
        curve("gelu,relu", derivatives=2, ax=axes)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("batch_norm",), "mixes elements"),
        (("gelo",), "did you mean 'gelu'"),
        ((" , ",), "no activation to draw"),
        (([],), "no activation to draw"),
        (("gelu", 1.0, 1.0), "low must be less than high"),
        (("gelu", float("nan"), 1.0), "low must be less than high"),
        (("gelu", -1, 1, 3), "derivatives must be 0, 1 or 2"),
        ((nn.Linear(3, 3),), "cannot be drawn"),
        ((3,), "must be a string, a module or a function"),
    ],
)
def test_what_cannot_be_drawn_says_so(arguments, words):
    with pytest.raises(slaf.SlafError, match=words):
        curve(*arguments)


def test_a_batch_norm_module_says_so_too():
    with pytest.raises(slaf.SlafError, match="mixes elements"):
        slaf.make("batch_norm(relu)", num_channels=2).plot()


def test_the_bytes_are_reproducible_and_a_notebook_shows_them():
    def picture(kind):
        return figure_bytes(curve("gelu,relu", derivatives=1), kind)

    assert picture("svg") == picture("svg")
    assert picture("png")[:8] == b"\x89PNG\r\n\x1a\n"
    assert curve("gelu")._repr_png_()[:4] == b"\x89PNG"


def test_without_matplotlib_the_command_is_named():
    code = "import importlib.util as u; u.find_spec = lambda name: None\nimport slaf; slaf.make('relu').plot()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert 'pip install "slaf[plot]"' in done.stderr.splitlines()[-1]


def test_colors_are_readable_on_white():
    weights = (0.2126, 0.7152, 0.0722)

    def luminance(color):
        parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        return sum(w * (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4) for w, c in zip(weights, parts, strict=True))

    assert all(1.05 / (luminance(c) + 0.05) >= 4.5 for c in COLORS)


@given(st.lists(st.floats(0, 1), max_size=12).map(sorted), st.floats(0.01, 0.2))
def test_labels_are_moved_apart_and_keep_their_order(places, gap):
    moved = spread(places, gap)
    assert len(moved) == len(places)
    assert all(b - a >= gap * (1 - 1e-9) for a, b in itertools.pairwise(moved))
    if all(b - a >= gap for a, b in itertools.pairwise(places)):
        assert moved == places


def test_text_draws_each_and_its_derivatives():
    drawn = text("relu,tanh", derivatives=1).split("\n\n")
    assert [d.splitlines()[0] for d in drawn] == ["relu", "relu′", "tanh", "tanh′"]


def test_write_leaves_a_whole_file_or_none(tmp_path):
    path = write(tmp_path / "a.svg", "gelu")
    assert path.read_text().rstrip().endswith("</svg>")
    with pytest.raises(slaf.SlafError, match="cannot write"):
        write(tmp_path / "no" / "a.svg", "gelu")
    with pytest.raises(slaf.SlafError, match=r"must end in \.pdf"):
        write(tmp_path / "a.gif", "gelu")
    assert [p.name for p in tmp_path.iterdir()] == ["a.svg"]


def test_tags():
    assert sum(tags().values()) >= len(tagged(["torch.nn"])) > 20
    assert "prelu" in tagged(["learnable", "torch.nn"])
    assert "relu" not in tagged(["learnable", "torch.nn"])
    with pytest.raises(slaf.SlafError, match="learnable"):
        tagged(["lernable"])

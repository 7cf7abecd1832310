"""The package as a whole: what an import brings along, and what its public names are."""

import subprocess
import sys

import pytest

import slaf

IMPORTS = "import sys, torch, numpy; before = set(sys.modules); {}; print(*{{m.partition('.')[0] for m in set(sys.modules) - before}})"


def brought(statement):
    done = subprocess.run([sys.executable, "-c", IMPORTS.format(statement)], capture_output=True, text=True, check=True)
    return set(done.stdout.split()) - sys.stdlib_module_names


@pytest.mark.parametrize("statement", ["import slaf", "import slaf.core", "import slaf; slaf.list(); slaf.make('slaf', num_channels=4)"])
def test_core_needs_torch_and_numpy_alone(statement):
    extras = {"sympy", "mpmath", "matplotlib", "sklearn", "scipy", "rich", "typer", "onnx", "pandas"}
    found = brought(statement)
    assert "slaf" in found
    assert not found & extras


def test_public_names_exist():
    for name in slaf.__all__:
        assert getattr(slaf, name) is not None
    assert set(slaf.__all__) <= set(dir(slaf))


def test_a_wrong_name_is_answered_with_the_nearest():
    with pytest.raises(AttributeError, match="did you mean 'expand'"):
        slaf.expnad  # noqa: B018

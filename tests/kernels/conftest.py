"""Settings for the tests of the kernels."""

import pytest

from slaf.kernels import native


@pytest.fixture(autouse=True)
def _best_instructions_again():
    yield
    native.force_isa(None)

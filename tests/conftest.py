"""Settings for every test."""

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    """Results and times that do not depend on the machine's cores."""
    torch.set_num_threads(1)

"""Settings for every test."""

import pytest
import torch


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="compile every activation with Inductor, not one of each family")
    parser.addoption("--cases", type=int, metavar="N", help="random cases of each kernel (10000 is the full number)")
    parser.addoption("--case-seed", type=int, metavar="S", help="which random cases: with several seeds a large number runs in pieces")


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    """Results and times that do not depend on the machine's cores."""
    torch.set_num_threads(1)

"""Settings for every test."""

import pytest
import torch


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="run what is marked slow, and compile every activation with Inductor")
    parser.addoption("--cases", type=int, metavar="N", help="random cases of each kernel (10000 is the full number)")
    parser.addoption("--case-seed", type=int, metavar="S", help="which random cases: with several seeds a large number runs in pieces")


@pytest.hookimpl(tryfirst=True)  # xdist reads the marks in the same hook
def pytest_collection_modifyitems(config, items):
    for item in items:
        if item.get_closest_marker("slow") and not config.getoption("--slow"):
            item.add_marker(pytest.mark.skip(reason="takes long: --slow runs it"))
        if item.name.endswith("-export]"):  # one ONNX graph holds most entries of a file: it is made once a worker
            item.add_marker(pytest.mark.xdist_group(f"export-{item.path.stem}"))


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    """Results and times that do not depend on the machine's cores."""
    torch.set_num_threads(1)

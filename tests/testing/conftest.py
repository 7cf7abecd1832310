"""Which tests share a worker."""

import pytest


@pytest.hookimpl(tryfirst=True)  # xdist reads the marks in the same hook
def pytest_collection_modifyitems(items):
    for item in items:
        if item.name.endswith("-export]"):  # one ONNX graph holds most entries: it is made once a worker
            item.add_marker(pytest.mark.xdist_group("export"))

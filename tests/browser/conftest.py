"""A real browser for the tests of pages: the system's chromium, installed if it is not there."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from filelock import FileLock
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[2]
NAMES = ("chromium", "chromium-browser", "google-chrome")

sys.path.insert(0, str(ROOT / "tests" / "compare"))  # the toy study


def find():
    return next((path for path in map(shutil.which, NAMES) if path), None)


@pytest.fixture(scope="session")
def chromium():
    """Its path. One worker installs it, the others wait."""
    with FileLock(Path(tempfile.gettempdir()) / "slaf-install-chromium.lock"):
        if not find():
            done = subprocess.run([ROOT / "scripts" / "install-chromium"], capture_output=True, text=True, timeout=500)
            if not find():
                last = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()[-1]
                pytest.fail(f"these tests need a browser, one of {', '.join(NAMES)}, and scripts/install-chromium did not bring it: {last}")
    return find()


@pytest.fixture(scope="module")
def browser(chromium):
    """One for all tests of a module; not longer, because its event loop would be in the way of other tests'."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()

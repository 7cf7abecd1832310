import os
import subprocess
import sys
from pathlib import Path

import pytest
import toy_study  # noqa: F401 - registers the study "toy"

HERE = Path(__file__).parent


class Command:
    """``python -m slaf compare toy …`` in a process of its own."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.log = folder / "toy.log"
        self.environment = {**os.environ, "PYTHONPATH": str(HERE), "TOY_LOG": str(self.log), "PYTHONWARNINGS": "error::UserWarning"}

    def start(self, out: str, *arguments: str) -> subprocess.Popen:
        words = [sys.executable, "-m", "slaf", "compare", "toy", "--import", "toy_study", "--out", str(self.folder / out), *arguments]
        return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=self.folder, env=self.environment)

    def run(self, out: str, *arguments: str) -> tuple[int, str, str]:
        process = self.start(out, *arguments)
        stdout, stderr = process.communicate(timeout=110)
        return process.returncode, stdout, stderr

    def trained(self) -> list[str]:
        return self.log.read_text().split("\n")[:-1] if self.log.exists() else []


@pytest.fixture
def command(tmp_path):
    return Command(tmp_path)

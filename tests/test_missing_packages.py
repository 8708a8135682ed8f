"""Where what tests compare with is missing, they are skipped with a reason, and those that need none of it are run."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
_WITHOUT = """
import sys
for name in ("torch", "onnx"):
    sys.modules[name] = None
import pytest
sys.exit(pytest.main(sys.argv[1:]))
"""


def test_tests_are_skipped_where_pytorch_is_missing():
    files = [
        "diffusion/test_schedule.py",
        "evaluation/test_judges.py",
        "interop/test_torch_weights.py",
        "test_missing_packages.py",
    ]
    options = ["--collect-only", "-q", "-rs", "-p", "no:cacheprovider"]
    command = [sys.executable, "-c", _WITHOUT, *options, *(f"tests/{name}" for name in files)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for said in (
        "test_schedule.py compares with torch",
        "test_judges.py compares with onnx",
        "test_torch_weights.py compares",
    ):
        assert said in done.stdout
    assert "test_tests_are_skipped_where_pytorch_is_missing" in done.stdout

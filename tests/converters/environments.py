"""The environments that ``make frameworks`` makes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

FOLDER = Path(os.environ.get("ONNXSLIM_FRAMEWORKS", Path(__file__).parents[2] / ".frameworks"))


def python_of(name: str) -> str:
    """The interpreter of an environment; the test is skipped where it was not made."""
    path = FOLDER / name / "bin" / "python"
    if not path.exists():
        pytest.skip(f"make frameworks has not made {path}")
    return str(path)
